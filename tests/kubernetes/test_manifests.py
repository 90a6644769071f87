"""The manifests of deploy/. Kubernetes' own match its schemas, and Traefik's run in a real Traefik."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.behaviour import FETCH, NAVIGATION
from tests.kubernetes.rendering import CUSTOM
from tests.proxies.backend import Backend
from tests.proxies.conftest import backend, portal  # noqa: F401
from tests.proxies.portal import Portal
from tests.proxies.proxy import DEPLOY, Proxy
from tests.proxies.traefik import start_traefik

ELSEWHERE = {"envoy-gateway.yaml", "gateway-api.yaml"}
"""Kinds of the Gateway API and of Envoy Gateway: tests/proxies/test_gateway_api.py."""

SHIPPED = [*(DEPLOY / "kubernetes").glob("*.yaml"), *(DEPLOY / "ingress-nginx").glob("*.yaml")]
FILES = sorted(path for path in SHIPPED if path.name not in ELSEWHERE)
Manifest = dict[str, Any]


def manifests(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def name_of(path: Path, manifest: Manifest) -> str:
    return f"{path.parent.name}/{path.stem} {manifest['kind']} {manifest['metadata']['name']}"


OF_KUBERNETES = [
    pytest.param(manifest, id=name_of(path, manifest))
    for path in FILES
    for manifest in manifests(path)
    if not manifest["apiVersion"].startswith(CUSTOM)
]


@pytest.mark.parametrize("manifest", OF_KUBERNETES)
def test_kubernetes_accepts_the_manifest(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, "1.30", strict=True)


def test_a_misspelled_field_would_be_found() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": []}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, "1.30", strict=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_routes_name_middlewares_of_their_own_namespace(path: Path) -> None:
    found = manifests(path)
    middlewares = [one["metadata"] for one in found if one["kind"] == "Middleware"]

    for route in (one for one in found if one["kind"] == "IngressRoute"):
        namespace = route["metadata"]["namespace"]
        for named in (each for rule in route["spec"]["routes"] for each in rule["middlewares"]):
            assert "namespace" not in named
            assert {"name": named["name"], "namespace": namespace} in middlewares


def test_an_ingress_names_an_existing_middleware() -> None:
    [ingress] = manifests(DEPLOY / "kubernetes" / "traefik-ingress.yaml")
    named = ingress["metadata"]["annotations"]["traefik.ingress.kubernetes.io/router.middlewares"]
    there = {
        f"{one['metadata']['namespace']}_{one['metadata']['name']}@kubernetescrd"
        for one in manifests(DEPLOY / "kubernetes" / "traefik.yaml")
        if one["kind"] == "Middleware"
    }

    assert named in there


def as_file_provider() -> dict[str, Any]:
    """Convert the custom resources to Traefik's file provider. Both have the same specs."""
    found = manifests(DEPLOY / "kubernetes" / "traefik.yaml")
    middlewares = {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "Middleware"}
    middlewares["ikd"]["chain"]["middlewares"] = [
        named["name"] for named in middlewares["ikd"]["chain"]["middlewares"]
    ]
    routers = {}
    for one in (one for one in found if one["kind"] == "IngressRoute"):
        [rule] = one["spec"]["routes"]
        service = "ikd-portal" if one["metadata"]["name"] == "portal" else "app"
        names = [named["name"] for named in rule["middlewares"]]
        routers[one["metadata"]["name"]] = {"rule": rule["match"], "middlewares": names, "service": service}
    return {"middlewares": middlewares, "routers": routers}


@pytest.fixture
def traefik(portal: Portal, backend: Backend, tmp_path: Path) -> Any:  # noqa: F811
    file = (DEPLOY / "traefik" / "minimal.yaml").read_text()
    configuration = yaml.safe_load(file)
    configuration["http"] |= as_file_provider()
    text = yaml.safe_dump(configuration).replace("portal.ikd.svc.cluster.local:8000", "127.0.0.1:8000")
    copy = tmp_path / "traefik"
    copy.mkdir()
    (copy / "traefik.yaml").write_text((DEPLOY / "traefik" / "traefik.yaml").read_text())
    (copy / "minimal.yaml").write_text(text)
    running = tmp_path / "running"
    running.mkdir()
    proxy = start_traefik(
        portal, backend, running, file="minimal.yaml", loopback="127.0.0.8", shipped=tmp_path
    )
    yield proxy
    proxy.server.stop()


@pytest.mark.proxy
def test_the_custom_resources_protect_in_a_real_traefik(traefik: Proxy) -> None:
    page = traefik.ask("/page", headers=NAVIGATION)
    program = traefik.ask("/page", headers=FETCH)
    member = traefik.ask("/page", headers=[*FETCH.items(), ("X-Auth-Request-User", "mallory")], who="alice")
    [received] = traefik.backend.take()
    guest = traefik.ask("/staff/rota", headers=FETCH, who="bob")
    token = f"Bearer {traefik.portal.api_tokens['token']}"
    machine = traefik.ask("/page", headers=[*FETCH.items(), ("Authorization", token)])
    [sent_by_machine] = traefik.backend.take()

    assert (machine.status, sent_by_machine.all("Authorization")) == (200, [])
    assert (page.status, program.status, member.status, guest.status) == (302, 401, 200, 403)
    assert received.all("X-Auth-Request-User") == ["alice"]
    assert traefik.backend.take() == []


def test_only_ingress_nginx_can_use_the_annotations() -> None:
    """Traefik's provider for these annotations sends X-Forwarded-*, which another check reads."""
    text = (DEPLOY / "ingress-nginx" / "complete.yaml").read_text()

    assert set(re.findall(r"/authgate/([a-z-]+)\?", text)) == {"ingress-nginx"}
