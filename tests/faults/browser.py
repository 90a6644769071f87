"""A small HTTP browser at a real portal: cookies, the sign-in form, and the headers that a proxy adds."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from tests.front.serving import Portal, Reply

HOST = "sso.example.com"
TOKEN = re.compile(rb'name="csrfmiddlewaretoken" value="([^"]+)"')


class Browser:
    def __init__(self, portal: Portal, host: str = HOST) -> None:
        self._portal, self._host = portal, host
        self._cookies: dict[str, str] = {}
        self.cookie_of_site = ""
        """Cookies of the site, which stay while the browser is at the portal."""

    def at(self, portal: Portal) -> Browser:
        """Continue at another portal with the same host, as a proxy in front of both may decide."""
        self._portal = portal
        return self

    def get(self, path: str, method: str = "GET", form: bytes = b"") -> Reply:
        headers = {
            "Host": self._host,
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "198.51.100.7",
            "Accept": "text/html",
            "Origin": f"https://{self._host}",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()) or "a=b",
            "Content-Type": "application/x-www-form-urlencoded",
            "Content-Length": str(len(form)),
            "Connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with self._portal.connect() as connection:
            connection.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + form)
            reply = connection.reply()
        for name, value in reply.headers:
            if name == "set-cookie":
                cookie, _, content = value.partition(";")[0].partition("=")
                self._cookies[cookie] = content
        return reply

    def sign_in(self, login: str, password: str) -> Reply:
        page = self.get("/accounts/login/")
        found = TOKEN.search(page.body)
        assert found is not None, page.body
        form = {"login": login, "password": password, "csrfmiddlewaretoken": found[1].decode()}
        return self.get("/accounts/login/", "POST", urlencode(form).encode())

    def continue_to(self, origin: str) -> str:
        """Return the path to which a proxy sends this browser for a page of `origin`."""
        with self._portal.connect() as connection:
            reply = connection.check(
                origin=origin, check="/authgate/traefik", Sec_Fetch_Mode="navigate", Accept="text/html"
            )
        self.cookie_of_site = reply.header("set-cookie").partition(";")[0]
        return reply.header("location").removeprefix(f"https://{self._host}")
