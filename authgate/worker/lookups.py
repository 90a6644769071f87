"""The queue of checks that memory cannot answer. One query loads the rows for all of them.

The event loop queues a check and continues. One thread takes the waiting checks. It reads the change feed if
memory is stale, and loads all sessions and API tokens at once. The loop then answers the checks.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from django.db import close_old_connections

from authgate.check import responses
from authgate.check.context import Context
from authgate.check.credentials import KEY_LENGTH, TOKEN_KIND
from authgate.check.memory import Principal
from authgate.check.missing import Missing, MissingCode, MissingEndpoint, MissingProgram, MissingSession
from authgate.check.pipeline import answer_later, check
from authgate.check.request import Facts
from authgate.check.responses import Answer
from authgate.counters import Numbers
from authgate.decision.target import BadTarget
from authgate.network_limits import network_of
from authgate.traces import spans
from authgate.worker import loader, metrics, stale_connections
from authgate.worker.failures import broken, overloaded
from authgate.worker.feed import Feed, Source
from authgate.worker.memory import OverMemory
from authgate.worker.write_behind import CHECKS_SHED, writer

log = logging.getLogger("ikd.gate")

BATCH = 500
"""Checks that one query may serve."""

QUEUE = 4_096
"""Checks that may wait in one worker."""

QUEUE_OF_A_NETWORK = 1_024
"""Checks of one client network that may wait, so that no network fills the queue alone."""

ALONE_AT_ONCE = 2
"""Threads for checks that cannot share a query: JWTs to verify, a provider's tokens to fetch."""

ALONE_QUEUE, ALONE_OF_A_NETWORK = 512, 64
"""Checks that may wait for those threads, in total and for each client network."""

PATIENCE = 3.5
"""Seconds that a check may wait, plus up to LOOK_EVERY. Then it is answered with 503. The shipped files for
nginx and Caddy wait five seconds for an answer."""

DELIVERED_AT_ONCE = 25
"""Checks answered in one round of the event loop."""

LOOK_EVERY = 0.5
"""Seconds between two searches for checks that have waited too long."""


@dataclass(slots=True, eq=False)
class Lookup:
    """A check that waits. `key` is its credential's key in memory; None if memory is merely stale.

    `context` is the parsed check, if it could be parsed. The loop calls `deliver` once with the answer. If
    the proxy closes the connection, `given_up` is set and `deliver` is not called.
    """

    facts: Facts
    key: bytes | None
    client: str
    deliver: Callable[[Answer], None]
    asked_at: float = 0.0
    given_up: bool = False
    context: Context | None = None


def can_wait_for(missing: Missing) -> bool:
    """Return whether a check may wait here. The view answers those with codes, and those for endpoints."""
    return not isinstance(missing, MissingCode | MissingEndpoint)


def _key_of(missing: Missing | Answer) -> bytes | None:
    """Return the key that the query for many checks must load; None if memory is merely stale."""
    match missing:
        case MissingSession(digest=digest):
            return digest
        case MissingProgram(key=key):
            return key
    return None


def _is_alone(missing: Missing | Answer) -> bool:
    """Return whether a check needs more than the query for many checks returns."""
    match missing:
        case MissingSession() | Answer():
            return False
        case MissingProgram(key=key):
            return key[:1] != TOKEN_KIND
    return True


class FairQueue:
    """Waiting checks by client network. The networks are served in turn."""

    def __init__(self, limit: int = QUEUE, of_a_network: int = QUEUE_OF_A_NETWORK) -> None:
        self._limit, self._of_a_network = limit, of_a_network
        self._waiting: OrderedDict[str, deque[Lookup]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, lookup: Lookup) -> bool:
        """Queue a check. Return False if the queue, or the part of its network, is full."""
        network = network_of(lookup.client)
        waiting = self._waiting.get(network)
        if self._length >= self._limit or (waiting is not None and len(waiting) >= self._of_a_network):
            return False
        if waiting is None:
            waiting = self._waiting[network] = deque()
        waiting.append(lookup)
        self._length += 1
        return True

    def take(self, most: int) -> list[Lookup]:
        """Remove and return up to `most` checks, one of each network in turn. Drop those given up."""
        taken: list[Lookup] = []
        while self._waiting and len(taken) < most:
            network, waiting = self._waiting.popitem(last=False)
            lookup = waiting.popleft()
            self._length -= 1
            if waiting:
                self._waiting[network] = waiting
            if not lookup.given_up:
                taken.append(lookup)
        return taken

    def take_overdue(self, before: float) -> list[Lookup]:
        """Remove and return the checks that were queued before `before`. Drop those given up."""
        overdue: list[Lookup] = []
        for network in list(self._waiting):
            waiting = self._waiting[network]
            while waiting and (waiting[0].given_up or waiting[0].asked_at < before):
                overdue.append(waiting.popleft())
                self._length -= 1
            if not waiting:
                del self._waiting[network]
        return [lookup for lookup in overdue if not lookup.given_up]


class Lookups:
    """The waiting checks of one worker. `submit` and the deliveries run on the loop, `_run` in a thread."""

    def __init__(
        self, feed: Feed, loop: asyncio.AbstractEventLoop, answer_alone: Callable[[Facts], Answer]
    ) -> None:
        self._answer_alone = answer_alone
        self.shed_when_full = self.shed_when_late = self.batches = self.looked_up = self._reported_shed = 0
        self._feed, self._loop = feed, loop
        self._queue = FairQueue()
        self._alone = FairQueue(ALONE_QUEUE, ALONE_OF_A_NETWORK)
        self._alone_running = 0
        self._alone_threads = ThreadPoolExecutor(ALONE_AT_ONCE, "ikd-checks")
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._is_waking = False
        self._thread: threading.Thread | None = None
        self._under_way: list[Lookup] = []
        self._taken_at = 0.0

    def start(self) -> None:
        """Start the thread. Call this only after the worker has forked."""
        metrics.sources.append(self.numbers)
        self._start_thread()
        self._loop.call_later(LOOK_EVERY, self._shed_overdue)

    @property
    def shed(self) -> int:
        return self.shed_when_full + self.shed_when_late

    def numbers(self) -> Numbers:
        """Return the metrics of the waiting checks."""
        return {
            "ikd_checks_waiting": len(self._queue) + len(self._alone),
            "ikd_lookup_batches_total": self.batches,
            "ikd_lookups_total": self.looked_up,
            'ikd_checks_shed_total{reason="queue full"}': self.shed_when_full,
            'ikd_checks_shed_total{reason="waited too long"}': self.shed_when_late,
        }

    def submit(
        self,
        facts: Facts,
        missing: Missing | Answer,
        deliver: Callable[[Answer], None],
        context: Context | None = None,
    ) -> Lookup | None:
        """Queue a check until `missing` is loaded. An answer as `missing` means that memory is merely stale.

        Return None if there is no room. The caller must then shed the check.
        """
        client = self._client(facts) if context is None else context.target.client
        lookup = Lookup(facts, _key_of(missing), client, deliver, self._feed.clock(), context=context)
        is_queued = self._put_alone(lookup) if _is_alone(missing) else self._put(lookup)
        if is_queued:
            return lookup
        self.shed_when_full += 1
        log.error("checks get 503 because too many wait for the database")
        return None

    def _put(self, lookup: Lookup) -> bool:
        with self._lock:
            is_queued = self._queue.put(lookup)
        if not self._is_waking:
            self._is_waking = True
            self._loop.call_soon(self._wake)
        return is_queued

    def _wake(self) -> None:
        """Wake the thread in the loop's next round, so that checks which arrive together share a query."""
        self._is_waking = False
        self._wanted.set()

    def _put_alone(self, lookup: Lookup) -> bool:
        is_queued = self._alone.put(lookup)
        self._loop.call_soon(self._begin_alone)
        return is_queued

    def _client(self, facts: Facts) -> str:
        settings = self._feed.memory.settings
        try:
            contract = settings.checks[facts.path]
            return contract.read(facts, contract.query(facts.query), settings.forwarded_hops).client
        except BadTarget:
            return facts.peer or ""

    # ---- in the thread ------------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="ikd-lookups", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._thread is threading.current_thread():
            self._wanted.wait()
            self._wanted.clear()
            while batch := self._take():
                found = spans.look_up(self._load, batch)
                if self._thread is not threading.current_thread():
                    return  # a new thread has replaced this one, and these checks are answered
                self._under_way = []
                self._loop.call_soon_threadsafe(self._deliver, batch, *found)

    def _take(self) -> list[Lookup]:
        with self._lock:
            batch = self._queue.take(BATCH)
        self._taken_at, self._under_way = self._feed.clock(), batch
        return batch

    def _load(self, batch: list[Lookup]) -> tuple[Source, dict[bytes, Principal | None]]:
        """Return the source that may answer these checks, and the principals of all their keys."""
        try:
            close_old_connections()
            source = Source.MEMORY if self._feed.may_answer() else self._feed.ensure_fresh()
            if source is not Source.MEMORY:
                return source, {}
            memory = self._feed.memory
            generation = memory.generation
            stale_connections.close_stale()  # after the generation, so no row of an old connection is kept
            keys = list({lookup.key for lookup in batch if lookup.key is not None})
            held = loader.load_held(keys) if keys else {}
            for key in keys:
                memory.hold(key, held.get(key), generation)
            self.batches += 1
            self.looked_up += len(keys)
            return source, {key: held.get(key) for key in keys}
        except Exception:
            log.exception("checks that waited for the database could not be answered")
            return Source.NOBODY, {}

    # ---- on the loop --------------------------------------------------------------------------------------

    def _deliver(self, batch: list[Lookup], source: Source, loaded: dict[bytes, Principal | None]) -> None:
        """Answer DELIVERED_AT_ONCE checks of a batch now, and the others in the loop's next rounds."""
        now, batch, rest = time.time(), batch[:DELIVERED_AT_ONCE], batch[DELIVERED_AT_ONCE:]
        memory = OverMemory(self._feed.memory)
        memory.sessions = loaded
        for lookup in batch:
            if lookup.given_up:
                continue
            found = self._answer(lookup, source, memory, now)
            if isinstance(found, Answer):
                self._finish(lookup, found)
            elif not self._queue_again(lookup, found):
                self.shed_when_full += 1
                self._finish(lookup, overloaded())
        if rest:
            self._loop.call_soon(self._deliver, rest, source, loaded)

    def _answer(
        self, lookup: Lookup, source: Source, memory: OverMemory, now: float
    ) -> Answer | Missing | None:
        """Return the answer to a check or what memory still lacks; None if the view must answer it."""
        if source is Source.NOBODY:
            return without_database(self._feed)
        if source is Source.DATABASE:
            return None
        try:
            found = answer_later(lookup.context, now, memory) if lookup.context is not None else None
            if found is None:
                found = check(lookup.facts._replace(now=now), memory)
        except Exception:
            return None  # the view meets the same error and logs it
        is_token = lookup.key is not None and lookup.key[:1] == TOKEN_KIND and len(lookup.key) == KEY_LENGTH
        if is_token and lookup.key is not None and memory.sessions.get(lookup.key) is None:
            memory.note_wrong(lookup.client, now)
        return found

    def _queue_again(self, lookup: Lookup, missing: Missing | None) -> bool:
        """Queue a check until `missing` is loaded. Return False if there is no room.

        Memory lacks the same key again only if a membership of the user has ended since it was loaded.
        """
        if missing is None or _is_alone(missing):
            return self._put_alone(lookup)
        lookup.key = _key_of(missing)
        return self._put(lookup)

    def _begin_alone(self) -> None:
        """Answer waiting checks in threads, as the view would: up to ALONE_AT_ONCE at the same time."""
        while self._alone_running < ALONE_AT_ONCE and (taken := self._alone.take(1)):
            self._alone_running += 1
            future = self._loop.run_in_executor(self._alone_threads, self._answer_alone, taken[0].facts)
            future.add_done_callback(partial(self._end_alone, taken[0]))

    def _end_alone(self, lookup: Lookup, done: asyncio.Future[Answer]) -> None:
        self._alone_running -= 1
        self._begin_alone()
        self._finish(lookup, done.result())

    def _finish(self, lookup: Lookup, found: Answer) -> None:
        if lookup.given_up:
            return
        lookup.given_up = True
        try:
            lookup.deliver(found)
        except Exception:
            log.exception("the answer to a check could not be sent")

    def _report_shed(self) -> None:
        if self.shed > self._reported_shed:
            writer.note_shed(CHECKS_SHED, self.shed - self._reported_shed)
            self._reported_shed = self.shed

    def _shed_overdue(self) -> None:
        """Shed checks that have waited too long, and replace a thread that hangs at the database."""
        self._loop.call_later(LOOK_EVERY, self._shed_overdue)
        self._report_shed()
        before = self._feed.clock() - PATIENCE
        with self._lock:
            overdue = self._queue.take_overdue(before)
        if self._under_way and self._taken_at < before:
            overdue += self._under_way
            self._under_way = []
            self._start_thread()
        for lookup in overdue + self._alone.take_overdue(before):
            self.shed_when_late += 1
            log.error("checks get 503 after they waited %.0f s for the database", PATIENCE)
            self._finish(lookup, overloaded())


def without_database(feed: Feed) -> Answer:
    """Return 503 for a check that memory cannot answer while the database cannot be read, and log it."""
    decision_id = responses.new_id(feed.memory)
    log.error("checks that need the database get 503: %s", feed.trouble(), extra={"decision": decision_id})
    return broken(decision_id)


current: Lookups | None = None
"""The waiting checks of this worker process; None if no server runs in it."""


def start(feed: Feed, loop: asyncio.AbstractEventLoop, answer_alone: Callable[[Facts], Answer]) -> None:
    """Create and start the queue of this process's checks.

    `answer_alone` answers a check in a thread, as the view does.
    """
    global current
    current = Lookups(feed, loop, answer_alone)
    current.start()
