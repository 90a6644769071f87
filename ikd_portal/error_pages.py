"""The pages for failures: 503 if the database or Redis fails, 500 for almost everything else.

Both show a reference number, under which the log has the cause. If a session was replaced during a request
that only reads, the browser repeats the request.
"""

from __future__ import annotations

import logging
import sys

from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.exceptions import SuspiciousOperation
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils import translation
from django.views import defaults

from authgate.logs.lines import cause_of
from authgate.logs.request_ids import current_request
from authgate.pages.outage import RETRY_AFTER, Outage, outage_in, render_outage
from authgate.worker.write_behind import SIGN_INS_SHED, writer

log = logging.getLogger("ikd.pages")

NO_TEXT = "NUL (0x00)"
"""psycopg's message for a text that PostgreSQL cannot store. No form of the portal sends one."""

BARE = "<!doctype html><html lang=en><title>Something went wrong</title><p>Something went wrong.</p>"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the page for an unreadable request, or redirect the browser to the same URL.

    Django raises SessionInterrupted if another tab signed in or out while this request ran. By then the
    browser has the new cookie, so a second GET works. A form is not repeated, because it may have been saved
    already.
    """
    if not isinstance(exception, SessionInterrupted):
        return defaults.bad_request(request, exception)
    if request.method in ("GET", "HEAD"):
        response: HttpResponse = HttpResponseRedirect(request.get_full_path())
    else:
        response = HttpResponse(render_to_string("session_replaced.html", request=request), status=409)
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the page for a failure, or a bare one if the templates fail too.

    Django calls this while it handles the exception.
    """
    error = sys.exc_info()[1]
    if error is not None and (outage := outage_in(error)) is not None:
        return _unavailable(request, outage, error)
    if isinstance(error, DataError) and NO_TEXT in str(error):
        return _without_log(defaults.bad_request(request, SuspiciousOperation()))
    try:
        page: str = render_to_string("500.html")
    except Exception:
        log.exception("the page for a failure cannot be rendered")
        page = f"{BARE}<p>Reference: {current_request.get()}</p></html>"
    return HttpResponse(page, status=500)


def _unavailable(request: HttpRequest, outage: Outage, error: BaseException) -> HttpResponse:
    log.error("pages get 503: %s (%s)", outage.value.rstrip("."), cause_of(error))
    if outage is Outage.OVERLOADED:
        writer.note_shed(SIGN_INS_SHED)
    # The failure may have come before the middleware that sets the language.
    with translation.override(translation.get_language_from_request(request)):
        page = render_outage(outage, current_request.get())
    response = HttpResponse(page, status=503)
    response["Retry-After"] = str(RETRY_AFTER)
    response["Cache-Control"] = "no-store"
    return _without_log(response)


def _without_log(response: HttpResponse) -> HttpResponse:
    """Keep Django from logging a traceback for the response."""
    response._has_been_logged = True  # type: ignore[attr-defined]  # the stubs lack this private attribute
    return response
