"""The requests of the load, byte for byte as proxies send them."""

from __future__ import annotations

from collections.abc import Iterable

from authgate.cookies import cookie_name
from authgate.decision.target import origin_from
from benchmarks.tokens import token_of

PAGES = 1_000
"""Different paths, because every request for a real page has another one."""

BROWSER = (
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.8,de;q=0.5"),
    ("Sec-Fetch-Mode", "navigate"),
)


def request(target: str, host: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def check(
    uri: str,
    token: str = "",
    *,
    host: str = "app.example.com",
    url: str = "/authgate/nginx",
    authorization: str = "",
) -> bytes:
    """Return a check as nginx sends it for a page that a browser requests over https: 11 headers."""
    forwarded = [
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", f"{host}:443"),
        ("X-Forwarded-Uri", uri),
        ("X-Forwarded-For", "198.51.100.7"),
    ]
    more = [("Authorization", authorization)] if authorization else []
    return request(url, "ikd-portal", [*forwarded, *_cookie("__Host-ikd_gate", token), *more, *BROWSER])


def checks(
    tokens: Iterable[str] = ("",),
    *,
    prefix: str = "/docs",
    url: str = "/authgate/nginx",
    authorization: str = "",
) -> list[bytes]:
    """Return checks for PAGES different paths, using the tokens in turn."""
    every = list(tokens)
    count = max(PAGES, len(every))
    return [
        check(f"{prefix}/page-{n}.html?n={n}", every[n % len(every)], url=url, authorization=authorization)
        for n in range(count)
    ]


def distinct_heads(every: list[str], count: int) -> list[bytes]:
    """Return checks that all have different heads, as if each came from another browser."""
    alike = checks(every)
    return [
        alike[n % len(alike)].replace(b"\r\nUser-Agent: ", f"\r\nUser-Agent: {n:032x} ".encode())
        for n in range(count)
    ]


def varying_heads(every: list[str], count: int) -> list[bytes]:
    """Return checks for the parts of a page: each has its own Referer, If-None-Match and X-Request-Id."""
    alike = checks(every)
    return [
        alike[n % len(alike)].replace(
            b"\r\nUser-Agent:",
            f'\r\nReferer: https://app.example.com/docs/page-{n}.html\r\nIf-None-Match: "{n:x}"\r\n'
            f"X-Request-Id: {n:032x}\r\nUser-Agent:".encode(),
        )
        for n in range(count)
    ]


def tokens(count: int, step: int = 1, of: int = 0) -> list[str]:
    """Return `count` tokens of the first `of`, in steps of `step`."""
    return [token_of(n * step % (of or count)) for n in range(count)]


def page(host: str, token: str = "", port: int = 80) -> bytes:
    """Return a browser's own request for a page, over plain http. `port` is that of the cookie's origin."""
    name = cookie_name(origin_from("http", f"{host}:{port}"), "gate")
    return request("/page.html", host, [*_cookie(name, token), *BROWSER, ("Accept-Encoding", "gzip")])


def _cookie(name: str, token: str) -> list[tuple[str, str]]:
    return [("Cookie", f"theme=dark; {name}={token}" if token else "theme=dark")]
