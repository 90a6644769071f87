"""A browser without a proxy.

It keeps cookies for each origin, and follows redirects between the portal and protected origins. It visits
protected origins through the check, in either answer style.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.http import HttpResponse
from django.test import Client

from accounts.models import User
from tests.authgate.asking import NAVIGATION, Headers, forwarded, raw_endpoint

PORTAL = "https://sso.example.com"
ENDPOINTS = ("start", "callback", "sign_out", "userinfo", "refused")


@dataclass
class Browser:
    style: str = "redirect"
    keeps_cookies: bool = True
    hints: Headers = field(default_factory=lambda: list(NAVIGATION))
    jars: dict[str, dict[str, str]] = field(default_factory=dict)
    trail: list[str] = field(default_factory=list)
    portal: Client = field(default_factory=lambda: Client(HTTP_HOST="sso.example.com"))

    def sign_in(self, user: User) -> None:
        self.portal.force_login(user)

    def ask(self, url: str, method: str = "GET", hints: Headers | None = None) -> HttpResponse:
        """Send one request and keep the cookies of the answer."""
        self.trail.append(url)
        where = urlsplit(url)
        origin = f"{where.scheme}://{where.netloc}"
        if origin == PORTAL:
            path = url.removeprefix(PORTAL).partition("#")[0]
            response = self.portal.generic(method, path or "/", secure=True)
            assert isinstance(response, HttpResponse)
            return response
        response = self._through_proxy(origin, url, method, self.hints if hints is None else hints)
        if self.keeps_cookies and "Set-Cookie" in response:
            name, _, rest = response["Set-Cookie"].partition("=")
            self.jars.setdefault(origin, {})[name] = rest.partition(";")[0]
        return response

    def _through_proxy(self, origin: str, url: str, method: str, hints: Headers) -> HttpResponse:
        path = url.removeprefix(origin).partition("#")[0]
        headers = [*forwarded(f"{origin}{path}", method=method), *hints]
        cookie = "; ".join(f"{name}={value}" for name, value in self.jars.get(origin, {}).items())
        if self.style == "redirect":
            return raw_endpoint("/authgate/traefik", headers, cookie=cookie)
        bare, _, query = path.partition("?")
        if bare in [f"/authgate/{name}" for name in ENDPOINTS]:
            return raw_endpoint(bare, headers, query, cookie)
        answer = raw_endpoint("/authgate/nginx", headers, cookie=cookie)
        return (
            raw_endpoint("/authgate/start", headers, cookie=cookie) if answer.status_code == 401 else answer
        )

    def follow(self, url: str, *, until: str = "", limit: int = 20) -> HttpResponse:
        """Follow redirects. Stop before the first address that contains `until`: `trail` ends with it."""
        for _ in range(limit):
            response = self.ask(url)
            if not 300 <= response.status_code < 400:
                return response
            url = response["Location"] if "://" in response["Location"] else PORTAL + response["Location"]
            if until and until in url:
                self.trail.append(url)
                return response
        raise AssertionError(f"a loop: {self.trail}")

    def code_url(self, url: str) -> str:
        """Follow redirects up to the address with a code, and return it without visiting it."""
        self.follow(url, until="ikdcode=")
        return self.trail[-1]
