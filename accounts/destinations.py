"""Where a page of the portal leads afterwards."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest

from authgate.check.redirects import LONGEST, judge
from authgate.worker.loader import is_allowed_origin

LONGEST_FRAGMENT = 2048
"""Characters."""

_FRAGMENT = re.compile(r"[\x21-\x7e]+")
_TOKENS = re.compile(r"(?:^|[?&])(?:access_token|id_token|refresh_token|code|token|password)=", re.IGNORECASE)


def redirect_target(text: str | None) -> str | None:
    """Return the URL that `text` means, seen from the portal, or None where nobody may be sent."""
    return judge(text, base=settings.IKD_PORTAL_ORIGIN, allowed=is_allowed_origin)


def with_fragment(url: str | None, fragment: str) -> str | None:
    """Return a validated URL with the fragment that its visitor's browser has, if that can be kept.

    What other flows leave there, such as tokens, is not taken.
    """
    fragment = fragment.removeprefix("#")
    fits = url is not None and len(fragment) <= LONGEST_FRAGMENT and len(url) + len(fragment) < LONGEST
    if url is None or "#" in url or not fits or not _FRAGMENT.fullmatch(fragment) or _TOKENS.search(fragment):
        return url
    return f"{url}#{fragment}"


def within_portal(text: str | None) -> str | None:
    """Return the path and query of a page of the portal's own that `text` means, None for anything else."""
    origin: str = settings.IKD_PORTAL_ORIGIN
    url = judge(text, base=origin, allowed=lambda other: other == origin)
    return url.removeprefix(origin) if url is not None and url.startswith(f"{origin}/") else None


def with_next(url: str, target: str | None) -> str:
    """Return the URL of a page that leads to `target` afterwards, or just the page's if there is none."""
    return f"{url}?{urlencode({'next': target})}" if target else url


def destination(request: HttpRequest, *names: str) -> str | None:
    """Return where the first of these parameters leads that a request has, in its form or its query."""
    for name in names:
        text = request.POST.get(name) or request.GET.get(name)
        if text:
            return redirect_target(text)
    return None
