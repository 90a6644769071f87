"""How each kind of proxy sends the portal a check: method, target and headers."""

from __future__ import annotations

from typing import NamedTuple

Headers = list[tuple[bytes, bytes]]


class CheckRequest(NamedTuple):
    """A check as a proxy sends it, without the browser's cookies and hints."""

    method: str
    target: str
    headers: Headers


def check_request(
    check: str, url: str, *, method: str = "GET", client: str = "198.51.100.7", query: str = ""
) -> CheckRequest:
    """Return the check of a request for `url`, sent to the URL `check`; `query` contains its filters."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    path = slash + path or "/"
    asked = f"?{query}" if query else ""
    if check == "/authgate/envoy":
        headers = [("host", host), ("x-forwarded-proto", scheme), ("x-forwarded-for", client)]
        return CheckRequest(method, f"{check}{path}", _octets(headers))
    if check == "/authgate/ingress-nginx":
        served = f"?host={host}" + (f"&{query}" if query else "")
        headers = [("x-original-url", f"{scheme}://{host}{path}"), ("x-original-method", method)]
        return CheckRequest("GET", f"{check}{served}", _octets([*headers, ("x-real-ip", client)]))
    headers = [("x-forwarded-method", method), ("x-forwarded-proto", scheme), ("x-forwarded-host", host)]
    headers += [("x-forwarded-uri", path), ("x-forwarded-for", client)]
    return CheckRequest("GET", f"{check}{asked}", _octets(headers))


def _octets(headers: list[tuple[str, str]]) -> Headers:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers]
