"""ingress-nginx only: its redirect of each 401, warm checks, and shared cookie domains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION, WEBSOCKET
from tests.proxies.backend import Backend
from tests.proxies.ingress_nginx import start_ingress_nginx
from tests.proxies.portal import Portal, start_portal
from tests.proxies.proxy import DEPLOY, Proxy
from tests.proxies.substitution import substituted
from tests.proxies.wire import Reply, request_bytes

pytestmark = pytest.mark.proxy


def first_hop(proxy: Proxy, path: str, headers: dict[str, str], site: str = "app") -> Reply:
    """Send one request, without following redirects."""
    request = request_bytes("GET", path, proxy.portal.host(site), headers)
    reply = proxy.send(request, tls_name=proxy.portal.names[site])
    assert reply is not None
    return reply


@pytest.mark.parametrize("headers", [NAVIGATION, FETCH, WEBSOCKET], ids=["page", "fetch", "websocket"])
def test_without_a_sign_in_every_client_is_redirected_to_start(
    ingress_nginx: Proxy, headers: dict[str, str]
) -> None:
    reply = first_hop(ingress_nginx, "/page?a=1&b=%23", headers)

    app = ingress_nginx.portal.origin("app")
    assert (reply.status, reply.all("Set-Cookie")) == (302, [])
    assert reply.header("Location") == f"{app}/authgate/start?rd={app}/page?a=1%26b=%2523"


# ---- a cookie for a whole domain --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("shared")
    portal = start_portal(folder, scheme="https", IKD_SHARED_COOKIE_DOMAINS="example.com")
    proxy = start_ingress_nginx(portal, backend, folder, file="shared.yaml")
    yield proxy
    proxy.server.stop()
    portal.server.stop()


def test_a_page_leads_to_the_portals_own_page(shared: Proxy) -> None:
    reply = first_hop(shared, "/page?a=1&b=2", NAVIGATION)

    app = shared.portal.origin("app")
    assert reply.header("Location") == f"{shared.portal.origin('portal')}/enter?rd={app}/page?a=1%26b=2"


def test_the_portals_own_page_asks_to_sign_in(shared: Proxy) -> None:
    app = shared.portal.origin("app")

    reply = first_hop(shared, f"/enter?rd={app}/page", NAVIGATION, "portal")

    assert reply.header("Location").startswith("/accounts/login/?next=%2Fenter%3Frd%3D")


def test_a_cookie_for_one_origin_opens_no_site_of_a_shared_domain(shared: Proxy) -> None:
    token = shared.portal.tokens["alice"]["app"]
    cookie = f"{shared.portal.cookie_name('app')}={token}; __Secure-ikd_shared={token}"

    assert first_hop(shared, "/page", FETCH | {"Cookie": cookie}).status == 302
    assert shared.backend.take() == []


# ---- values that the redirect to auth-signin can repeat ---------------------------------------------------

START = "https://$host/authgate/start"
LAST, LAST_AND_LOCATION = "X-Ikd-Jwt,Authorization", "X-Ikd-Jwt,Authorization,X-Auth-Location"
FIRST = "X-Auth-Request-User,"
COOKIES = {"Cookie": "ikd_state=sealed; __Host-ikd_nonce=secret"}


def start_with_state(
    variable: str, more: dict[str, str], portal: Portal, backend: Backend, folder: Path
) -> Proxy:
    """Start with an auth-signin that sends the portal a variable of nginx as `state`."""
    copy, running = folder / "ingress-nginx", folder / "running"
    copy.mkdir()
    running.mkdir()
    source = (DEPLOY / "ingress-nginx" / "minimal.yaml").read_text()
    changes = {START: f"https://sso.example.com/continue?state={variable}"} | more
    (copy / "minimal.yaml").write_text(substituted(source, changes))
    return start_ingress_nginx(
        portal, backend, running, file="minimal.yaml", loopback="127.0.0.11", shipped=folder
    )


STATES = {
    "a header of the answer, by its place": ("$authHeader11", {LAST: LAST_AND_LOCATION}, "https://"),
    "that place, once a name stands before": (
        "$authHeader11",
        {LAST: LAST_AND_LOCATION, FIRST: f"{FIRST}X-Another,"},
        "&rd=",
    ),
    "the answer's header, by nginx's own name": ("$upstream_http_x_auth_location", {}, "&rd="),
    "the browser's cookie": ("$cookie_ikd_state", {}, "sealed&rd="),
    "the browser's cookie with a prefix": ("$cookie___Host-ikd_nonce", {}, "-ikd_nonce&rd="),
}


@pytest.mark.parametrize(("variable", "more", "state"), STATES.values(), ids=STATES)
def test_the_redirect_can_repeat_an_answers_header_only_by_its_position(
    variable: str, more: dict[str, str], state: str, portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """This is why the check passes no state: the controller does not document the name $authHeader11."""
    proxy = start_with_state(variable, more, portal, backend, tmp_path)
    try:
        reply = first_hop(proxy, "/page", NAVIGATION | COOKIES)
    finally:
        proxy.server.stop()

    assert reply.status == 302
    assert reply.header("Location").startswith(f"{portal.origin('portal')}/continue?state={state}")


def test_an_unknown_position_breaks_all_sites(portal: Portal, backend: Backend, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match='unknown "authheader11" variable'):
        start_with_state("$authHeader11", {}, portal, backend, tmp_path)
