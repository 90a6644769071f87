"""The server's protocol with a trace span for checks. A worker uses it only if traces are enabled."""

from __future__ import annotations

import re
import time

from django.conf import settings

from authgate.check.request import Facts
from authgate.check.responses import Answer
from authgate.decision.target import BadTarget
from authgate.endpoints.protocol import Front, Waiting
from authgate.traces import spans
from authgate.worker import feed
from authgate.worker.answer_classes import class_of
from authgate.worker.check_counts import PROTOCOL, WAITED
from authgate.worker.head_parts import Parts

_TRACEPARENT = re.compile(rb"\r\ntraceparent:[ \t]*([!-~]{1,256})[ \t]*\r\n", re.IGNORECASE)


class _Second:
    """The number of checks that this process may still trace in the second that began at `began`."""

    began = 0.0
    left = 0


def _has_room() -> bool:
    """Return whether this second has room for another traced check: at most IKD_TRACE_CHECKS."""
    now = time.monotonic()
    if now - _Second.began >= 1:
        _Second.began, _Second.left = now, settings.IKD_TRACE_CHECKS
    _Second.left -= 1
    return _Second.left >= 0


class TracedFront(Front):
    """Records a span for a sample of the checks that this protocol answers, after sending each answer."""

    received = b""
    """The data received last. A known head is not parsed, so its `traceparent` is found only here."""

    found: Answer | None = None

    def data_received(self, data: bytes) -> None:
        self.received = data
        super().data_received(data)

    def _octets(self, found: Answer, *, is_head: bool = False) -> bytes:
        self.found = found
        return super()._octets(found, is_head=is_head)

    def _answer_known_head(self, worker: feed.Feed, parts: Parts, now: float) -> bool:
        head = worker.heads.get(parts.known_by)
        is_answered = super()._answer_known_head(worker, parts, now)
        if is_answered and head is not None and self.found is not None and _has_room():
            match = _TRACEPARENT.search(self.received)
            parent = match[1].decode("ascii") if match else None
            spans.check(_attributes(head.contract.name, head.origin, self.found, PROTOCOL), parent, now)
        return is_answered

    def _write(
        self, worker: feed.Feed, facts: Facts, found: Answer, octets: bytes, waiting: Waiting | None = None
    ) -> None:
        super()._write(worker, facts, found, octets, waiting)
        if not _has_room():
            return
        contract = worker.memory.settings.checks[facts.path]
        try:
            read = contract.read(facts, contract.query(facts.query), worker.memory.settings.forwarded_hops)
            origin = read.origin
        except BadTarget:
            origin = ""
        way, began = (PROTOCOL, self.began) if waiting is None else (WAITED, waiting.began)
        value = facts.headers.values.get(spans.TRACEPARENT) if self.is_trusted else None
        parent = value.decode("latin-1") if value is not None else None
        spans.check(_attributes(contract.name, origin, found, way), parent, began)


def _attributes(contract: str, origin: str, found: Answer, way: str) -> dict[str, str | int]:
    answer, reason = class_of(found)
    return {
        "ikd.contract": contract,
        "ikd.origin": origin,
        "ikd.answer": answer,
        "ikd.reason": reason,
        "ikd.way": way,
        "http.response.status_code": found.status,
    }
