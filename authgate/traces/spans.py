"""Trace spans of pages, queries, look-ups and calls to providers. If traces are off, these do nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse

from authgate.logs.request_ids import current_request
from authgate.peer import is_trusted_peer, peer_address, raw_headers
from authgate.traces import configuration

if TYPE_CHECKING:
    from authgate.traces.export import Exporting

    Attributes = Mapping[str, str | int]

T = TypeVar("T")

exporting: Exporting | None = None
"""The object that creates and sends spans in this process; None if traces are off."""

TRACEPARENT = b"traceparent"

_STATEMENT = re.compile(r'\s*(\w+)(?:.*?\b(?:FROM|INTO|UPDATE)\s+"?(\w+))?', re.DOTALL | re.IGNORECASE)


def load() -> None:
    """Import OpenTelemetry's SDK if traces are on. Call it before forking, so workers share its memory."""
    if configuration.is_on():
        from authgate.traces import export  # noqa: F401


def start() -> None:
    """Start to send this process's spans, if traces are on. Call this only after the worker has forked."""
    global exporting
    if configuration.is_on():
        from authgate.traces.export import Exporting

        exporting = Exporting()
        connection_created.connect(_watch_queries, dispatch_uid="traces")


def end() -> None:
    """Send the waiting spans. Takes two seconds at most."""
    if exporting is not None:
        exporting.end()


@contextmanager
def span(name: str, attributes: Attributes) -> Iterator[dict[str, str | int]]:
    """Trace the `with` block. Attributes in the yielded dictionary are added at its end."""
    added: dict[str, str | int] = {}
    if exporting is None:
        yield added
        return
    with exporting.span(name, attributes, is_client=True) as current:
        try:
            yield added
        finally:
            current.set_attributes(added)


def look_up(load: Callable[[list[T]], Any], batch: list[T]) -> Any:
    """Call `load` for checks that waited for the database together, trace the call, and return its result."""
    if exporting is None:
        return load(batch)
    with exporting.span("look-up", {"ikd.checks": len(batch)}):
        return load(batch)


def page(request: HttpRequest, answer: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    """Return the response to a page, and trace it. If the proxy is trusted, its span is the parent."""
    if exporting is None:
        return answer(request)
    parent = parent_in(raw_headers(request)) if is_trusted_peer(peer_address(request)) else None
    attributes = {"http.request.method": _method(request), "ikd.request": current_request.get()}
    with exporting.span("page", attributes, parent=parent, is_server=True) as current:
        response = answer(request)
        match = request.resolver_match
        if match is not None:
            current.update_name(f"{_method(request)} /{match.route}")
            current.set_attribute("http.route", f"/{match.route}")
        current.set_attribute("http.response.status_code", response.status_code)
        if response.status_code >= 500:
            exporting.mark_failed(current, str(response.status_code))
        return response


def check(attributes: Attributes, parent: str | None, began: float) -> None:
    """Record the span of a check that ends now and began at `began` (Unix time)."""
    if exporting is not None:
        name = f"check {attributes['ikd.contract']}"
        exporting.ended_span(name, attributes, parent=parent, began=began, ended=time.time())


def parent_in(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Return the value of a request's `traceparent` (W3C Trace Context); None if it has none, or several."""
    found = [value for name, value in headers if name == TRACEPARENT]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _method(request: HttpRequest) -> str:
    """Return the method if it is a known one, because clients can send any text."""
    known = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
    return request.method if request.method in known else "_OTHER"


def _watch_queries(connection: Any, **_: object) -> None:
    if _trace_query not in connection.execute_wrappers:
        connection.execute_wrappers.append(_trace_query)


def _trace_query(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Run a query. Within a page or a look-up, trace it by its verb and table."""
    if exporting is None or not exporting.is_tracing():
        return execute(sql, params, many, context)
    match = _STATEMENT.match(str(sql)[:2_000])
    verb, table = (match[1].upper(), match[2] or "") if match else ("", "")
    attributes = {"db.system.name": context["connection"].vendor, "db.operation.name": verb}
    if table:
        attributes["db.collection.name"] = table
    with exporting.span(f"{verb} {table}".strip() or "query", attributes, is_client=True):
        return execute(sql, params, many, context)
