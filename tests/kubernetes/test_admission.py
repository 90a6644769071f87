"""The API server accepts every manifest: of deploy/, of the chart, and those of the administration."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path

import pytest
import yaml

from authgate.proxy_configuration.facts import Address, Facts
from authgate.proxy_configuration.proxies import KINDS
from tests.kubernetes.api_server import ApiServer, Manifest, Refused
from tests.kubernetes.rendering import EVERYTHING, LEAST, found, program, render
from tests.proxies.proxy import DEPLOY
from tools.go_programs import helm
from tools.manifests import CHART

FILES = sorted([*(DEPLOY / "kubernetes").glob("*.yaml"), *(DEPLOY / "ingress-nginx").glob("*.yaml")])
GENERATED = [
    (kind, api) for kind, each in KINDS.items() for api in ("", "/v1/") if each.examples[0] == "app.apps:80"
]
HOSTS = ("app.example.net", "1.example.org", "wiki")


def documents(text: str) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(text) if each]


def accepts_all(api_server: ApiServer, objects: list[Manifest]) -> None:
    assert objects
    for each in objects:
        api_server.apply(each, dry_run=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_api_server_accepts_the_shipped_files(path: Path, api_server: ApiServer) -> None:
    accepts_all(api_server, documents(path.read_text()))


@pytest.mark.parametrize(("kind", "api"), GENERATED, ids=[f"{kind} {api}".strip() for kind, api in GENERATED])
def test_the_api_server_accepts_generated_objects(kind: str, api: str, api_server: ApiServer) -> None:
    app, portal = Address("web.shop", 7001), Address("gate.auth", 7002)
    port = 443 if kind == "ingress-nginx" else 8443
    [file] = KINDS[kind].files(Facts("login.example.net", HOSTS, port, app, portal, api))

    accepts_all(api_server, documents(file.text))


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["least", "everything"])
def test_the_api_server_accepts_rendered_objects(
    values: Manifest, api_server: ApiServer, tmp_path: Path
) -> None:
    accepts_all(api_server, render(values, tmp_path))


MISSPELLED = {
    "kubernetes/portal.yaml": ("Deployment", "portal", ("spec", "template", "spec")),
    "kubernetes/traefik.yaml": ("Middleware", "ikd-check", ("spec", "forwardAuth")),
    "kubernetes/gateway-api.yaml": ("HTTPRoute", "app", ("spec",)),
    "kubernetes/envoy-gateway.yaml": ("SecurityPolicy", "ikd-check", ("spec", "extAuth")),
}


@pytest.mark.parametrize("file", MISSPELLED)
def test_a_misspelled_field_would_be_refused(file: str, api_server: ApiServer) -> None:
    kind, name, path = MISSPELLED[file]
    wrong = copy.deepcopy(found(documents((DEPLOY / file).read_text()), kind, name))
    place = wrong
    for step in path:
        place = place[step]
    place["misspelled"] = True

    with pytest.raises(Refused, match="misspelled"):
        api_server.apply(wrong, dry_run=True)


# ---- pods -------------------------------------------------------------------------------------------------


def pod_of(objects: list[Manifest]) -> Manifest:
    template = copy.deepcopy(found(objects, "Deployment")["spec"]["template"])
    template["metadata"] |= {"name": "tried", "namespace": "ikd"}
    return {"apiVersion": "v1", "kind": "Pod", **template}


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["least", "everything"])
def test_a_restricted_namespace_admits_the_pods(
    values: Manifest, api_server: ApiServer, tmp_path: Path
) -> None:
    admitted = api_server.apply(pod_of(render(values, tmp_path)), dry_run=True)

    assert admitted["spec"]["containers"][0]["image"].startswith("registry.example.com/ikd-portal:")


def test_a_pod_with_more_rights_would_be_refused(api_server: ApiServer, tmp_path: Path) -> None:
    pod = pod_of(render({}, tmp_path))
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True

    with pytest.raises(Refused, match="violates PodSecurity"):
        api_server.apply(pod, dry_run=True)


# ---- Helm -------------------------------------------------------------------------------------------------


def test_helm_installs_upgrades_and_removes_the_chart(api_server: ApiServer, tmp_path: Path) -> None:
    """From SQLite to PostgreSQL and back. Neither changes a field that Kubernetes makes immutable."""
    small, large = tmp_path / "small.yaml", tmp_path / "large.yaml"
    small.write_text(yaml.safe_dump(LEAST))
    large.write_text(yaml.safe_dump(LEAST | EVERYTHING))
    told = ["-n", "shop", "--kubeconfig", str(api_server.kubeconfig)]

    def run(*arguments: str) -> None:
        done = subprocess.run([program(helm), *arguments, *told], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    deployment = found(render({}, tmp_path), "Deployment")
    deployment["metadata"]["namespace"] = "shop"
    volume = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": deployment["metadata"]}
    run("install", "portal", str(CHART), "-f", str(small))
    first = api_server.get(deployment)["spec"]
    run("upgrade", "portal", str(CHART), "-f", str(large))
    second = api_server.get(deployment)["spec"]
    run("upgrade", "portal", str(CHART), "-f", str(small))
    run("uninstall", "portal")

    assert (first["replicas"], first["strategy"]["type"]) == (1, "Recreate")
    assert second["strategy"]["type"] == "RollingUpdate"
    assert api_server.get(volume)["spec"]["accessModes"] == ["ReadWriteOnce"]
    with pytest.raises(Refused, match="404"):
        api_server.get(deployment)
    api_server.delete(volume)
