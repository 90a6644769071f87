"""The page for frames of other sites, where users cannot sign in. It has a link that opens a tab.

Any site may frame it, so a click on it can do nothing except open the requested page.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation

from authgate.check.request import FRAMES
from authgate.check.responses import framed_headers
from authgate.pages.refused import preferred_language


def render_framed(url: str, languages: str) -> bytes:
    """Return the page as HTML. It works on any origin, because it loads its style from the portal."""
    portal = settings.IKD_PORTAL_ORIGIN
    context = {
        "url": url,
        "host": urlsplit(url).netloc,
        "static": f"{portal}{settings.STATIC_URL}",
        "accent_url": f"{portal}{reverse('brand_accent')}",
    }
    with translation.override(preferred_language(languages)):
        return render_to_string("authgate/framed.html", context).encode()


def warm_up() -> None:
    """Load the template, so that the first page in a frame delays no check."""
    render_framed(settings.IKD_PORTAL_ORIGIN, "")


def unless_framed(request: HttpRequest, response: HttpResponse, url: str) -> HttpResponse:
    """Return the response; in a frame, return the page with a link to `url` instead.

    Browsers show no other page of ours in a frame. A redirect to another origin stays, because a frame of the
    same site can sign in silently.
    """
    if request.headers.get("Sec-Fetch-Dest", "").encode("latin-1", "replace") not in FRAMES:
        return response
    if response.get("Location", "").startswith(("https://", "http://")):
        return response
    page = HttpResponse(render_framed(url, request.headers.get("Accept-Language", "")), status=401)
    for name, value in framed_headers(settings.IKD_PORTAL_ORIGIN):
        page[name.decode().title()] = value.decode()
    page.xframe_options_exempt = True
    return page
