"""Where a page of the portal leads afterwards."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from authgate.loading import is_allowed_origin
from authgate.redirects import judge


def judged(text: str | None) -> str | None:
    """Give the URL that `text` means, seen from the portal, or None where nobody may be sent."""
    return judge(text, base=settings.IKD_PORTAL_ORIGIN, allowed=is_allowed_origin)


def within_portal(text: str | None) -> str | None:
    """Give the path and query of a page of the portal's own that `text` means, None for anything else."""
    origin: str = settings.IKD_PORTAL_ORIGIN
    url = judge(text, base=origin, allowed=lambda other: other == origin)
    return url.removeprefix(origin) if url is not None and url.startswith(f"{origin}/") else None


def destination(request: HttpRequest, *names: str) -> str | None:
    """Give where the first of these parameters leads that a request has, in its form or its query."""
    for name in names:
        text = request.POST.get(name) or request.GET.get(name)
        if text:
            return judged(text)
    return None
