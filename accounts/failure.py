"""The page for a failure (500): it shows the number under which the log has the traceback."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from ikd_portal.logs.request_ids import current_request

log = logging.getLogger("ikd.pages")

BARE = (
    "<!doctype html><html lang=en><title>Something went wrong here</title><p>Something went wrong here.</p>"
)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the page for a failure, or a bare one if the templates themselves fail."""
    try:
        page: str = render_to_string("500.html")
    except Exception:
        log.exception("the page for a failure cannot be rendered")
        page = f"{BARE}<p>Reference: {current_request.get()}</p></html>"
    return HttpResponse(page, status=500)
