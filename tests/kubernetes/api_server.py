"""A real etcd and Kubernetes' real API server, and the tests' requests to it."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from tests.kubernetes.apart import PROXY, SERVICES
from tests.proxies.processes import PATIENCE, Server, binary
from tools.go_programs import kube_apiserver, resource_definitions

Manifest = dict[str, Any]
TOKEN = "token-of-the-tests"
ADDRESS = ("127.0.0.1", 6443)


class Refused(Exception):
    """The API server refused an object."""


class ApiServer:
    """A cluster without nodes: it stores and validates objects, and runs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"https://{ADDRESS[0]}:{ADDRESS[1]}"
        self.certificate = folder / "api.pem"
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}
        self._make_keys()
        self.etcd = Server(self._etcd(), log=folder / "etcd.log", cwd=folder)
        self.etcd.wait_for(("127.0.0.1", 2379))
        self.server = Server(self._command(), log=folder / "api.log", cwd=folder)
        self._tls = ssl.create_default_context(cafile=str(self.certificate))
        try:
            self.server.wait_for(ADDRESS)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self.kubeconfig = self._write_kubeconfig()

    def stop(self) -> None:
        self.server.stop()
        self.etcd.stop()

    # ---- objects ----

    def apply(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Apply an object with server-side apply. Raises Refused for an unknown, duplicate or wrong field."""
        query = "?fieldManager=tests&force=true&fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self._request(
            "PATCH", self.path_of(manifest) + query, manifest, "application/apply-patch+yaml"
        )

    def delete(self, manifest: Manifest) -> None:
        self._request("DELETE", self.path_of(manifest))

    def get(self, manifest: Manifest) -> Manifest:
        return self._request("GET", self.path_of(manifest))

    def path_of(self, manifest: Manifest) -> str:
        """Return the path of an object's URL. Raises Refused for an unknown kind."""
        version = manifest["apiVersion"]
        plural, is_namespaced = self._resource(version, manifest["kind"])
        metadata = manifest["metadata"]
        within = f"/namespaces/{metadata.get('namespace', 'default')}" if is_namespaced else ""
        return f"{_root(version)}{within}/{plural}/{quote(metadata['name'])}"

    def define(self) -> None:
        """Install the custom resource definitions, and wait until the server serves them."""
        definitions = [
            each
            for file in sorted(resource_definitions().glob("*.yaml"))
            for each in yaml.safe_load_all(file.read_text())
            if each and each["kind"] == "CustomResourceDefinition"
        ]
        for each in definitions:
            self.apply(each)
        deadline = time.monotonic() + PATIENCE
        for each in definitions:
            while not self._is_established(each):
                assert time.monotonic() < deadline, each["metadata"]["name"]
                time.sleep(0.1)

    def _is_established(self, definition: Manifest) -> bool:
        conditions = self.get(definition).get("status", {}).get("conditions", [])
        return {"Established": "True"}.items() <= {
            each["type"]: each["status"] for each in conditions
        }.items()

    def _resource(self, version: str, kind: str) -> tuple[str, bool]:
        if (version, kind) not in self._plurals:
            for each in self._request("GET", _root(version))["resources"]:
                if "/" not in each["name"]:
                    self._plurals[version, each["kind"]] = each["name"], each["namespaced"]
        if (version, kind) not in self._plurals:
            raise Refused(f"no kind {kind} in {version}")
        return self._plurals[version, kind]

    def _request(self, method: str, path: str, body: Manifest | None = None, content: str = "") -> Manifest:
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", content)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE, context=self._tls) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            raise Refused(f"{method} {path}: {error.code} {error.read().decode()}") from None

    # ---- the programs ----

    def _etcd(self) -> list[str]:
        options = ["--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync"]
        return [binary("etcd", "etcd-server"), *options]

    def _command(self) -> list[str]:
        options = {
            "etcd-servers": "http://127.0.0.1:2379",
            "bind-address": ADDRESS[0],
            "secure-port": ADDRESS[1],
            "advertise-address": PROXY,  # without a route, it cannot choose an address itself
            "tls-cert-file": self.certificate,
            "tls-private-key-file": self.folder / "api.key",
            "token-auth-file": self.folder / "tokens.csv",
            "authorization-mode": "RBAC",
            "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
            "service-account-key-file": self.folder / "api.key",
            "service-account-signing-key-file": self.folder / "api.key",
            "service-cluster-ip-range": SERVICES,
            # No controller runs that would create the accounts and endpoints for which these would wait.
            "endpoint-reconciler-type": "none",
            "disable-admission-plugins": "ServiceAccount",
        }
        return [str(kube_apiserver()), *(f"--{name}={value}" for name, value in options.items())]

    def _make_keys(self) -> None:
        names = f"subjectAltName=IP:{ADDRESS[0]},DNS:localhost"
        new = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(self.folder / "api.key")]
        command = [binary("openssl", "openssl"), "req", "-x509", "-subj", "/CN=api", "-addext", names, *new]
        subprocess.run([*command, "-out", str(self.certificate)], check=True, capture_output=True)
        (self.folder / "tokens.csv").write_text(f'{TOKEN},tests,tests,"system:masters"\n')

    def _write_kubeconfig(self) -> Path:
        file = self.folder / "kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.certificate)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": {"token": TOKEN}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "current-context": "tests",
        }
        file.write_text(yaml.safe_dump(content))
        return file

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self._request("GET", "/api/v1/namespaces/default")
                return
            except (Refused, OSError):
                if time.monotonic() > deadline or self.server.process.poll() is not None:
                    raise RuntimeError(self.server.log.read_text()[-4000:]) from None
                time.sleep(0.2)


def _root(version: str) -> str:
    return f"/api/{version}" if "/" not in version else f"/apis/{version}"
