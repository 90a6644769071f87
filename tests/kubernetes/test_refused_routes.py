"""A route with a missing check is not served, and no namespace can replace another's check."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.rendering import Manifest
from tests.kubernetes.routes import WAYS, ingress_route, shared
from tests.kubernetes.site import routed
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy

Routed = Callable[[list[Manifest]], AbstractContextManager[Proxy]]


@pytest.fixture
def traefik(api_server: ApiServer, portal: Portal, backend: Backend, tmp_path: Path) -> Routed:
    """Start Traefik as in k3s, with `allowCrossNamespace` off."""
    return partial(routed, api_server, portal, backend, tmp_path)


def test_a_route_with_a_foreign_or_missing_middleware_is_not_served(traefik: Routed, tmp_path: Path) -> None:
    objects = [each for each in shared(tmp_path) if each["metadata"]["name"] not in ("wiki", "ops")]
    objects.append(ingress_route("wiki", {"name": "misspelled"}))
    objects.append(ingress_route("ops", {"name": "ikd_ikd@kubernetescrd"}))

    with traefik(objects) as proxy:
        statuses = {
            proxy.ask("/page", site=site, headers=NAVIGATION, who=who).status
            for site in ("app", "wiki", "ops")
            for who in ("", "alice")
        }
        log = proxy.server.log.read_text()

    assert statuses == {404}
    assert proxy.backend.take() == []
    assert "allowCrossNamespace is disabled, cross-namespace are disallowed" in log
    assert "@kubernetescrd references are disallowed" in log
    assert "apps_misspelled@kubernetescrd" in log and "does not exist" in log


def test_an_ingress_or_httproute_without_its_middleware_is_not_served(
    traefik: Routed, tmp_path: Path
) -> None:
    gateway = [each for each in WAYS["HTTPRoute"].objects(tmp_path) if each["metadata"]["name"] != "wiki"]
    ingresses = [each for each in WAYS["Ingress"].objects(tmp_path) if each["metadata"]["name"] == "wiki"]
    kept = [each for each in gateway + ingresses if each["kind"] != "Middleware"]

    with traefik(kept) as proxy:
        statuses = {
            proxy.ask("/page", site=site, headers=FETCH, who=who).status
            for site in ("app", "wiki")
            for who in ("", "alice")
        }

    assert statuses == {404}
    assert proxy.backend.take() == []


def test_another_namespace_does_not_replace_the_check(traefik: Routed, tmp_path: Path) -> None:
    """With Traefik's default names, `apps-ikd` and `check` would collide with `apps` and `ikd-check`."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps-ikd"}}
    harmless = {
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "Middleware",
        "metadata": {"name": "check", "namespace": "apps-ikd"},
        "spec": {"headers": {"customRequestHeaders": {"X-Auth-Request-User": "mallory"}}},
    }

    with traefik([namespace, harmless, *WAYS["IngressRoute"].objects(tmp_path)]) as proxy:
        statuses = {proxy.ask("/page", site=site, headers=FETCH).status for site in ("app", "wiki", "ops")}

    assert statuses == {401}
    assert proxy.backend.take() == []
