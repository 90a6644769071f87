"""What clients can reach: the endpoints of protected origins and the portal's pages, but no check."""

from __future__ import annotations

import json

import pytest

from authgate.check.contracts import FORWARDED, HOST_AND_SCHEME, ORIGINAL, SENT, checks
from authgate.endpoints.header_aliases import IDENTITY
from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.proxy import Proxy
from tests.proxies.wire import Reply, exchange, request_bytes

pytestmark = pytest.mark.proxy

CHECKS = (
    "/authgate/nginx",
    "/authgate/nginx/",
    "/authgate/nginx/staff",
    "/authgate/traefik",
    "/authgate/envoy/open/news",
    "/oauth2/auth",
)
DISGUISES = {
    "plainly": "{}",
    "with a query": "{}?allowed_groups=staff",
    "encoded": "/%61uthgate/%6eginx",
    "encoded slash": "/authgate%2Fnginx",
    "encoded slash in front": "/%2Fauthgate/nginx",
    "encoded twice": "/%2561uthgate/nginx",
    "doubled slash": "//authgate//nginx",
    "dot segment": "/authgate/./nginx",
    "dot segments": "/accounts/../authgate/nginx",
    "encoded dot segments": "/accounts/%2e%2e/authgate/nginx",
    "backslash": "/authgate\\nginx",
    "parameter": "/authgate;x=1/nginx",
    "from an endpoint": "/authgate/start/../nginx",
    "number sign": "/authgate/nginx#/../start",
}
CONTRACT = {
    "X-Forwarded-Method": "GET",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Uri": "/open/news",
    "X-Forwarded-For": "127.0.0.1",
    "X-Scheme": "https",
    "X-Real-IP": "127.0.0.1",
}


def targets() -> list[str]:
    return [
        disguise.format(check)
        for disguise in DISGUISES.values()
        for check in CHECKS[: 1 + 9 * ("{}" in disguise)]
    ]


@pytest.mark.parametrize("site", ["portal", "app", "wiki", "ops"])
@pytest.mark.parametrize("target", targets())
def test_clients_cannot_request_a_check(proxy: Proxy, target: str, site: str) -> None:
    host = proxy.portal.host(site)
    request = request_bytes("GET", target, host, CONTRACT | {"X-Forwarded-Host": proxy.portal.host("app")})

    reply = proxy.send(request, tls_name=proxy.portal.names[site])

    assert reply is None or reply.status in (400, 401, 403, 404) or is_sent_to_start(proxy, site, reply)
    if site == "portal" and reply is not None:
        assert reply.status in (400, 404)
    assert proxy.backend.take() == []


@pytest.mark.parametrize("site", ["portal", "app"])
@pytest.mark.parametrize("path", ["/authgate/nginx", "/oauth2/auth"])
def test_clients_cannot_request_a_check_in_absolute_form(proxy: Proxy, path: str, site: str) -> None:
    target = f"{proxy.portal.origin(site)}{path}"

    reply = proxy.send(request_bytes("GET", target, proxy.portal.host("app"), CONTRACT))

    is_refused = reply is None or reply.status in (400, 401, 403, 404, 421)
    assert is_refused or (reply is not None and is_sent_to_start(proxy, site, reply))
    assert proxy.backend.take() == []


def is_sent_to_start(proxy: Proxy, site: str, reply: Reply) -> bool:
    """Return whether this is the response of ingress-nginx to a check's 401."""
    start = f"{proxy.portal.origin(site)}/authgate/start?rd="
    return proxy.sends_everybody_to_start and reply.header("Location").startswith(start)


@pytest.mark.parametrize("who", ["", "alice"])
@pytest.mark.parametrize("site", ["app", "wiki", "ops"])
@pytest.mark.parametrize("check", [*CHECKS, "/%61uthgate/nginx", "//authgate/nginx", "/authgate/./nginx"])
def test_sites_hide_the_checks(hider: Proxy, check: str, site: str, who: str) -> None:
    reply = hider.ask(check, site=site, headers=CONTRACT, who=who)

    assert reply.status == 404
    assert hider.backend.take() == []


@pytest.mark.parametrize("check", CHECKS)
def test_the_portals_own_site_hides_its_checks(proxy: Proxy, check: str) -> None:
    reply = proxy.send(request_bytes("GET", check, proxy.portal.host("portal"), CONTRACT))

    assert reply is not None and reply.status == 404
    assert "X-Auth-Decision" not in dict(reply.headers)


EVERY_CHECK = {
    "/authgate/nginx": FORWARDED,
    "/authgate/ingress-nginx?host={host}": ORIGINAL,
    "/authgate/traefik": FORWARDED,
    "/authgate/caddy": FORWARDED,
    "/authgate/haproxy": FORWARDED,
    "/authgate/envoy": SENT,
    "/authgate/envoy/page": SENT,
    "/oauth2/auth": HOST_AND_SCHEME | FORWARDED,
}
"""The URL of each contract, and the headers that it reads."""


def test_every_check_is_tested() -> None:
    asked = {url.partition("?")[0] for url in EVERY_CHECK}

    assert asked - {"/authgate/envoy/page"} == {url for url in checks("nginx") if not url.endswith("/")}


@pytest.mark.parametrize("who", ["", "alice"])
@pytest.mark.parametrize("is_spoofed", [False, True], ids=["plain", "spoofed"])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("site", ["portal", "app"])
@pytest.mark.parametrize("url", EVERY_CHECK)
def test_only_the_proxy_receives_the_answer_to_a_check(
    proxy: Proxy, url: str, site: str, slash: str, is_spoofed: bool, who: str
) -> None:
    """If a site does not hide the URL, it is an ordinary page: it is checked, and the application answers."""
    path, question, query = url.format(host=proxy.portal.host("app")).partition("?")
    headers = FETCH | spoofed(proxy, url) if is_spoofed else dict(FETCH)
    if who:
        headers["Cookie"] = proxy.portal.cookie(who, "app")

    reply = proxy.ask(path + slash + question + query, site=site, headers=headers)

    assert [name for name, _ in reply.headers if name.lower().encode() in IDENTITY] == []
    pages = proxy.backend.take()
    assert reply.status >= 300 or (len(pages) == 1 and reply.body == b"reached")
    assert [page.all("X-Auth-Request-User") for page in pages] == [[who]] * len(pages)
    assert pages == [] or (who and site == "app")


def spoofed(proxy: Proxy, url: str) -> dict[str, str]:
    """Return the headers of a check's contract for a page that alice can open."""
    told = {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": proxy.portal.host("app"),
        "X-Forwarded-Uri": "/page",
        "X-Forwarded-For": "127.0.0.1",
        "X-Original-URL": f"{proxy.portal.origin('app')}/page",
        "X-Original-Method": "GET",
        "X-Real-IP": "127.0.0.1",
        "X-Scheme": "https",
    }
    return {name: value for name, value in told.items() if name.lower().encode() in EVERY_CHECK[url]}


def test_the_portals_pages_are_reached(proxy: Proxy) -> None:
    reply = proxy.send(request_bytes("GET", "/accounts/login/", proxy.portal.host("portal"), NAVIGATION))

    assert reply is not None and reply.status == 200
    assert b'name="login"' in reply.body


def test_start_leads_to_the_portal(proxy: Proxy) -> None:
    reply = proxy.ask("/authgate/start?rd=%2Fpage", headers=NAVIGATION)

    assert reply.status == 302
    assert reply.header("Location").startswith(f"{proxy.portal.origin('portal')}/continue?state=")


def test_a_callback_with_an_unknown_code_leads_to_the_portal(proxy: Proxy) -> None:
    reply = proxy.ask(f"/authgate/callback?ikdcode={'A' * 43}&rd=%2Fpage", headers=NAVIGATION)

    assert reply.status == 302
    assert reply.header("Location").startswith(f"{proxy.portal.origin('portal')}/continue?state=")


def test_the_refused_page_is_reached(proxy: Proxy) -> None:
    reply = proxy.ask("/authgate/refused", headers=NAVIGATION, who="alice")

    assert reply.status == 403
    assert reply.header("Content-Type").startswith("text/html")


def test_userinfo_returns_the_signed_in_user(proxy: Proxy) -> None:
    reply = proxy.ask("/authgate/userinfo", headers=FETCH, who="alice")

    assert reply.status == 200
    assert json.loads(reply.body)["user"] == "alice"


def test_userinfo_without_a_sign_in_is_401(proxy: Proxy) -> None:
    reply = proxy.ask("/authgate/userinfo", headers=FETCH)

    assert reply.status == 401


@pytest.mark.parametrize("name", ["start", "callback", "sign_out", "userinfo", "refused"])
def test_no_endpoint_reaches_the_application(proxy: Proxy, name: str) -> None:
    proxy.ask(f"/authgate/{name}", headers=FETCH)

    assert proxy.backend.take() == []


@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("bob", 403)])
def test_a_groups_location_admits_only_that_group(proxy: Proxy, who: str, status: int) -> None:
    """The portal's rules admit all signed-in users to /staff/lounge. The proxy's filter is narrower."""
    reply = proxy.ask("/staff/lounge", headers=FETCH, who=who)

    assert reply.status == (status if proxy.has_filters else 200)


@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("bob", 403)])
def test_a_groups_rule_admits_only_that_group(proxy: Proxy, who: str, status: int) -> None:
    reply = proxy.ask("/staff/rota", headers=FETCH, who=who)

    assert reply.status == status


def test_an_api_never_redirects(proxy: Proxy) -> None:
    reply = proxy.ask("/api/items", headers=NAVIGATION)

    assert (reply.status, reply.header("Location")) == (401, "")
    assert proxy.backend.take() == []


@pytest.mark.parametrize(
    "path",
    [
        "/public/..;/staff/rota",
        "/public/%2e%2e;/staff/rota",
        "/public/..%2fstaff",
        "/public/%252e%252e/staff/",
    ],
)
def test_a_public_location_opens_no_other_path(proxy: Proxy, path: str) -> None:
    reply = proxy.ask(path, headers=FETCH)

    assert reply.status in (301, 400, 401, 403, 404)
    assert proxy.backend.take() == []


@pytest.mark.parametrize(
    "host", ["other.example.com", "app.example.com.evil.example", "127.0.0.1", "localhost"]
)
def test_unknown_hosts_are_refused(proxy: Proxy, host: str) -> None:
    reply = proxy.send(request_bytes("GET", "/", host, NAVIGATION))

    assert reply is not None and reply.status in (404, 421)
    assert proxy.backend.take() == []


def test_plain_http_leads_to_https(proxy: Proxy) -> None:
    address = (proxy.address[0], proxy.portal.plain_port)

    reply = exchange(address, request_bytes("GET", "/page?x=1", proxy.portal.names["app"]), tls_name=None)

    assert reply is not None and reply.status in (301, 308)
    assert reply.header("Location").startswith(f"https://{proxy.portal.names['app']}")
    assert reply.header("Location").endswith("/page?x=1")
