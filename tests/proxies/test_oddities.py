"""Requests that no browser sends: a clear refusal, and nobody gets in."""

from __future__ import annotations

import pytest

from tests.proxies.proxy import Proxy

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
    "HTTP/1.0 without Host": "GET /page HTTP/1.0\r\n",
    "star": "OPTIONS * HTTP/1.1\r\nHost: {app}\r\n",
    "GET of a star": "GET * HTTP/1.1\r\nHost: {app}\r\n",
    "no slash in front": "GET page HTTP/1.1\r\nHost: {app}\r\n",
    "CONNECT": "CONNECT {app} HTTP/1.1\r\nHost: {app}\r\n",
    "TRACE": "TRACE /page HTTP/1.1\r\nHost: {app}\r\n",
    "raw UTF-8": "GET /s\xc3\xa9 HTTP/1.1\r\nHost: {app}\r\n",
    "raw UTF-8 in the query": "GET /page?\xc3\xa9=\xff HTTP/1.1\r\nHost: {app}\r\n",
    "raw bytes that are no UTF-8": "GET /\xff\xfe HTTP/1.1\r\nHost: {app}\r\n",
    "number sign": "GET /page#/open/news HTTP/1.1\r\nHost: {app}\r\n",
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
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_nobody_gets_in_by(proxy: Proxy, oddity: str) -> None:
    reply = proxy.send(_request(proxy, oddity))

    assert reply is None or reply.status != 500
    # Traefik answers `OPTIONS *` by itself, with an empty 200.
    assert reply is None or reply.status >= 300 or reply.body == b""
    assert proxy.backend.take() == []


@pytest.mark.parametrize("oddity", [name for name in ODDITIES if "Host" in name or "absolute" in name])
def test_a_guests_cookie_opens_no_other_site_by(proxy: Proxy, oddity: str) -> None:
    """bob may enter app and not ops: whichever name counts, the application is the one that was judged."""
    cookie = proxy.portal.cookie("bob", "app")

    proxy.send(_request(proxy, oddity, f"Cookie: {cookie}\r\n"))

    for received in proxy.backend.take():
        assert received.application == "app"
        assert received.all("Host") == [proxy.portal.host("app")] or proxy.name == "traefik"
        assert received.all("X-Auth-Request-User") == ["bob"]


HALVES = {
    "half a request line": "GET /pa",
    "half a head": "GET /page HTTP/1.1\r\nHost: {app}\r\n{cookie}X-Forwarded-",
    "no empty line": "GET /page HTTP/1.1\r\nHost: {app}\r\n{cookie}",
    "half a chunk": "POST /page HTTP/1.1\r\nHost: {app}\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "a chunk of no size": "POST /page HTTP/1.1\r\nHost: {app}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "half a body": "POST /page HTTP/1.1\r\nHost: {app}\r\nContent-Length: 10\r\n\r\nabc",
}


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_reaches_nobody(proxy: Proxy, half: str) -> None:
    """The client says the rest never, and hangs up; alice's cookie is in the heads that are not whole."""
    cookie = f"Cookie: {proxy.portal.cookie('alice', 'app')}\r\n"
    sent = HALVES[half].replace("{app}", proxy.portal.host("app")).replace("{cookie}", cookie)

    try:
        reply = proxy.send(sent.encode("latin-1"), timeout=1)
    except TimeoutError:
        reply = None

    assert reply is None or reply.status >= 300
    assert proxy.backend.take() == []


def _request(proxy: Proxy, oddity: str, more: str = "") -> bytes:
    hosts = {site: proxy.portal.host(site) for site in ("app", "ops", "portal")}
    head = ODDITIES[oddity]
    for site, host in hosts.items():
        head = head.replace(f"{{{site}}}", host)
    return f"{head}{more}Accept: text/html\r\nConnection: close\r\n\r\n".encode("latin-1")
