"""Applications receive no identity headers of a client, and no portal cookies if a proxy can remove them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.behaviour import FETCH, NAVIGATION, WEBSOCKET
from tests.proxies.proxy import Proxy
from tests.proxies.wire import Reply

pytestmark = pytest.mark.proxy

IDENTITY = (
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Groups",
    "X-Auth-Request-Preferred-Username",
    "X-Auth-Request-Access-Token",
    "X-Auth-Request-Redirect",
    "Remote-User",
    "Remote-Email",
    "Remote-Groups",
    "Remote-Name",
    "X-Remote-User",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Ikd-Jwt",
)
ANOTHER_URL = ("X-Original-URL", "X-Rewrite-URL", "X-Original-Method", "Forwarded")

LOCATIONS = {
    "/page": ("app", "alice"),
    "/api/items": ("app", "alice"),
    "/public/logo.png": ("app", ""),
    "/open/news": ("app", ""),
    "/open/news?signed-in": ("app", "alice"),
    "/upload/file": ("app", "alice"),
    "/live/feed": ("app", "alice"),
    "/staff/rota": ("app", "alice"),
    "/wiki-page": ("wiki", "alice"),
    "/ops-page": ("ops", "alice"),
}
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "lower case": str.lower,
    "mixed case": lambda name: "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(name)),
    "underscores": lambda name: name.replace("-", "_"),
    "one underscore": lambda name: name.replace("-", "_", 1),
    "dots": lambda name: name.replace("-", "."),
    "other marks": lambda name: name.replace("-", "!"),
}
EVIL = "mallory"


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("path", LOCATIONS)
def test_identity_headers_of_a_client_are_removed(proxy: Proxy, path: str, spelling: str) -> None:
    site, who = LOCATIONS[path]
    claims = [(SPELLINGS[spelling](name), EVIL) for name in IDENTITY + ANOTHER_URL]

    reply = proxy.ask(path, site=site, who=who, headers=[*FETCH.items(), *claims])

    assert reply.status in (200, 400)
    assert [head for head in proxy.backend.take() if EVIL.encode() in head.head] == []


@pytest.mark.parametrize("path", LOCATIONS)
def test_repeated_identity_headers_of_a_client_are_removed(proxy: Proxy, path: str) -> None:
    site, who = LOCATIONS[path]
    claims = [(name, EVIL) for name in IDENTITY for _ in range(2)]

    proxy.ask(path, site=site, who=who, headers=[*FETCH.items(), *claims])

    [received] = proxy.backend.take()
    assert EVIL.encode() not in received.head
    assert [value for value in received.all("X-Auth-Request-User") if value] == [who] * bool(who)


Lines = list[tuple[str, str]]
SEVERAL_LINES: dict[str, Callable[[str], Lines]] = {
    "empty first": lambda name: [(name, ""), (name, EVIL)],
    "empty last": lambda name: [(name, EVIL), (name, "")],
    "other letters": lambda name: [(name.upper(), EVIL), (name.lower(), EVIL), (name, f"{EVIL}@example.com")],
    "with underscores": lambda name: [(name, EVIL), (name.replace("-", "_"), EVIL)],
    "underscores first": lambda name: [(name.replace("-", "_"), EVIL), (name.lower(), ""), (name, EVIL)],
    "alone and in a list": lambda name: [(name, f"{EVIL}, alice"), (name, f"alice,{EVIL}")],
}


@pytest.mark.parametrize("lines", SEVERAL_LINES)
@pytest.mark.parametrize("path", ["/page", "/open/news", "/open/news?signed-in", "/live/feed"])
def test_several_identity_headers_of_a_client_leave_only_the_portals(
    proxy: Proxy, path: str, lines: str
) -> None:
    site, who = LOCATIONS[path]
    claims = [line for name in IDENTITY for line in SEVERAL_LINES[lines](name)]

    reply = proxy.ask(path, site=site, who=who, headers=[*FETCH.items(), *claims])

    received = proxy.backend.take()
    assert (reply.status, len(received)) in ((200, 1), (400, 0))  # 400: the proxy refuses the name
    for each in received:
        assert EVIL.encode() not in each.head
        assert [value for value in each.all("X-Auth-Request-User") if value] == [who] * bool(who)
        assert [value for value in each.all("X-Auth-Request-Groups") if value] == ["staff"] * bool(who)


@pytest.mark.parametrize("path", [path for path, (_, who) in LOCATIONS.items() if who])
def test_a_client_cannot_remove_identity_headers(proxy: Proxy, path: str) -> None:
    site, who = LOCATIONS[path]
    names = "close, X-Auth-Request-User, X-Auth-Request-Groups"

    proxy.ask(path, site=site, who=who, headers=[*FETCH.items(), ("Connection", names)])

    for received in proxy.backend.take():
        assert received.all("X-Auth-Request-User") == [who]
        assert received.all("X-Auth-Request-Groups") == ["staff"]


def test_a_client_cannot_remove_the_headers_of_the_check(proxy: Proxy) -> None:
    names = "close, X-Forwarded-Host, X-Forwarded-Uri, X-Forwarded-Method, X-Forwarded-For, X-Forwarded-Proto"

    reply = proxy.ask("/staff/rota", who="bob", headers=[*FETCH.items(), ("Connection", names)])

    assert reply.status in (400, 403)
    assert proxy.backend.take() == []


@pytest.mark.parametrize(
    "claim",
    [
        ("X-Forwarded-Host", "sso.example.com"),
        ("X-Forwarded-Uri", "/open/news"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-Proto", "http"),
        ("X_Forwarded_Uri", "/open/news"),
        ("X.Forwarded.Uri", "/open/news"),
        ("X-Original-URL", "/open/news"),
        ("X-Auth-Request-Redirect", "/open/news"),
    ],
    ids=lambda claim: claim[0],
)
def test_a_client_cannot_set_the_headers_of_the_check(proxy: Proxy, claim: tuple[str, str]) -> None:
    reply = proxy.ask("/staff/rota", who="bob", headers=[*FETCH.items(), claim])

    assert reply.status == 403
    assert proxy.backend.take() == []


@pytest.mark.parametrize(
    "claim",
    [
        ("X-Auth-Request-Redirect", "/elsewhere"),
        ("X-Forwarded-Uri", "/elsewhere"),
        ("X-Original-URL", "/elsewhere"),
        ("Referer", "https://app.example.com/elsewhere"),
    ],
    ids=lambda claim: claim[0],
)
def test_a_client_returns_to_the_page_that_it_requested(proxy: Proxy, claim: tuple[str, str]) -> None:
    reply = proxy.ask("/page/%C3%A9?x=1&x=2&y=%23", headers=[*NAVIGATION.items(), claim])

    assert page_to_return_to(reply) == "/page/%C3%A9?x=1&x=2&y=%23"


def page_to_return_to(reply: Reply) -> str:
    """Return the page in the state that the portal receives. It is signed, not secret."""
    sealed = parse_qs(urlsplit(reply.header("Location")).query)["state"][0].partition(".")[0]
    uri: str = json.loads(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))[1]
    return uri


def test_a_client_cannot_choose_its_network(proxy: Proxy) -> None:
    reply = proxy.ask("/office", who="alice", headers=[*FETCH.items(), ("X-Forwarded-For", "203.0.113.7")])

    assert reply.status == 403
    assert proxy.backend.take() == []


def test_the_application_receives_the_clients_own_address(proxy: Proxy) -> None:
    proxy.ask("/page", who="alice", headers=[*FETCH.items(), ("X-Forwarded-For", "203.0.113.7")])

    [received] = proxy.backend.take()
    said = received.all("X-Forwarded-For")[-1].split(",")[-1].strip()
    # For a client on its own machine, Envoy sends the machine's address.
    assert said == "127.0.0.1" or (proxy.name == "envoy_gateway" and said != "203.0.113.7")


def test_a_cookie_of_another_site_opens_nothing(proxy: Proxy) -> None:
    reply = proxy.ask("/page", headers=FETCH | {"Cookie": proxy.portal.cookie("alice", "wiki")})

    assert reply.status == 401
    assert proxy.backend.take() == []


@pytest.mark.parametrize("path", LOCATIONS)
@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("theme=dark; ", ""), ("", "; lang=de"), ("theme=dark; ", "; lang=de")]
)
def test_the_portals_cookies_do_not_reach_applications(
    cutter: Proxy, path: str, before: str, after: str
) -> None:
    site, _ = LOCATIONS[path]
    ours = cutter.portal.cookie("alice", site)
    nonce = f"{cutter.portal.cookie_name(site, 'nonce')}=AAAAAAAAAAAAAAAAAAAAAA"

    cutter.ask(path, site=site, headers=[*FETCH.items(), ("Cookie", f"{before}{ours}; {nonce}{after}")])

    [received] = cutter.backend.take()
    assert b"ikd_" not in received.head
    assert "".join(received.all("Cookie")) == "; ".join(filter(None, (before[:-2], after[2:])))


@pytest.mark.parametrize(
    "cookies",
    [
        "ikd_gate=x; ikd_nonce=x; __Host-ikd_nonce=x; __Host-ikd_gate=x; a=b",
        "ikd_gate=1; ikd_gate=2; ikd_gate=3; ikd_gate=4; ikd_gate=5; ikd_gate=6; a=b",
        "a=b;__Host-ikd_gate=x",
        "a=b;\t __Host-ikd_gate \t=x",
        "__Host-ikd_portal=x; ikd_portal=x; ikd_csrf=x",
        "a=b; ikd_gate=x=y; c",
        ";;  ; __Host-ikd_gate=x;; ;",
        "__Secure-ikd_shared=x; __Secure-ikd_gate_8443=x; a=b",
        "; ".join(f"__Host-ikd_gate_{port}=x; __Host-ikd_nonce_{port}=y" for port in range(8000, 8020)),
        "; ".join(f"ikd_gate_{port}=x; own_{port}=y" for port in range(8000, 8020)),
    ],
)
def test_the_portals_cookies_are_removed_in_every_form(cutter: Proxy, cookies: str) -> None:
    cutter.ask("/public/logo.png", headers=[("Cookie", cookies)])

    [received] = cutter.backend.take()
    assert b"ikd_" not in received.head


def test_cookies_of_other_ports_do_not_change_the_applications_own(cutter: Proxy) -> None:
    """Browsers send the cookies of all ports to each port of a host, older ones first."""
    at_ports = [f"__Host-ikd_gate_{port}=x; __Host-ikd_nonce_{port}=x; own_{port}=1" for port in range(6)]

    cutter.ask("/public/logo.png", headers=[("Cookie", "; ".join(["theme=dark", *at_ports]))])

    [received] = cutter.backend.take()
    kept = ["theme=dark", *(f"own_{port}=1" for port in range(6))]
    assert "".join(received.all("Cookie")) == "; ".join(kept)


def test_the_portals_cookies_are_removed_from_several_lines(cutter: Proxy) -> None:
    lines = [("Cookie", "a=b; __Host-ikd_gate=x"), ("Cookie", "ikd_nonce=x"), ("Cookie", "c=d")]

    cutter.ask("/public/logo.png", headers=lines)

    for received in cutter.backend.take():
        assert b"ikd_" not in received.head


@pytest.mark.parametrize(
    "cookies",
    [
        "theme=dark; lang=de",
        'json={"a":1,"b":"x y"}; utf=\xc3\xa9',
        "xikd_gate=1; ikd_gates=2; ikd_gate_=3; ikd_gate_x=4",
    ],
)
def test_an_applications_own_cookies_arrive_unchanged(proxy: Proxy, cookies: str) -> None:
    proxy.ask("/public/logo.png", headers=[("Cookie", cookies)])

    [received] = proxy.backend.take()
    assert received.all("Cookie") == [cookies]


@pytest.mark.parametrize("path", LOCATIONS)
def test_a_client_cannot_open_a_tunnel_through_the_proxy(proxy: Proxy, path: str) -> None:
    """Upgrade: h2c would open a tunnel to the application, and no request in it would be checked."""
    site, who = LOCATIONS[path]
    tunnel = {
        "Upgrade": "h2c",
        "Connection": "Upgrade, HTTP2-Settings",
        "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA",
    }

    proxy.ask(path, site=site, who=who, headers=FETCH | tunnel)

    assert [received.all("Upgrade") for received in proxy.backend.take() if received.all("Upgrade")] == []


def test_a_websocket_talks_to_its_application(proxy: Proxy) -> None:
    reply = proxy.ask("/live/feed", who="alice", headers=WEBSOCKET)

    [received] = proxy.backend.take()
    assert reply.status == 101
    assert received.all("X-Auth-Request-User") == ["alice"]


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_an_upload_arrives_whole(proxy: Proxy, size: int) -> None:
    reply = proxy.ask("/upload/file", method="POST", who="alice", headers=FETCH, body=b"x" * size)

    [received] = proxy.backend.take()
    assert reply.status == 200
    assert received.body_length == size


def test_an_upload_without_a_sign_in_is_refused(proxy: Proxy) -> None:
    reply = proxy.ask("/upload/file", method="POST", headers=FETCH, body=b"x" * 3_000_000)

    assert reply.status == 401
    assert proxy.backend.take() == []


def test_an_applications_answer_comes_back_unchanged(proxy: Proxy) -> None:
    reply = proxy.ask("/page", who="alice", headers=FETCH)

    assert reply.all("Set-Cookie") == ["theme=dark; Path=/"]
    assert reply.body == b"reached"
