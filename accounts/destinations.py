"""The URLs to which a page of the portal may redirect."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest

from authgate.redirect_targets import LONGEST, validate_target
from authgate.worker.loader import is_allowed_origin

LONGEST_FRAGMENT = 2048
"""Characters."""

_FRAGMENT = re.compile(r"[\x21-\x7e]+")
_TOKENS = re.compile(r"(?:^|[?&])(?:access_token|id_token|refresh_token|code|token|password)=", re.IGNORECASE)


def redirect_target(text: str | None) -> str | None:
    """Return the URL if the portal may redirect a browser to it, or None. A relative URL is the portal's."""
    return validate_target(text, base=settings.IKD_PORTAL_ORIGIN, allowed=is_allowed_origin)


def with_fragment(url: str | None, fragment: str) -> str | None:
    """Return an allowed URL with the fragment of the visitor's browser, if it is not too long.

    Leave out fragments with tokens of other protocols.
    """
    fragment = fragment.removeprefix("#")
    fits = url is not None and len(fragment) <= LONGEST_FRAGMENT and len(url) + len(fragment) < LONGEST
    if url is None or "#" in url or not fits or not _FRAGMENT.fullmatch(fragment) or _TOKENS.search(fragment):
        return url
    return f"{url}#{fragment}"


def within_portal(text: str | None) -> str | None:
    """Return path and query of a URL within the portal, or None for any other URL."""
    origin: str = settings.IKD_PORTAL_ORIGIN
    url = validate_target(text, base=origin, allowed=lambda other: other == origin)
    return url.removeprefix(origin) if url is not None and url.startswith(f"{origin}/") else None


def with_next(url: str, target: str | None) -> str:
    """Return the URL of a page with `target` as its `next` parameter, if there is one."""
    return f"{url}?{urlencode({'next': target})}" if target else url


def destination(request: HttpRequest, *names: str) -> str | None:
    """Return the allowed URL in the first of these parameters that the form or query has, or None."""
    for name in names:
        text = request.POST.get(name) or request.GET.get(name)
        if text:
            return redirect_target(text)
    return None
