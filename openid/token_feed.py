"""The access tokens that a process caches, and the change feed that keeps the cache current to a second.

It works like the gate's cache of sessions, but is separate: neither can find the other's entries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from authgate.check.memory import UNKNOWN, Principal
from authgate.decision.rules import Application
from authgate.worker import loader
from authgate.worker.change_readers import Changes
from authgate.worker.feed import Feed, Source, boottime
from authgate.worker.memory import WorkerMemory
from openid import keys, standing
from openid.models import Token
from openid.standing import Standing


class TokenMemory(WorkerMemory):
    """Access tokens, compiled applications by their ids, and the signing keys."""

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        super().__init__(loader.gate_settings(), clock=clock)
        self.keys: keys.Keys = {}
        self._by_id: dict[int, Application] = {}

    def hold_applications(self, compiled: Iterable[loader.Compiled]) -> None:
        self._by_id.update((application.id, application) for application, _ in compiled)

    def forget_application(self, application_id: int) -> None:
        self._by_id.pop(application_id, None)

    def known_applications(self) -> set[int]:
        return set(self._by_id)

    def application_with(self, id: int) -> Application | None:
        return self._by_id.get(id)


class TokenFeed(Feed):
    """Reads the change feed for access tokens, but only while clients call."""

    memory: TokenMemory
    reads_idle_every = None

    def __init__(self, memory: TokenMemory, clock: Callable[[], float] = boottime) -> None:
        super().__init__(memory, clock)

    def ensure_memory(self) -> bool:
        """Read the feed unless it was read just now. Return whether the cache can be trusted.

        The grace period during a database outage does not apply here. The caller then queries the database,
        and the call fails.
        """
        if self.may_answer() and self.is_fresh():
            return True
        return self.ensure_fresh() is Source.MEMORY and self.is_fresh()

    def _apply(self, found: Changes) -> bool:
        if any(kind == "client" for kind, _ in found.rows):
            self.memory.forget(everybody=True)
            self._load_keys()
        return super()._apply(found)

    def _load_keys(self) -> None:
        self.memory.keys = keys.load()

    def _load_held(self, keys: list[bytes]) -> dict[bytes, Principal]:
        return {digest: each for digest, each in standing.tokens(keys).items() if each.counts_by_rows}

    def _publish(self) -> None:
        """Publish nothing: the metrics about memory are the gate's."""


current: TokenFeed | None = None
"""The feed of this process. None under `runserver` and in commands, which query the database each time."""


def start() -> None:
    """Start to follow the feed, which is read only while clients call. Call it once, after the fork."""
    global current
    current = TokenFeed(TokenMemory())
    current.start()


def token(digest: bytes) -> Standing | None:
    """Return a code or token. No query for a cached access token, otherwise one.

    None if the token is unknown or its grant has ended.
    """
    if current is None or not current.ensure_memory():
        return _loaded(digest)
    memory = current.memory
    held = memory.session(digest, time.time())
    if held is not UNKNOWN:
        return held if isinstance(held, Standing) else None
    generation = memory.generation
    found = _loaded(digest)
    if found is None or found.kind == Token.Kind.ACCESS:
        memory.hold(digest, found, generation)
    return found


def _loaded(digest: bytes) -> Standing | None:
    found = standing.token(digest)
    return found if found is not None and found.counts_by_rows else None


def application(id: int) -> Application | None:
    """Return a compiled application, from the cache or by two queries."""
    if current is not None and current.ensure_memory():
        return current.memory.application_with(id)
    return loader.load_one(id)


def signing_keys() -> keys.Keys:
    """Return the signing keys, from the cache or by one query. The very first call creates a key."""
    if current is not None and current.ensure_memory() and current.memory.keys:
        return current.memory.keys
    return keys.load_or_create()
