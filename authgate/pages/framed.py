"""The page inside another page's frame, where nobody can sign in: a link that opens a tab.

Any site may frame it, so it holds nothing that a click could do but open the page that the frame asked for.
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
    """Return the page as HTML. It works on any origin: its style is the portal's."""
    portal = settings.IKD_PORTAL_ORIGIN
    context = {
        "url": url,
        "host": urlsplit(url).netloc,
        "static": f"{portal}{settings.STATIC_URL}",
        "accent_url": f"{portal}{reverse('brand_accent')}",
    }
    with translation.override(preferred_language(languages)):
        return render_to_string("authgate/framed.html", context).encode()


def make_ready() -> None:
    """Read the template, so that the first page in a frame keeps no check waiting."""
    render_framed(settings.IKD_PORTAL_ORIGIN, "")


def unless_framed(request: HttpRequest, response: HttpResponse, url: str) -> HttpResponse:
    """Return the response, or in a frame the page with a link to `url`: browsers show no other of ours there.

    A redirect to another origin goes on, for a frame of the same site can be signed in silently.
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
