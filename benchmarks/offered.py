"""An offered load: requests are sent at a fixed rate, even if the server cannot keep up.

A closed loop such as wrk's waits for answers, which hides how long users wait. Here the wait is measured from
the time when a request was due.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

GIVE_UP = 10.0
"""Seconds after which a request counts as unanswered, as with proxies."""


@dataclass(slots=True)
class Outcome:
    """The results of one kind of request. Times are seconds. `answers` are (due, wait, status)."""

    answers: list[tuple[float, float, int]] = field(default_factory=list)
    unanswered: int = 0

    def statuses(self) -> dict[int, int]:
        return dict(Counter(status for _, _, status in self.answers))

    def wait_ms(self, share: float, status: int | None = None) -> float:
        """Return the wait in ms that this share of the answers did not exceed."""
        waits = sorted(wait for _, wait, found in self.answers if status in (None, found))
        return round(waits[min(len(waits) - 1, int(len(waits) * share))] * 1000, 1) if waits else float("nan")

    def within(self, seconds: float, status: int) -> int:
        """Return how many answers with this status came within `seconds` of the first request."""
        until = min((due for due, _, _ in self.answers), default=0.0) + seconds
        return sum(due + wait <= until and found == status for due, wait, found in self.answers)

    def failed(self, wanted: frozenset[int], since: float = 0.0) -> int:
        """Return how many requests that were due after `since` did not get a wanted status."""
        wrong = sum(due >= since and status not in wanted for due, _, status in self.answers)
        return wrong + self.unanswered


class _Client(asyncio.Protocol):
    """A connection that sends one request at a time."""

    def __init__(self, pool: Offered) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.due: float | None = None
        self.octets = b""
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator or self.due is None:
            return
        _, _, length = head.lower().partition(b"content-length: ")
        if len(body) < int(length.partition(b"\r\n")[0] or b"0"):
            return
        self.pool.answered(self.due, int(head[9:12]))
        self.due, self.buffer = None, b""
        self.pool.is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.is_gone(self)

    def send(self, due: float, octets: bytes) -> None:
        assert self.transport is not None
        self.due, self.octets = due, octets
        self.transport.write(octets)


class Offered:
    """Requests of one kind, sent at a fixed rate over as many connections as needed, up to a limit."""

    def __init__(
        self, address: tuple[str, int], make: Callable[[int], bytes], rate: float, connections: int = 200
    ) -> None:
        self.outcome = Outcome()
        self._address, self._make, self._rate = address, make, rate
        self._limit, self._open = connections, 0
        self._free: deque[_Client] = deque()
        self._due: deque[tuple[float, bytes]] = deque()

    async def run(self, seconds: float) -> Outcome:
        """Send for some seconds, then wait for the last answers."""
        loop, began, sent = asyncio.get_running_loop(), time.monotonic(), 0
        while (now := time.monotonic()) - began < seconds:
            while sent < (now - began) * self._rate:
                self._due.append((began + sent / self._rate, self._make(sent)))
                sent += 1
            self._send(loop)
            await asyncio.sleep(0.002)
        deadline = time.monotonic() + GIVE_UP
        while len(self.outcome.answers) < sent and time.monotonic() < deadline:
            self._send(loop)
            await asyncio.sleep(0.01)
        self.outcome.unanswered = sent - len(self.outcome.answers)
        for client in self._free:
            if client.transport is not None:
                client.transport.abort()
        return self.outcome

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._due and self._free:
            client = self._free.popleft()
            if client.transport is not None and not client.transport.is_closing():
                client.send(*self._due.popleft())
        for _ in range(min(len(self._due), self._limit - self._open, 20)):
            self._open += 1
            loop.create_task(self._connect(loop))

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            _, client = await loop.create_connection(lambda: _Client(self), *self._address)
        except OSError:
            self._open -= 1
            return
        self.is_free(client)

    def answered(self, due: float, status: int) -> None:
        self.outcome.answers.append((due, time.monotonic() - due, status))

    def is_free(self, client: _Client) -> None:
        if client.transport is None or client.transport.is_closing():
            return
        if self._due:
            client.send(*self._due.popleft())
        else:
            self._free.append(client)

    def is_gone(self, client: _Client) -> None:
        """Replace a closed connection. Its request is sent again, as proxies do."""
        self._open -= 1
        if client.due is not None:
            self._due.appendleft((client.due, client.octets))
