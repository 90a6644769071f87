"""The page that redirects a browser to a URL which is too long for a header.

By default, proxies read an answer's headers into a buffer of 4 KiB. A body may be longer.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils import translation

from authgate.check.responses import NO_STORE, Answer, Headers
from authgate.pages.refused import preferred_language

LONGEST_HEADER = 3072
"""Bytes of a URL in a redirect's header, at most."""

KEPT_HEADERS = ("Cache-Control", "Expires", "Referrer-Policy", "Vary")


class LongRedirectMiddleware:
    """Replaces a redirect of the portal by the page if its URL is too long for a header."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        url = response.headers.get("Location", "")
        if len(url) <= LONGEST_HEADER or response.status_code not in (302, 303):
            return response
        page = render(request, "authgate/onward.html", {"url": url, "static": settings.STATIC_URL})
        page.cookies = response.cookies
        for name in KEPT_HEADERS:
            if name in response.headers:
                page.headers[name] = response.headers[name]
        return page


def answer_at_another_origin(url: str, languages: str, *more: tuple[bytes, bytes]) -> Answer:
    """Return the page for an application's origin. It loads style and script from the portal."""
    portal = settings.IKD_PORTAL_ORIGIN
    policy = f"default-src 'none'; style-src {portal}; script-src {portal}; frame-ancestors 'none'"
    headers: Headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        *more,
        *NO_STORE,
    )
    with translation.override(preferred_language(languages)):
        context = {"url": url, "static": f"{portal}{settings.STATIC_URL}"}
        return Answer(200, headers, render_to_string("authgate/onward.html", context).encode())
