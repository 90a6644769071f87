"""Traefik reads shipped and generated objects from a real API server, and asks a real portal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Playwright, sync_playwright

from tests.behaviour import NAVIGATION
from tests.browser.chromium import launch, listen_to_console
from tests.browser.test_story import (
    console,  # noqa: F401
    resolver,
    test_a_link_signs_out_at_once_and_a_foreign_one_asks_first,  # noqa: F401
    test_one_sign_in_opens_unrelated_sites_and_one_sign_out_closes_them,  # noqa: F401
    test_users_who_lose_a_group_are_refused_on_the_site,  # noqa: F401
)
from tests.kubernetes.apart import PORTAL
from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.routes import WAYS
from tests.kubernetes.site import METRICS_TOKEN, routed
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy
from tests.proxies.test_behaviour import test_proxy_has_the_outcome_of_the_table  # noqa: F401
from tests.proxies.test_spoofing import (
    test_identity_headers_of_a_client_are_removed,  # noqa: F401
    test_repeated_identity_headers_of_a_client_are_removed,  # noqa: F401
)
from tests.proxies.wire import exchange, request_bytes


@pytest.fixture(scope="module", params=list(WAYS))
def proxy(
    request: pytest.FixtureRequest,
    api_server: ApiServer,
    portal: Portal,
    backend: Backend,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    """Return Traefik with each form of routes in turn."""
    way, folder = WAYS[request.param], tmp_path_factory.mktemp("traefik")
    objects = way.objects(folder)
    with routed(
        api_server, portal, backend, folder, objects, crosses=way.crosses, is_safe=way.is_safe
    ) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture
def page(proxy: Proxy, playwright: Playwright, console: list[str]) -> Iterator[Page]:  # noqa: F811
    proxy.backend.take()
    with launch(playwright, resolver(proxy)) as browser:
        page = browser.new_context(ignore_https_errors=True).new_page()
        listen_to_console(page, console)
        yield page


@pytest.mark.parametrize("path", ["/authgate/traefik", "/AuthGate/nginx", "/oauth2/auth"])
def test_visitors_cannot_reach_checks(proxy: Proxy, path: str) -> None:
    reply = proxy.send(request_bytes("GET", path, proxy.portal.names["portal"], NAVIGATION))

    assert reply is not None and reply.status in (404, 500)


# ---- requests of Kubernetes and Prometheus ----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_pod_answers_the_probes_of_the_kubelet(portal: Portal, path: str) -> None:
    probe = request_bytes("GET", path, f"{PORTAL}:8000", {"User-Agent": "kube-probe/1.34", "Accept": "*/*"})
    reply = exchange((PORTAL, 8000), probe, tls_name=None)

    assert reply is not None and reply.status == 200


def test_a_pod_shows_its_metrics_to_prometheus(portal: Portal) -> None:
    token = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    reply = exchange((PORTAL, 8000), request_bytes("GET", "/metrics", f"{PORTAL}:8000", token), tls_name=None)

    assert reply is not None and (reply.status, b"ikd_build_info" in reply.body) == (200, True)
