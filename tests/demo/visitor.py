"""A minimal HTTP client that follows redirects and keeps cookies for each host."""

from __future__ import annotations

import html
import http.client
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

HIDDEN = re.compile(r'<input[^>]*type="hidden"[^>]*>')
ATTRIBUTE = re.compile(r'(name|value)="([^"]*)"')


class Visitor:
    def __init__(self, port: int) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(), _handler(port)()
        )
        self.url = ""

    def open(self, url: str, data: bytes | None = None, accept: str = "text/html") -> str:
        """Open a page, follow its redirects, and return its text for any status."""
        request = urllib.request.Request(url, data, {"Accept": accept, "Sec-Fetch-Mode": "navigate"})
        try:
            answer = self._opener.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.url = answer.geturl()
            return str(answer.read().decode())

    def open_signing_in(self, url: str, username: str, password: str) -> str:
        """Open a page, and fill in the sign-in form that the portal shows first."""
        form = dict(_hidden_fields(self.open(url)))
        form |= {"login": username, "password": password}
        return self.open(self.url, urllib.parse.urlencode(form).encode())


def _hidden_fields(page: str) -> list[tuple[str, str]]:
    fields = [dict(ATTRIBUTE.findall(tag)) for tag in HIDDEN.findall(page)]
    return [(field["name"], html.unescape(field.get("value", ""))) for field in fields]


def _handler(port: int) -> type[urllib.request.HTTPHandler]:
    class ToProxy(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)

    class Handler(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> Any:
            return self.do_open(ToProxy, request)

    return Handler
