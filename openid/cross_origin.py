"""Cross-origin requests from pages in browsers (Fetch standard, section 3.2).

Pages of public clients call the token, userinfo and revocation endpoints from the origins of their redirect
URIs. These endpoints ignore cookies, and no answer allows credentials.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from openid.models import Client
from openid.protocol import redirect_uris

_ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]{1,262}")
HEADERS = "Authorization, Content-Type"
PREFLIGHT_MAX_AGE = "600"
"""Seconds for which browsers cache the answer to a preflight."""

View = Callable[[HttpRequest], HttpResponse]


def from_clients_pages(view: View) -> View:
    """Let pages of public clients read an endpoint's answers. One query if a request has an Origin header."""

    @wraps(view)
    def inner(request: HttpRequest) -> HttpResponse:
        origin = request.headers.get("Origin", "")
        is_allowed = bool(origin) and is_public_client_origin(origin)
        is_preflight = request.method == "OPTIONS" and bool(origin)
        response = _preflight(is_allowed) if is_preflight else view(request)
        patch_vary_headers(response, ["Origin"])
        if is_allowed:
            response["Access-Control-Allow-Origin"] = origin
            response["Access-Control-Expose-Headers"] = "WWW-Authenticate"
        return response

    return inner


def from_any_page(view: View) -> View:
    """Let pages of any origin read a public document."""

    @wraps(view)
    def inner(request: HttpRequest) -> HttpResponse:
        response = _preflight(True) if request.method == "OPTIONS" else view(request)
        response["Access-Control-Allow-Origin"] = "*"
        return response

    return inner


def _preflight(is_allowed: bool) -> HttpResponse:
    if not is_allowed:
        return HttpResponse(status=403)
    response = HttpResponse(status=204)
    response["Access-Control-Allow-Methods"] = "GET, POST"
    response["Access-Control-Allow-Headers"] = HEADERS
    response["Access-Control-Max-Age"] = PREFLIGHT_MAX_AGE
    return response


def is_public_client_origin(origin: str) -> bool:
    """Return whether an enabled public client has a redirect URI at this origin. One query."""
    if not _ORIGIN.fullmatch(origin):
        return False
    clients = Client.objects.filter(
        kind=Client.Kind.PUBLIC, enabled=True, application__enabled=True, redirect_uris__icontains=origin
    )
    texts = clients.values_list("redirect_uris", flat=True)
    return any(redirect_uris.origin_of(uri) == origin for text in texts for uri in text.split())
