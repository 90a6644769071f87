"""Requests that no browser sends: each is refused."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest

from tests.proxies.backend import Backend, Received
from tests.proxies.proxy import Proxy
from tests.proxies.wire import conversations

pytestmark = pytest.mark.proxy

ODDITIES = {
    "absolute form, another Host": "GET https://{app}/page HTTP/1.1\r\nHost: {portal}\r\n",
    "absolute form of another site": "GET https://{ops}/page HTTP/1.1\r\nHost: {app}\r\n",
    "absolute form of the portal": "GET https://{portal}/page HTTP/1.1\r\nHost: {app}\r\n",
    "absolute form of a stranger": "GET https://evil.example/page HTTP/1.1\r\nHost: {app}\r\n",
    "absolute form with user info": "GET https://{portal}@{app}/page HTTP/1.1\r\nHost: {app}\r\n",
    "Host twice": "GET /page HTTP/1.1\r\nHost: {app}\r\nHost: {portal}\r\n",
    "Host twice, the portal first": "GET /page HTTP/1.1\r\nHost: {portal}\r\nHost: {app}\r\n",
    "Host with a comma": "GET /page HTTP/1.1\r\nHost: {app}, {portal}\r\n",
    "Host with user info": "GET /page HTTP/1.1\r\nHost: {portal}@{app}\r\n",
    "Host with a path": "GET /page HTTP/1.1\r\nHost: {app}/open\r\n",
    "Host with a trailing dot": "GET /page HTTP/1.1\r\nHost: app.example.com.\r\n",
    "Host with a backslash": "GET /page HTTP/1.1\r\nHost: {app}\\{portal}\r\n",
    "Host with a tab": "GET /page HTTP/1.1\r\nHost: {app}\t{portal}\r\n",
    "no Host": "GET /page HTTP/1.1\r\n",
    "empty Host": "GET /page HTTP/1.1\r\nHost: \r\n",
    "HTTP/1.0": "GET /page HTTP/1.0\r\nHost: {app}\r\n",
    "HTTP/1.0 without Host": "GET /page HTTP/1.0\r\n",
    "HTTP/1.0 in absolute form": "GET https://{ops}/page HTTP/1.0\r\n",
    "star": "OPTIONS * HTTP/1.1\r\nHost: {app}\r\n",
    "GET of a star": "GET * HTTP/1.1\r\nHost: {app}\r\n",
    "no slash in front": "GET page HTTP/1.1\r\nHost: {app}\r\n",
    "CONNECT": "CONNECT {app} HTTP/1.1\r\nHost: {app}\r\n",
    "TRACE": "TRACE /page HTTP/1.1\r\nHost: {app}\r\n",
    "raw UTF-8": "GET /s\xc3\xa9 HTTP/1.1\r\nHost: {app}\r\n",
    "raw UTF-8 in the query": "GET /page?\xc3\xa9=\xff HTTP/1.1\r\nHost: {app}\r\n",
    "raw bytes that are no UTF-8": "GET /\xff\xfe HTTP/1.1\r\nHost: {app}\r\n",
    "number sign": "GET /page#/open/news HTTP/1.1\r\nHost: {app}\r\n",
    "a percent sign alone": "GET /open/100% HTTP/1.1\r\nHost: {app}\r\n",
    "a percent sign and letters": "GET /open/%zz HTTP/1.1\r\nHost: {app}\r\n",
    "a percent sign and one digit": "GET /open/%4 HTTP/1.1\r\nHost: {app}\r\n",
    "encoded NUL": "GET /open/%00 HTTP/1.1\r\nHost: {app}\r\n",
    "a raw NUL": "GET /open/\x00 HTTP/1.1\r\nHost: {app}\r\n",
    "a control character": "GET /open/\x07 HTTP/1.1\r\nHost: {app}\r\n",
    "a space": "GET /open/ news HTTP/1.1\r\nHost: {app}\r\n",
    "lower case method": "get /page HTTP/1.1\r\nHost: {app}\r\n",
    "method of 300 letters": "A" * 300 + " /page HTTP/1.1\r\nHost: {app}\r\n",
    "HTTP/0.9": "GET /page\r\n",
    "a long path": "GET /" + "a" * 20_000 + " HTTP/1.1\r\nHost: {app}\r\n",
    "32 kB of headers": "GET /page HTTP/1.1\r\nHost: {app}\r\n"
    + "".join(f"X-H{i}: {'x' * 1000}\r\n" for i in range(32)),
    "32 kB of cookies": "GET /page HTTP/1.1\r\nHost: {app}\r\n" + f"Cookie: a={'x' * 32_000}\r\n",
    "1,500 cookies": "GET /page HTTP/1.1\r\nHost: {app}\r\nCookie: "
    + "; ".join(f"c{i}=" for i in range(1500))
    + "\r\n",
    "1,001 parameters": "GET /page?"
    + "&".join(f"a{i}" for i in range(1001))
    + " HTTP/1.1\r\nHost: {app}\r\n",
    "length twice": "POST /page HTTP/1.1\r\nHost: {app}\r\nContent-Length: 0\r\nContent-Length: 5\r\n",
    "two lengths": "POST / HTTP/1.1\r\nHost: {app}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunked twice": "POST / HTTP/1.1\r\nHost: {app}\r\n" + "Transfer-Encoding: chunked\r\n" * 2,
    "chunked, then not": "POST / HTTP/1.1\r\nHost: {app}\r\nTransfer-Encoding: chunked, identity\r\n",
    "a coding of nobody's": "POST / HTTP/1.1\r\nHost: {app}\r\nTransfer-Encoding: xchunked\r\n",
    "a coding with a tab": "POST / HTTP/1.1\r\nHost: {app}\r\nContent-Length: 4\r\n"
    "Transfer-Encoding:\tchunked\r\n",
    "a coding with an underscore": "POST / HTTP/1.1\r\nHost: {app}\r\nTransfer_Encoding: chunked\r\n",
    "HTTP/1.0, chunked": "POST / HTTP/1.0\r\nHost: {app}\r\nTransfer-Encoding: chunked\r\n",
    "a length of a plus": "POST / HTTP/1.1\r\nHost: {app}\r\nContent-Length: +0\r\n",
    "HTTP/1.2": "GET /page HTTP/1.2\r\nHost: {app}\r\n",
    "HTTP/2 in words": "GET /page HTTP/2.0\r\nHost: {app}\r\n",
    "200 headers": "GET /page HTTP/1.1\r\nHost: {app}\r\n" + "".join(f"X-H{i}: x\r\n" for i in range(200)),
    "a folded header": "GET /page HTTP/1.1\r\nHost: {app}\r\nX-A: 1\r\n X-Forwarded-Uri: /open\r\n",
    "a header without a name": "GET /page HTTP/1.1\r\nHost: {app}\r\n: /open\r\n",
    "a space before the colon": "GET /page HTTP/1.1\r\nHost: {app}\r\nX-Forwarded-Uri : /open/news\r\n",
    **{
        name: f"GET /page HTTP/1.1\r\nHost: {{app}}\r\n{header}\r\n"
        for name, header in {
            "Connection that names who is signed in": "Connection: X-Auth-Request-User",
            "Connection that names the cookie": "Connection: Cookie",
            "Connection that names what was asked for": "Connection: X-Forwarded-Uri, X-Original-URL, Host",
            "a name with underscores": "X_Auth_Request_User: mallory",
            "a name with dots": "X.Auth.Request.User: mallory",
            "a name with a space": "X-Auth Request-User: mallory",
            "a name with a space behind": "X-Auth-Request-User : mallory",
            "a name with a tab behind": "X-Auth-Request-User\t: mallory",
            "a name with a space in front": " X-Auth-Request-User: mallory",
            "a name with a colon in front": ":X-Auth-Request-User: mallory",
            "a name with a NUL": "X-Auth-Request-User\x00: mallory",
            "a name with a byte of no ASCII": "X-Auth-Request-User\xa0: mallory",
            "a name without a colon": "X-Auth-Request-User mallory",
            "a name behind a line feed": "X-A: 1\nX-Auth-Request-User: mallory",
            "a name behind a carriage return": "X-A: 1\rX-Auth-Request-User: mallory",
            "a name behind a NUL": "X-A: 1\x00X-Auth-Request-User: mallory",
            "a name behind a fold": "X-A: 1\r\n\tX-Auth-Request-User: mallory",
            "a name that comes twice": "X-Auth-Request-User: mallory\r\nx-auth-request-user: mallory",
        }.items()
    },
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_request_is_refused(proxy: Proxy, oddity: str) -> None:
    reply = proxy.send(_request(proxy, oddity))

    assert reply is None or reply.status != 500
    # Traefik answers `OPTIONS *` by itself, with an empty 200.
    assert reply is None or reply.status >= 300 or reply.body == b""
    assert proxy.backend.take() == []


@pytest.mark.parametrize("oddity", [name for name in ODDITIES if "Host" in name or "absolute" in name])
def test_an_odd_request_with_a_cookie_opens_no_other_site(proxy: Proxy, oddity: str) -> None:
    """bob may open app and not ops. The request must reach the application that was checked."""
    cookie = proxy.portal.cookie("bob", "app")

    proxy.send(_request(proxy, oddity, f"Cookie: {cookie}\r\n"))

    for received in proxy.backend.take():
        assert received.application == "app"
        assert received.all("Host") == [proxy.portal.host("app")] or proxy.name == "traefik"
        assert received.all("X-Auth-Request-User") == ["bob"]


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_request_cannot_forge_the_user(proxy: Proxy, oddity: str) -> None:
    """alice is signed in, and may be admitted or not. mallory is the name that the client claims."""
    more = f"Cookie: {proxy.portal.cookie('alice', 'app')}\r\nX-Auth-Request-User: mallory\r\n"

    with suppress(TimeoutError):  # a body was announced, and never arrives
        proxy.send(_request(proxy, oddity, more), timeout=1)

    for received in proxy.backend.take():
        assert received.application == "app"
        assert named(received.head) == [b"alice"]


def named(head: bytes) -> list[bytes]:
    """Return the user for an application that reads lines and names leniently."""
    lines = (line.partition(b":") for line in re.split(rb"[\r\n]+", head))
    return [
        value.strip()
        for name, _, value in lines
        if re.sub(rb"[^a-z]", b"-", name.strip().lower()) == b"x-auth-request-user"
    ]


SECOND = (
    "GET /staff/rota HTTP/1.1\r\nHost: {app}\r\nX-Attempt: {mark}\r\n"
    "X-Auth-Request-User: mallory\r\nConnection: close\r\n\r\n"
)
SMUGGLERS = {
    "a length and chunks": ("Content-Length: {length}", "Transfer-Encoding: chunked"),
    "chunks and a length": ("Transfer-Encoding: chunked", "Content-Length: {length}"),
    "a coding with a space": ("Content-Length: {length}", "Transfer-Encoding : chunked"),
    "a coding in a fold": ("Content-Length: {length}", "Transfer-Encoding:\r\n chunked"),
    "a coding behind a fold": ("Content-Length: {length}", "X-A: 1\r\n Transfer-Encoding: chunked"),
    "a coding behind a line feed": ("Content-Length: {length}", "X-A: 1\nTransfer-Encoding: chunked"),
    "a coding behind a carriage return": ("Content-Length: {length}", "X-A: 1\rTransfer-Encoding: chunked"),
    "a coding with a vertical tab": ("Content-Length: {length}", "Transfer-Encoding: \x0bchunked"),
    "a coding with a NUL": ("Content-Length: {length}", "Transfer-Encoding: chunked\x00"),
    "a coding of nobody's": ("Content-Length: {length}", "Transfer-Encoding: xchunked"),
    "two codings": ("Content-Length: {length}", "Transfer-Encoding: chunked, identity"),
    "two lines of codings": ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "a coding with an underscore": ("Content-Length: {length}", "Transfer_Encoding: chunked"),
    "two lengths": ("Content-Length: {length}", "Content-Length: 0"),
    "two lengths in a line": ("Content-Length: 0, {length}",),
    "a length with a plus": ("Content-Length: +{length}",),
    "a length in hexadecimal": ("Content-Length: 0x0",),
    "an empty length": ("Content-Length: ", "Content-Length: {length}"),
    "Connection that names the length": ("Content-Length: {length}", "Connection: Content-Length"),
    "no length": (),
    "Expect": ("Content-Length: {length}", "Expect: 100-continue"),
    "an upgrade": ("Content-Length: {length}", "Upgrade: h2c", "Connection: Upgrade"),
}
"""Headers of a request with a body that begins with an empty chunk, followed by another request."""


METHODS = ("POST", "GET")
ATTEMPTS = {
    (smuggler, method): f"attempt-{smuggler.replace(' ', '-')}-by-{method}"
    for smuggler in SMUGGLERS
    for method in METHODS
}
"""The mark of each attempt, which both of its requests have."""


def _attempt(proxy: Proxy, smuggler: str, method: str) -> bytes:
    app, mark = proxy.portal.host("app"), ATTEMPTS[smuggler, method]
    body = f"0\r\n\r\n{SECOND}".replace("{app}", app).replace("{mark}", mark)
    first = (f"{method} /open/news HTTP/1.1", f"Host: {app}", f"X-Attempt: {mark}")
    lines = (*first, *SMUGGLERS[smuggler], "", body)
    return "\r\n".join(lines).replace("{length}", str(len(body))).encode("latin-1")


@pytest.fixture(scope="session")
def arrived_by_proxy() -> dict[str, list[Received]]:
    return {}


@pytest.fixture
def arrived(proxy: Proxy, arrived_by_proxy: dict[str, list[Received]]) -> list[Received]:
    """Return what reaches applications in all attempts, which are made at once to wait only once."""
    if proxy.name not in arrived_by_proxy:
        attempts = [_attempt(proxy, *each) for each in ATTEMPTS]
        conversations(proxy.address, attempts, tls_name=proxy.portal.names["app"])
        arrived_by_proxy[proxy.name] = proxy.backend.take()
    return arrived_by_proxy[proxy.name]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("smuggler", SMUGGLERS)
def test_no_request_is_smuggled_in_another(arrived: list[Received], smuggler: str, method: str) -> None:
    """Each is for a public page. The rest is part of its body, or a request that is checked itself."""
    mark = f"{ATTEMPTS[smuggler, method]}\r\n".encode()
    for received in arrived:
        if mark in received.head + b"\r\n" or b"attempt-" not in received.head:
            assert received.request_line.split(" ")[1] == "/open/news"
            assert b"mallory" not in received.head


def test_an_application_would_accept_a_smuggled_request(backend: Backend) -> None:
    """This shows that the proxy is what stops the rows above."""
    address, _, port = backend.addresses["app"].rpartition(":")
    head = "POST /open/news HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    backend.take()

    conversations((address, int(port)), [f"{head}{SECOND}".encode()], tls_name=None)

    assert [received.request_line.split(" ")[1] for received in backend.take()] == [
        "/open/news",
        "/staff/rota",
    ]


HALVES = {
    "half a request line": "GET /pa",
    "half a head": "GET /page HTTP/1.1\r\nHost: {app}\r\n{cookie}X-Forwarded-",
    "no empty line": "GET /page HTTP/1.1\r\nHost: {app}\r\n{cookie}",
    "half a chunk": "POST /page HTTP/1.1\r\nHost: {app}\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "a chunk of no size": "POST /page HTTP/1.1\r\nHost: {app}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "half a body": "POST /page HTTP/1.1\r\nHost: {app}\r\nContent-Length: 10\r\n\r\nabc",
}


@pytest.fixture
def answers_to_halves(proxy: Proxy, answers_by_proxy: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """Return the answers to all halves. The client never sends the rest, and closes the connection."""
    if proxy.name not in answers_by_proxy:
        cookie, app = f"Cookie: {proxy.portal.cookie('alice', 'app')}\r\n", proxy.portal.host("app")
        sent = [half.replace("{app}", app).replace("{cookie}", cookie) for half in HALVES.values()]
        octets = [half.encode("latin-1") for half in sent]
        heard = conversations(proxy.address, octets, tls_name=proxy.portal.names["portal"], first=1)
        assert proxy.backend.take() == []
        answers_by_proxy[proxy.name] = dict(zip(HALVES, heard, strict=True))
    return answers_by_proxy[proxy.name]


@pytest.fixture(scope="session")
def answers_by_proxy() -> dict[str, dict[str, bytes]]:
    return {}


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_does_not_reach_an_application(
    proxy: Proxy, answers_to_halves: dict[str, bytes], half: str
) -> None:
    """The complete heads among them have alice's cookie."""
    heard = answers_to_halves[half]

    assert heard == b"" or int(heard.split(b" ")[1]) >= 300
    assert proxy.backend.take() == []


def _request(proxy: Proxy, oddity: str, more: str = "") -> bytes:
    hosts = {site: proxy.portal.host(site) for site in ("app", "ops", "portal")}
    head = ODDITIES[oddity]
    for site, host in hosts.items():
        head = head.replace(f"{{{site}}}", host)
    return f"{head}{more}Accept: text/html\r\nConnection: close\r\n\r\n".encode("latin-1")
