from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from authgate.decision.target import BadTarget, origin_from
from authgate.endpoints.check_view import answer_gate_request
from authgate.logs.request_ids import begin_request
from authgate.pages.outage import Overloaded
from authgate.peer import is_overloaded
from authgate.sign_ins import forget_revocation, revokes_access
from authgate.traces import spans
from authgate.worker import access_log, metrics, readiness, readiness_report, stale_connections

WORKERS_KNOW_AFTER = 0.2
"""Seconds until every worker has read a revocation. A user who ends a session must find it ended at the
next click."""


class GateMiddleware:
    """Answers checks and endpoints before any other middleware, whatever Host the request has.

    All other pages exist only on the portal's own host. So no link, cookie or token is created for another
    host name.
    """

    workers_remember = False
    """Whether other threads and processes answer checks from memory. The server's worker sets this."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        begin_request()
        forget_revocation()
        response = spans.page(request, self._answer)
        if revokes_access() and self.workers_remember:
            time.sleep(WORKERS_KNOW_AFTER)
        return response

    def _answer(self, request: HttpRequest) -> HttpResponse:
        if (answered := answer_gate_request(request)) is not None:
            return answered
        if request.path_info == "/healthz":
            return _health(request)
        if request.path_info == "/readyz":
            return _readiness(request)
        if request.path_info == "/metrics":
            return metrics.answer_metrics(request)
        if not is_portal_host(request.META.get("HTTP_HOST", "")):
            return _plain(404, f"This name is not the portal's. The portal is {settings.IKD_PORTAL_URL}")
        stale_connections.close_stale()
        if is_overloaded(request):
            raise Overloaded
        began = time.monotonic()
        response = self.get_response(request)
        access_log.note_page(request, response, time.monotonic() - began)
        return response


def is_portal_host(host: str) -> bool:
    """Return whether a Host header names the portal."""
    scheme = settings.IKD_PORTAL_ORIGIN.partition("://")[0]
    try:
        return origin_from(scheme, host) == settings.IKD_PORTAL_ORIGIN
    except BadTarget:
        return False


def _health(request: HttpRequest) -> HttpResponse:
    """Return 200 while this process runs. Only operators see the version, which reveals known flaws."""
    return _plain(200, f"ok {settings.IKD_VERSION}" if metrics.is_operator(request) else "ok")


def _readiness(request: HttpRequest) -> HttpResponse:
    """Return 200 if this process can serve, otherwise 503. Operators also see the state of each part."""
    trouble = readiness.trouble()
    if metrics.is_operator(request):
        return _plain(503 if trouble else 200, f"{trouble or 'ok'}\n{readiness_report.report()}".rstrip())
    return _plain(503, trouble) if trouble else _plain(200, "ok")


def _plain(status: int, text: str) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
