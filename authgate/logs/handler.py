"""The handler that writes log lines to standard error: each error once, then the number of repetitions."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass, field

from authgate.logs.lines import cause_of, message_of
from authgate.logs.request_ids import current_request

COUNT_EVERY = 5.0
"""Seconds between two lines that count an error's repetitions."""

REMEMBERED_FOR = 60.0
"""Seconds for which an error is remembered. Later, its next occurrence is written in full again."""

ERRORS_AT_ONCE, IDS_PER_LINE = 200, 200
NEVER_FOLDED = ("gunicorn",)

Key = tuple[object, ...]


@dataclass
class Fold:
    """A repeated error: its text, and its number of repetitions since the last written line."""

    seen_at: float
    count: int = 0
    since: float = 0.0
    message: str = ""
    cause: str = ""
    level: int = logging.ERROR
    logger: str = ""
    requests: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)


_handlers: weakref.WeakSet[StandardError] = weakref.WeakSet()


class StandardError(logging.Handler):
    """Writes lines to standard error. An error is written once; its repetitions are counted.

    Two errors are the same if the same place in the code logged or raised them. Texts from clients do not
    count. Events, which have the attribute `event`, are always written.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folds: dict[Key, Fold] = {}
        self._timer: threading.Timer | None = None
        _handlers.add(self)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._is_repetition(record):
                self._write(self.format(record))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Write that a line is missing. Python's own method would print the arguments."""
        with suppress(Exception):
            said = {"level": "error", "logger": "ikd.logs", "message": "a log line could not be written"}
            self._write(json.dumps(said | {"from": f"{record.name} {record.lineno}"}))

    def flush(self) -> None:
        """Write the counts so far."""
        self.acquire()
        try:
            for fold in list(self._folds.values()):
                if fold.count:
                    self._write_count(fold)
        finally:
            self.release()

    def close(self) -> None:
        with suppress(Exception):
            self.flush()
        super().close()

    def forget(self) -> None:
        """Reset all counts in a forked process. The parent continues to count its own errors."""
        self._folds.clear()
        self._timer = None

    def _write(self, line: str) -> None:
        stream = sys.stderr
        if stream is not None:
            with suppress(OSError, ValueError):  # a full disk or a closed pipe must not stop the caller
                stream.write(line + "\n")
                stream.flush()

    def _is_repetition(self, record: logging.LogRecord) -> bool:
        is_error = record.levelno >= logging.WARNING or bool(record.exc_info)
        if not is_error or hasattr(record, "event") or record.name.startswith(NEVER_FOLDED):
            return False
        now, key = time.monotonic(), _key_of(record)
        fold = self._folds.get(key)
        if fold is None and len(self._folds) >= ERRORS_AT_ONCE:
            self._forget_old(now)
            if len(self._folds) >= ERRORS_AT_ONCE:
                key = ("many errors", record.levelno)
                fold = self._folds.get(key)
        if fold is None or (not fold.count and now - fold.seen_at > REMEMBERED_FOR):
            self._folds[key] = Fold(now)
            return False
        self._count(fold, record, now)
        return True

    def _count(self, fold: Fold, record: logging.LogRecord, now: float) -> None:
        fold.since = fold.since if fold.count else now
        fold.seen_at, fold.count = now, fold.count + 1
        fold.level, fold.logger, fold.message = record.levelno, record.name, message_of(record)
        error = record.exc_info[1] if record.exc_info else None
        fold.cause = cause_of(error) if error is not None else ""
        for ids, each in (
            (fold.requests, current_request.get()),
            (fold.decisions, getattr(record, "decision", "")),
        ):
            if each and len(ids) < IDS_PER_LINE and each not in ids[-1:]:
                ids.append(each)
        self._ensure_timer()

    def _ensure_timer(self) -> None:
        if self._timer is not None:
            return
        self._timer = threading.Timer(COUNT_EVERY, self._count_is_due)
        self._timer.daemon = True
        try:
            self._timer.start()
        except RuntimeError:  # Python is about to exit, and `close` writes the count
            self._timer = None

    def _count_is_due(self) -> None:
        self.acquire()
        try:
            self._timer = None
            self.flush()
        finally:
            self.release()

    def _write_count(self, fold: Fold) -> None:
        said = {"repeated": fold.count, "seconds": round(time.monotonic() - fold.since, 1)}
        ids = {"requests": fold.requests, "decisions": fold.decisions}
        record = logging.LogRecord(fold.logger, fold.level, "", 0, fold.message, None, None)
        repetitions = {**said, **{name: each for name, each in ids.items() if each}}
        record.__dict__["repetitions"] = repetitions | ({"exception": fold.cause} if fold.cause else {})
        fold.count, fold.requests, fold.decisions = 0, [], []
        token = current_request.set("")
        try:
            self._write(self.format(record))
        finally:
            current_request.reset(token)

    def _forget_old(self, now: float) -> None:
        old = [
            key for key, fold in self._folds.items() if not fold.count and now - fold.seen_at > COUNT_EVERY
        ]
        for key in old:
            del self._folds[key]


def _key_of(record: logging.LogRecord) -> Key:
    """Return the parts of an error that are the same in all repetitions and that no client can choose."""
    trace = record.exc_info[2] if record.exc_info else None
    frames = []
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    kind = record.exc_info[0] if record.exc_info else None
    template = record.msg if record.args else ""  # without arguments, the text itself may come from a client
    return (record.name, record.levelno, record.pathname, record.lineno, template, kind, tuple(frames[-30:]))


def _forget_in_child() -> None:
    for handler in list(_handlers):
        handler.forget()


os.register_at_fork(after_in_child=_forget_in_child)


def flush() -> None:
    """Write all remaining counts. For processes that end without Python's normal exit."""
    for handler in list(_handlers):
        handler.flush()
