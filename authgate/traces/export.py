"""Creation of spans with OpenTelemetry's SDK. A separate thread sends them to the collector.

The queue is limited (OTEL_BSP_MAX_QUEUE_SIZE). If the collector is slow or down, further spans are dropped
and counted. Nothing waits for the collector.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from django.conf import settings
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from authgate import counters

END_WITHIN = 2_000
"""Milliseconds that a process waits for the collector before it ends."""

LONGEST_PARENT = 256
"""Characters of a `traceparent`, at most. Version 00 has 55; later versions may have more."""

Attributes = Mapping[str, str | int]

_propagator = TraceContextTextMapPropagator()


class CountingExporter(SpanExporter):
    """Sends batches with the real exporter, and counts the spans that arrived."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            is_sent = result is SpanExportResult.SUCCESS
            counters.spans.add("sent" if is_sent else "failed", amount=len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class CountingProcessor(BatchSpanProcessor):
    """Queues ended spans. If the queue is full, drops and counts them, where OpenTelemetry would log them."""

    def on_end(self, span: ReadableSpan) -> None:
        queue = self._batch_processor._queue
        if len(queue) == queue.maxlen:
            counters.spans.add("dropped")
            return
        super().on_end(span)

    def end(self) -> None:
        self._batch_processor.shutdown(END_WITHIN)


class Exporting:
    """The creation and sending of spans in this process."""

    def __init__(self) -> None:
        self._processor = CountingProcessor(CountingExporter(OTLPSpanExporter()))
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("ikd_portal", settings.IKD_VERSION)
        for result in ("sent", "failed", "dropped"):
            counters.spans.cell(result)

    def end(self) -> None:
        """Send the waiting spans. Takes END_WITHIN at most."""
        self._processor.end()

    def is_tracing(self) -> bool:
        """Return whether this thread's current span will be sent."""
        return get_current_span().is_recording()

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Attributes,
        *,
        parent: str | None = None,
        is_server: bool = False,
        is_client: bool = False,
    ) -> Iterator[Span]:
        """Trace the `with` block, under `parent` or under this thread's current span."""
        kind = SpanKind.SERVER if is_server else SpanKind.CLIENT if is_client else SpanKind.INTERNAL
        context = _context_of(parent) if is_server else None
        span = self._tracer.start_span(name, context, kind, attributes)
        # By default, OpenTelemetry records the error's message and the whole traceback.
        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except BaseException as error:
                self.mark_failed(span, type(error).__name__)
                raise

    def ended_span(
        self, name: str, attributes: Attributes, *, parent: str | None, began: float, ended: float
    ) -> None:
        """Record a server span between two moments (Unix time)."""
        began_at, ended_at = int(began * 1e9), int(max(began, ended) * 1e9)
        context = _context_of(parent)
        span = self._tracer.start_span(name, context, SpanKind.SERVER, attributes, start_time=began_at)
        span.end(ended_at)

    def mark_failed(self, span: Span, kind: str) -> None:
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR))


def _context_of(parent: str | None) -> Context:
    """Return the context of a `traceparent`, or of a new trace if it is missing or invalid."""
    if parent is None or len(parent) > LONGEST_PARENT:
        return Context()
    return _propagator.extract({"traceparent": parent}, Context())


def _resource() -> Resource:
    """Return the attributes of this process for all spans.

    OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    """
    named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    own: dict[str, str | int] = {SERVICE_VERSION: settings.IKD_VERSION, "process.pid": os.getpid()}
    if not named:
        own[SERVICE_NAME] = os.environ.get("OTEL_SERVICE_NAME", "ikd-portal")
    return Resource.create(own)
