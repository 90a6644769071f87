"""A fair queue before a pool of threads.

Requests wait here without a thread, in order of arrival, in lines: one for each provider or client network. A
line gets at most as many threads as it leaves free for others, so slow requests in one line cannot take all
threads.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

WAIT = 30.0
"""Seconds in the queue after which a request is refused."""

LONGEST_QUEUE = 2_000
"""Requests that may wait in this process. Further ones are refused at once."""

SLOW_AFTER, MAX_SLOW_IN_A_ROW = 5.0, 8
"""A line hangs if its last `MAX_SLOW_IN_A_ROW` requests all took longer than `SLOW_AFTER` seconds."""

_BY_SLUG = re.compile(r"/upstreams/([^/]+)/(?:start|callback)|/accounts/providers/link/([^/]+)/")
_OTHER = frozenset(("/accounts/providers/confirm/", "/signed-out/provider"))
_CAS = "/auth/ssologin"
_CAS_SLUG = re.compile(rb"(?:^|&)upstream=([A-Za-z0-9_-]+)")


def line_of(path: str, query: bytes) -> str | None:
    """Return the line of a request that waits for a provider, or None for every other request."""
    if path in _OTHER:
        return path
    if path == _CAS and b"ticket=" in query:
        named = _CAS_SLUG.search(query)
        return named[1].decode("ascii") if named else _CAS
    match = _BY_SLUG.fullmatch(path)
    return (match[1] or match[2]) if match else None


@dataclass(slots=True)
class _Line:
    running: int = 0
    waiting: deque[asyncio.Future[bool]] = field(default_factory=deque)
    slow_in_a_row: int = 0


class ThreadQueue:
    """Runs up to `threads` requests at once. It belongs to one event loop."""

    def __init__(self, threads: int, *, wait: float = WAIT, longest_line: int = LONGEST_QUEUE) -> None:
        self._threads, self._wait, self._longest_line = threads, wait, longest_line
        self._lines: dict[str, _Line] = {}
        self._running = self._waiting = 0

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait in this process."""
        return self._waiting

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[bool]:
        """Wait for a thread and yield whether the request may use one. False: refuse the request."""
        line = self._lines.setdefault(name, _Line())
        if not await self._admitted(line):
            self._forget(name)
            yield False
            return
        began = time.monotonic()
        try:
            yield True
        finally:
            line.running -= 1
            self._running -= 1
            line.slow_in_a_row = line.slow_in_a_row + 1 if time.monotonic() - began > SLOW_AFTER else 0
            self._wake()
            self._forget(name)

    async def _admitted(self, line: _Line) -> bool:
        if not line.waiting and self._has_room(line):
            self._begin(line)
            return True
        is_full = self._waiting >= LONGEST_QUEUE or len(line.waiting) >= self._longest_line
        if is_full or self._hangs(line):
            return False
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        self._waiting += 1
        try:
            await asyncio.wait((turn,), timeout=self._wait)
        except asyncio.CancelledError:
            if turn.done() and turn.result():
                line.running -= 1
                self._running -= 1
                self._wake()
            raise
        finally:
            self._waiting -= 1
            if not turn.done():
                line.waiting.remove(turn)
        return turn.done() and turn.result()

    def _has_room(self, line: _Line) -> bool:
        return line.running < self._threads - self._running

    def _hangs(self, line: _Line) -> bool:
        return line.slow_in_a_row >= MAX_SLOW_IN_A_ROW

    def _begin(self, line: _Line) -> None:
        line.running += 1
        self._running += 1

    def _wake(self) -> None:
        """Admit requests while there is room, one from each line in turn. Refuse all in lines that hang."""
        has_admitted = True
        while has_admitted:
            has_admitted = False
            for line in list(self._lines.values()):
                while line.waiting and self._hangs(line):
                    line.waiting.popleft().set_result(False)
                if line.waiting and self._has_room(line):
                    self._begin(line)
                    line.waiting.popleft().set_result(True)
                    has_admitted = True

    def _forget(self, name: str) -> None:
        line = self._lines.get(name)
        if line is not None and not (line.running or line.waiting or line.slow_in_a_row):
            del self._lines[name]
