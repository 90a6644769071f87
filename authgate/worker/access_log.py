"""The optional access log: a line for each page, and for a few checks of each second.

A page's line contains its route rather than its path, because paths of the portal can end in a secret. A
check's line contains no query, cookie or Authorization. The writer's thread writes the lines of checks, so
that no check waits for the log.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from authgate import counters
from authgate.check.contracts import Contract
from authgate.check.request import Facts
from authgate.check.responses import Answer
from authgate.decision.target import BadTarget
from authgate.worker.answer_classes import class_of
from authgate.worker.head_cache import Head

log = logging.getLogger("ikd.access")

Fields = dict[str, Any]


def note_page(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    """Count a page, and log it if IKD_ACCESS_LOG is set. Makes no query."""
    counters.page_seconds.observe(seconds, f"{response.status_code // 100}xx")
    if not settings.IKD_ACCESS_LOG:
        return
    match = request.resolver_match
    user = getattr(request, "_cached_user", None)  # request.user could ask the database
    fields = {
        "method": request.method,
        "route": f"/{match.route}" if match is not None else "",
        "status": response.status_code,
        "ms": round(seconds * 1000, 1),
        "client": request.META.get("REMOTE_ADDR", ""),
        "user": user.get_username() if user is not None and user.is_authenticated else "",
    }
    log.info("page", extra={"event": {name: value for name, value in fields.items() if value != ""}})


class CheckLines:
    """Lines of checks that wait for the writer's thread: at most IKD_ACCESS_LOG_CHECKS a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: list[Callable[[], Fields]] = []
        self.has_room = False
        """Whether this second has room for another line."""

    def add(self, fields: Callable[[], Fields]) -> None:
        with self._lock:
            if len(self._lines) < settings.IKD_ACCESS_LOG_CHECKS:
                self._lines.append(fields)
            self.has_room = len(self._lines) < settings.IKD_ACCESS_LOG_CHECKS

    def flush(self) -> None:
        """Write the waiting lines. The writer's thread calls this once a second."""
        with self._lock:
            lines, self._lines = self._lines, []
            self.has_room = settings.IKD_ACCESS_LOG_CHECKS > 0
        for fields in lines:
            log.info("check", extra={"event": {name: value for name, value in fields().items() if value}})


check_lines = CheckLines()


def note_check(contract: Contract, facts: Facts, found: Answer, began: float, ended: float) -> None:
    """Queue the line of a check, if this second has room for it. Times are Unix time."""
    if check_lines.has_room:
        check_lines.add(lambda: _target_fields(contract, facts) | _fields(contract.name, found, began, ended))


def note_known_check(head: Head, uri: bytes, found: Answer, began: float, ended: float) -> None:
    """Queue the line of a check that was answered from a known head, if this second has room for it."""
    if check_lines.has_room:
        path = uri.partition(b"?")[0].decode("latin-1")
        where = {"origin": head.origin, "method": head.method or "", "path": path, "client": head.client}
        check_lines.add(lambda: where | _fields(head.contract.name, found, began, ended))


def _target_fields(contract: Contract, facts: Facts) -> Fields:
    try:
        target = contract.read(facts, contract.query(facts.query), settings.IKD_FORWARDED_HOPS)
    except BadTarget:
        return {}
    path = (target.uri or "").partition("?")[0]
    return {"origin": target.origin, "method": target.method or "", "path": path, "client": target.client}


def _fields(contract: str, found: Answer, began: float, ended: float) -> Fields:
    answer, reason = class_of(found)
    return {
        "at": datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
        "contract": contract,
        "status": found.status,
        "answer": answer,
        "reason": reason,
        "sign_in": found.sign_in_id,
        "ms": round((ended - began) * 1000, 3),
    }
