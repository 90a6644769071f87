"""The pages for a failure: 503 if the database or Redis is out of order, 500 for everything else.

Both show the number under which the log has the cause.
"""

from __future__ import annotations

import logging
import sys

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import translation

from authgate.outage import RETRY_AFTER, Outage, outage_in, render_outage
from authgate.writer import SIGN_INS_SHED, writer
from ikd_portal.logs.lines import cause_of
from ikd_portal.logs.request_ids import current_request

log = logging.getLogger("ikd.pages")

BARE = (
    "<!doctype html><html lang=en><title>Something went wrong here</title><p>Something went wrong here.</p>"
)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the page for a failure, or a bare one if the templates themselves fail.

    Django calls it while it handles the exception.
    """
    error = sys.exc_info()[1]
    if error is not None and (outage := outage_in(error)) is not None:
        return _unavailable(request, outage, error)
    try:
        page: str = render_to_string("500.html")
    except Exception:
        log.exception("the page for a failure cannot be rendered")
        page = f"{BARE}<p>Reference: {current_request.get()}</p></html>"
    return HttpResponse(page, status=500)


def _unavailable(request: HttpRequest, outage: Outage, error: BaseException) -> HttpResponse:
    log.error("pages get 503: %s", cause_of(error))
    if outage is Outage.OVERLOADED:
        writer.note_shed(SIGN_INS_SHED)
    # The failure may have come before the middleware that chooses the language.
    with translation.override(translation.get_language_from_request(request)):
        page = render_outage(outage, current_request.get())
    response = HttpResponse(page, status=503)
    response["Retry-After"] = str(RETRY_AFTER)
    response["Cache-Control"] = "no-store"
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log a traceback for each
    return response
