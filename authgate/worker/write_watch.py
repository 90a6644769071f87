"""Waiting for a write to the database, so that background threads of an idle portal send no queries.

On SQLite, the times of its files show a write; on PostgreSQL, NOTIFY does.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from django.db import connection

log = logging.getLogger("ikd.start")

CHANNEL = "ikd_written"

POLL_EVERY = 0.5
"""Seconds between two polls if nothing announces a write."""

STAT_EVERY = 0.25
"""Seconds between two reads of the times of SQLite's files."""

SETTLED_AFTER = 2.5
"""Seconds after which a file's time is reliable. File systems round it, to two seconds at worst, so a second
write within that time might leave the same time."""

TEST_EVERY = 60.0
"""Seconds between two tests whether notices still arrive."""

TEST_WITHIN = 2.0
RETRY_EVERY = 5.0


class WriteWatch(Protocol):
    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for a write. Return whether there may have been one since the last call."""


def watch(missing: Callable[[], object]) -> WriteWatch:
    """Return an object that waits for writes. On PostgreSQL, triggers send the notices.

    `missing` returns the triggers that the database lacks.
    """
    return Notices(missing) if connection.vendor == "postgresql" else watch_files()


def watch_files() -> WriteWatch:
    """Return an object that waits for writes without notices. On PostgreSQL it only sleeps."""
    return Pause() if connection.vendor == "postgresql" else Files(Path(connection.settings_dict["NAME"]))


class Pause:
    def wait(self, seconds: float) -> bool:
        time.sleep(seconds)
        return True


class Files:
    """Reads the times of SQLite's files, which needs no query."""

    def __init__(self, path: Path) -> None:
        self._paths = [f"{path}{end}" for end in ("", "-wal", "-journal")]
        self._seen: object = None
        self._is_settled = False

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        # The first pause is longer. While other processes write all the time, it is the only one.
        pause = POLL_EVERY
        while True:
            time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
            pause = STAT_EVERY
            state = self._state()
            may_be_written = not self._is_settled or state != self._seen
            if may_be_written or time.monotonic() >= deadline:
                self._seen, self._is_settled = state, _is_settled(state)
                return may_be_written

    def _state(self) -> list[tuple[int, ...]]:
        """Return sizes and times of the files. Ignore an empty log, which readers create and remove."""
        found: list[tuple[int, ...]] = []
        for each in self._paths:
            with suppress(OSError):
                of_file = os.stat(each)  # noqa: PTH116, an idle portal does little else
                if of_file.st_size:
                    found.append((of_file.st_mtime_ns, of_file.st_size, of_file.st_ino))
        return found


def _is_settled(state: list[tuple[int, ...]]) -> bool:
    """Return whether any later write will change the state.

    If a clock was set back, a file's time is in the future, and a write may leave it unchanged.
    """
    return bool(state) and max(state)[0] < time.time_ns() - SETTLED_AFTER * 1e9


class Notices:
    """Listens for PostgreSQL's notices on a separate connection.

    Notices can be lost without an error. PgBouncer in transaction mode accepts LISTEN and forgets it. The
    connection may also lead to a server that is no longer in use. So each minute this thread sends itself a
    notice over its ordinary connection. While none arrives, `wait` returns twice a second.
    """

    def __init__(self, missing: Callable[[], object]) -> None:
        self._missing = missing
        self._listening: Any = None
        self._test_at = 0.0
        self._arrives = True

    def wait(self, seconds: float) -> bool:
        try:
            if time.monotonic() >= self._test_at:
                self._test()
                return True  # writes before LISTEN sent no notice to this thread
            if self._listening is not None:
                return bool(self._heard(min(seconds, self._test_at - time.monotonic())))
        except Exception as error:
            self._stop_listening(f"{error}")
            self._test_at = time.monotonic() + RETRY_EVERY
        time.sleep(min(seconds, POLL_EVERY))
        return True

    def _test(self) -> None:
        """Listen, send a notice over the ordinary connection, and wait until it arrives."""
        self._test_at = time.monotonic() + TEST_EVERY
        if lacking := self._missing():
            self._stop_listening(f"triggers are missing, run migrate: {lacking}")
            return
        if self._listening is None:
            own = connection.copy()
            own.connect()
            self._listening = own.connection
            self._listening.execute(f"LISTEN {CHANNEL}")
        token = secrets.token_hex(8)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, token])
        deadline = time.monotonic() + TEST_WITHIN
        while token not in self._heard(deadline - time.monotonic()):
            if time.monotonic() >= deadline:
                self._stop_listening("a notice did not arrive")
                return
        if not self._arrives:
            log.warning("notices of PostgreSQL arrive again")
        self._arrives = True

    def _heard(self, seconds: float) -> list[str]:
        """Return the texts of the notices that arrived. Wait up to `seconds` for the first."""
        poll = select.poll()
        poll.register(self._listening.fileno(), select.POLLIN)
        poll.poll(max(0.0, seconds) * 1000)
        found = []
        self._listening.pgconn.consume_input()
        while (notice := self._listening.pgconn.notifies()) is not None:
            found.append(os.fsdecode(notice.extra))
        return found

    def _stop_listening(self, why: str) -> None:
        if self._listening is not None:
            with suppress(Exception):
                self._listening.close()
        self._listening = None
        if self._arrives:
            log.warning("PostgreSQL sends no notices, so the portal asks twice a second: %s", why)
        self._arrives = False
