"""The writer's thread, which writes refusals, last-seen times and counts of checks in batches."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import close_old_connections, transaction
from django.db.models import F
from django.utils import timezone

from authgate import sign_ins
from authgate.audit import record
from authgate.check.responses import Answer, Refusal
from authgate.models import AuditEvent, ConfigurationEvent
from authgate.people import people
from authgate.sampling import sample
from authgate.worker import access_log, stale_connections
from authgate.worker.trials import write_trials
from authgate.worker.usage import tallies, usage

log = logging.getLogger("ikd.refusals")

REFUSALS_A_FLUSH = 50
COUNTERS_LIMIT = 1_000
SEEN_EVERY = 60.0
"""Seconds, at least, between two writes of a sign-in's last-seen time."""

STEP = 10

SHED_EVERY = 600.0
"""Seconds between two events that count the requests shed because of overload."""

CHECKS_SHED = "too many checks waited"
SIGN_INS_SHED = "too many people signed in"
CONNECTIONS_SHED = "too many connections were open"

NOT_KEPT = "only counted"
"""The reason of an event that represents many discarded events. Its details contain their number."""


class Uses:
    """The times at which rows were last used, by key. Each row is written at most once a minute.

    The first use is written at once. After a minute, the last use of that minute is written. Otherwise an
    idle session could end early, if its last use came soon after a written one.
    """

    def __init__(self, touch: Callable[[list[int], datetime], object]) -> None:
        self._touch = touch
        self._lock = threading.Lock()
        self._used: dict[int, float] = {}
        self._written: OrderedDict[int, float] = OrderedDict()
        self._due: dict[int, float] = {}

    def note(self, key: int, now: float) -> bool:
        """Note that a row is used now (Unix time). Return whether that must be written soon."""
        self._used[key] = now
        if key in self._written:
            return False
        with self._lock:
            self._written[key] = now
            self._due[key] = self._used[key] = now
        return True

    def write(self, now: float) -> None:
        """Write the due uses. If the database raises an error, they stay due."""
        with self._lock:
            self._collect(now)
            due, self._due = self._due, {}
        try:
            self._write(due)
        except Exception:
            with self._lock:
                self._due = due | self._due
            raise

    def end(self) -> None:
        """Make every use due, even before its minute is over."""
        with self._lock:
            self._due.update({key: at for key, at in self._used.items() if at > self._written.get(key, 0.0)})

    def clear(self) -> None:
        with self._lock:
            self._used.clear()
            self._written.clear()
            self._due.clear()

    def _collect(self, now: float) -> None:
        """Make uses due if their row was last written a minute ago. Forget rows without a new use."""
        while self._written:
            key, written_at = next(iter(self._written.items()))
            if 0 <= now - written_at < SEEN_EVERY:
                return
            # Remove from `_written` before reading `_used`: so a use that is noted meanwhile is never lost.
            del self._written[key]
            used_at = self._used.get(key, 0.0)
            if used_at > written_at:
                self._due[key] = used_at
                self._written[key] = now
            else:
                self._used.pop(key, None)

    def _write(self, used: dict[int, float]) -> None:
        """Write the times of use in steps of ten seconds, so that a few statements serve many rows.

        Times are rounded down, and `touch` skips rows with nearly the same time. Together this is less than
        the minute by which idle sessions end late, so none ends early.
        """
        by_step: dict[int, list[int]] = {}
        for key, at in used.items():
            by_step.setdefault(int(at) // STEP * STEP, []).append(key)
        for step, keys in by_step.items():
            for start in range(0, len(keys), 1000):
                self._touch(keys[start : start + 1000], datetime.fromtimestamp(step, UTC))


class Writer:
    """Collects in memory and writes once a second. Its errors and delays never affect a check."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals: list[Refusal] = []
        self._lines: list[tuple[float, Refusal]] = []
        self._dropped = self._unlogged = 0
        self._counters: Counter[tuple[str, str, str]] = Counter()
        self._sign_ins, self._tokens = (
            Uses(sign_ins.touch),
            Uses(lambda tokens, at: people().touch_tokens(tokens, at)),
        )
        self._shed: Counter[str] = Counter()
        self._shed_reported_at = -SHED_EVERY
        self._thread: threading.Thread | None = None
        self.also: list[Callable[[], None]] = []
        """Functions of the apps above the gate, which write in the same thread."""

    def note_shed(self, reason: str, count: int = 1) -> None:
        """Count requests that were shed because of overload."""
        with self._lock:
            self._shed[reason] += count
        self._ensure_thread()

    def note_answer(self, found: Answer, now: float) -> None:
        """Count an answer, and queue its refusal or use. `now` is Unix time."""
        # In CPython, no other thread runs between the parts of this addition.
        found.tally.count += 1
        if found.sign_in_id is not None:
            if self._sign_ins.note(found.sign_in_id, now):
                self._ensure_thread()
        elif found.token_id is not None:
            self.note_token_use(found.token_id, now)
        elif found.refusal is not None:
            self.note_refusal(found.refusal)
        elif self._thread is None:
            self._ensure_thread()

    def note_refusal(self, refusal: Refusal) -> None:
        """Queue a refusal, or count it as a configuration event if a proxy's configuration caused it."""
        with self._lock:
            if len(self._lines) < REFUSALS_A_FLUSH:
                self._lines.append((time.time(), refusal))
            else:
                self._unlogged += 1
        if refusal.is_configuration:
            self.note_configuration(refusal.contract, refusal.origin, refusal.reason)
            return
        self._ensure_thread()
        if not sample.keeps("refused", refusal.application, refusal.username):
            return
        with self._lock:
            if len(self._refusals) < REFUSALS_A_FLUSH:
                self._refusals.append(refusal)
            else:
                self._dropped += 1

    def note_configuration(self, contract: str, origin: str, reason: str) -> None:
        """Count a mistake in a proxy's configuration, whether or not it made a check fail."""
        key = (contract, origin, reason)
        with self._lock:
            if key in self._counters or len(self._counters) < COUNTERS_LIMIT:
                self._counters[key] += 1
        self._ensure_thread()

    def note_use(self, sign_in_id: int, now: float) -> None:
        """Note that a sign-in is used now (Unix time)."""
        if self._sign_ins.note(sign_in_id, now):
            self._ensure_thread()

    def note_token_use(self, token_id: int, now: float) -> None:
        """Note that an API token is used now (Unix time)."""
        if self._tokens.note(token_id, now):
            self._ensure_thread()

    def clear(self) -> None:
        """Forget everything that is not written yet."""
        with self._lock:
            self._refusals.clear()
            self._lines.clear()
            self._counters.clear()
        self._sign_ins.clear()
        self._tokens.clear()
        usage.clear()
        sample.clear()

    def flush(self) -> None:
        """Write the queue. Raises the database's errors. Then queued refusals are lost, but uses are not."""
        self._log_refusals()
        access_log.check_lines.flush()
        now = time.time()
        self._sign_ins.write(now)
        self._tokens.write(now)
        with self._lock:
            refusals, self._refusals = self._refusals, []
            counters, self._counters = self._counters, Counter()
            dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warning("refusals not kept", extra={"event": {"count": dropped}})
        if refusals:
            AuditEvent.objects.bulk_create(map(_event, refusals))
        if counters:
            _count(counters)
        self._write_summary(sample.due())
        self._write_shed()
        if usage.is_due():
            self._write_usage()
        for each in self.also:
            each()

    def _write_usage(self) -> None:
        usage.write()
        write_trials(tallies)

    def _write_shed(self, *, at_once: bool = False) -> None:
        """Write an event that counts the shed requests: at once, then every SHED_EVERY seconds."""
        now = time.monotonic()
        with self._lock:
            if not self._shed or (now - self._shed_reported_at < SHED_EVERY and not at_once):
                return
            shed, self._shed, self._shed_reported_at = self._shed, Counter(), now
        for reason, count in shed.items():
            record("overloaded", reason=reason, details={"count": count})

    def _write_summary(self, counts: dict[tuple[str, str], int]) -> None:
        """Write an event with the number of discarded events of unknown clients."""
        for (kind, application), count in counts.items():
            AuditEvent.objects.create(
                at=timezone.now(),
                kind=kind,
                application=application,
                reason=NOT_KEPT,
                details={"count": count},
            )

    def _log_refusals(self) -> None:
        """Log refusals in this thread, because checks must not wait for a slow reader of the log."""
        with self._lock:
            lines, self._lines = self._lines, []
            unlogged, self._unlogged = self._unlogged, 0
        for at, refusal in lines:
            log.info("misconfigured" if refusal.is_configuration else "refused", extra=_line(at, refusal))
        if unlogged:
            log.info("more refusals", extra={"event": {"count": unlogged}})

    def end(self) -> None:
        """Write everything, including uses that are not due, before this process ends gracefully."""
        try:
            self._sign_ins.end()
            self._tokens.end()
            self.flush()
            self._write_usage()
            self._write_summary(sample.due(at_once=True))
            self._write_shed(at_once=True)
        except Exception:
            log.exception("refusals or last-seen times could not be written at the end")

    def start(self) -> None:
        """Start to write in the background. Call this only after the worker has forked."""
        self._ensure_thread()

    def _ensure_thread(self) -> None:
        if self._thread is None and settings.IKD_WRITE_BEHIND:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="ikd-writer", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(1)
            try:
                close_old_connections()
                stale_connections.close_stale()
                self.flush()
            except Exception:
                log.exception("refusals or last-seen times could not be written")


def _count(counters: Counter[tuple[str, str, str]]) -> None:
    now = timezone.now()
    with transaction.atomic():
        for (contract, origin, reason), times in counters.items():
            known = ConfigurationEvent.objects.filter(contract=contract, origin=origin, reason=reason)
            if known.update(count=F("count") + times, last_at=now):
                continue
            if ConfigurationEvent.objects.count() >= COUNTERS_LIMIT:
                # Clients can invent names, but each of those comes once. A proxy's mistake comes repeatedly.
                ConfigurationEvent.objects.order_by("count", "last_at")[:1].get().delete()
            ConfigurationEvent.objects.create(
                contract=contract, origin=origin, reason=reason, count=times, first_at=now, last_at=now
            )


def _event(refusal: Refusal) -> AuditEvent:
    return AuditEvent(
        at=timezone.now(),
        kind="refused",
        actor=refusal.username,
        application=refusal.application,
        decision_id=refusal.decision_id,
        reason=refusal.reason,
        address=refusal.client or None,
        details={
            "contract": refusal.contract,
            "method": refusal.method,
            "url": (refusal.origin + refusal.path)[:500],
            "failed": [list(rule) for rule in refusal.failed[:20]],
        },
    )


def _line(at: float, refusal: Refusal) -> dict[str, Any]:
    fields = ("contract", "reason", "origin", "method", "path", "client", "username", "application")
    shown = {name: str(getattr(refusal, name)) for name in fields if getattr(refusal, name)}
    event = {"at": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"), **shown}
    return {"decision": refusal.decision_id, "event": event}


writer = Writer()
