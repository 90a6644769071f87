"""A worker's memory between requests: all applications, and the sessions and programs used last."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import takewhile
from threading import Lock

from authgate.check.memory import (
    UNKNOWN,
    GateSettings,
    Memory,
    Principal,
    Session,
    Unknown,
)
from authgate.decision.rules import Application
from authgate.decision.target import origins_claiming, without_port
from authgate.network_limits import WrongTries

ABSENT_LIMIT = 10_000
"""Tokens known to be invalid. They are kept apart, so that a flood of them displaces no session."""

REREAD_AFTER = 60.0
"""Seconds after which each entry is read again, even if the change feed reported no change."""


class Index:
    """The keys of sessions by user or sign-in. A single key is stored without a set, which saves memory."""

    def __init__(self) -> None:
        self._alone: dict[int, bytes] = {}
        self._several: dict[int, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._alone) + sum(map(len, self._several.values()))

    def of(self, id: int) -> Iterable[bytes]:
        alone = self._alone.get(id)
        return self._several.get(id, ()) if alone is None else (alone,)

    def add(self, id: int, key: bytes) -> None:
        several = self._several.get(id)
        if several is not None:
            several.add(key)
            return
        alone = self._alone.setdefault(id, key)
        if alone != key:
            self._several[id] = {self._alone.pop(id), key}

    def discard(self, id: int, key: bytes) -> None:
        if self._alone.get(id) == key:
            del self._alone[id]
        several = self._several.get(id)
        if several is None:
            return
        several.discard(key)
        if len(several) == 1:
            del self._several[id]
            self._alone[id] = several.pop()


class OverMemory(Memory):
    """A worker's memory for one request. What this request loads comes first."""

    def __init__(self, under: WorkerMemory) -> None:
        super().__init__(under.settings, under.random)
        self.under = under
        self.issuers = under.issuers
        self.signer = under.signer
        self.tallies = under.tallies
        self.public = under.public

    def is_throttled(self, client: str, key: bytes, now: float) -> bool:
        return self.under.is_throttled(client, key, now)

    def note_wrong(self, client: str, now: float) -> None:
        self.under.note_wrong(client, now)

    def application(self, origin: str) -> Application | Unknown | None:
        return self.under.application(origin)

    def is_at_several_ports(self, origin: str) -> bool:
        return self.under.is_at_several_ports(origin)

    def session(self, digest: bytes, now: float) -> Principal | Unknown | None:
        if digest in self.sessions:
            found = self.sessions[digest]
            # A membership may have ended since it was loaded.
            return found if found is None or now < found.subject.groups_until else UNKNOWN
        return self.under.session(digest, now)


class WorkerMemory(Memory):
    """A worker's memory between requests: all applications, and the sessions used last.

    A caller that loads rows reads `generation` before the first query. If the change feed moves it meanwhile,
    the rows may be outdated and are thrown away.
    """

    def __init__(
        self,
        settings: GateSettings,
        *,
        limit: int = 100_000,
        clock: Callable[[], float],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(settings, random)
        self.limit = limit
        self.generation = 0
        self.hits = 0
        self.misses = 0
        self.lock = Lock()
        self._clock = clock
        self._held: OrderedDict[bytes, Principal] = OrderedDict()
        self._read_at: OrderedDict[bytes, float] = OrderedDict()
        """When each session was read, on the feed's clock. The oldest comes first."""
        self._absent: OrderedDict[bytes, float] = OrderedDict()
        self._by_sign_in = Index()
        self._by_user = Index()
        self._origins_of: dict[int, tuple[str, ...]] = {}
        self._with_port: dict[str, frozenset[str]] = {}
        self._wrong = WrongTries()
        self._once_right: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def application(self, origin: str) -> Application | Unknown | None:
        found = self.applications.get(origin)
        if found is not None:
            return found
        for claiming in origins_claiming(origin):
            found = self.applications.get(claiming)
            if found is not None:
                return found
        return None

    def is_at_several_ports(self, origin: str) -> bool:
        if not self._with_port:
            return False
        claiming = origins_claiming(without_port(origin))
        claims = [claim for each in claiming for claim in self._with_port.get(each, ())]
        return have_several_owners(origin, claims, self._owner)

    def _owner(self, origin: str) -> int | None:
        found = self.application(origin)
        return found.id if isinstance(found, Application) else None

    def session(self, digest: bytes, now: float) -> Principal | Unknown | None:
        """Return a session, None for an invalid token, or UNKNOWN if the database must be asked."""
        held = self._held.get(digest)
        if held is None:
            if digest in self._absent:
                self.hits += 1
                return None
            self.misses += 1
            return UNKNOWN
        if now >= held.read_again_at:
            self.misses += 1
            return UNKNOWN
        try:
            self._held.move_to_end(digest)
        except KeyError:  # the feed's thread has just removed it
            return UNKNOWN
        self.hits += 1
        return held

    def is_throttled(self, client: str, key: bytes, now: float) -> bool:
        # A credential that was valid once is always looked up, even if its address sends many wrong ones.
        return key not in self._once_right and self._wrong.is_full(client, now)

    def note_wrong(self, client: str, now: float) -> None:
        with self.lock:
            self._wrong.note(client, now)

    def forget_overdue(self) -> None:
        """Forget entries older than REREAD_AFTER, even without a change. The feed's reader calls it."""
        before = self._clock() - REREAD_AFTER
        with self.lock:
            for digest in self._read_before(before):
                self._drop(digest)
            for digest in [digest for digest, read_at in self._absent.items() if read_at < before]:
                del self._absent[digest]

    def hold(self, digest: bytes, session: Principal | None, generation: int) -> bool:
        """Keep a loaded entry, unless `generation` is outdated. Return whether it was kept."""
        with self.lock:
            if generation != self.generation:
                return False
            self._drop(digest)
            if session is None:
                self._absent[digest] = self._clock()
                while len(self._absent) > ABSENT_LIMIT:
                    self._absent.popitem(last=False)
                return True
            self._absent.pop(digest, None)
            self._held[digest], self._read_at[digest] = session, self._clock()
            if isinstance(session, Session):
                self._by_sign_in.add(session.sign_in_id, digest)
            else:
                self._note_right(digest)
            self._by_user.add(session.subject.user_id, digest)
            while len(self._held) > self.limit:
                self._drop(next(iter(self._held)))
            return True

    def _note_right(self, key: bytes) -> None:
        self._once_right[key] = None
        while len(self._once_right) > ABSENT_LIMIT:
            self._once_right.popitem(last=False)

    def renew(self, digest: bytes, session: Principal | None, generation: int) -> None:
        """Replace an entry by its new reading. Its turn to be dropped stays the same."""
        with self.lock:
            held = self._held.get(digest)
            if held is None or generation != self.generation:
                return
            if session is None or session.sign_in_id != held.sign_in_id:
                self._drop(digest)
                return
            if session.subject == held.subject:
                session.allowed = held.allowed
            self._held[digest], self._read_at[digest] = session, self._clock()
            self._read_at.move_to_end(digest)

    def hold_applications(self, compiled: Iterable[tuple[Application, tuple[str, ...]]]) -> None:
        """Replace applications and their origins. Only the change feed's reader calls it.

        An origin that moves is claimed by its new application before the old one releases it. Otherwise a
        wildcard would match it in between.
        """
        released: dict[int, set[str]] = {}
        for application, origins in compiled:
            released[application.id] = set(self._origins_of.get(application.id, ())) - set(origins)
            for origin in origins:
                plain = without_port(origin)
                if plain != origin:
                    self._with_port[plain] = self._with_port.get(plain, frozenset()) | {origin}
                self.applications[origin] = application
            self._origins_of[application.id] = origins
        for application_id, origins_left in released.items():
            self._release(application_id, origins_left)

    def forget_application(self, application_id: int) -> None:
        self._release(application_id, set(self._origins_of.pop(application_id, ())))

    def known_applications(self) -> set[int]:
        return set(self._origins_of)

    def forget(
        self, *, sign_ins: Iterable[int] = (), users: Iterable[int] = (), everybody: bool = False
    ) -> None:
        """Forget the sessions of sign-ins or users, and make every current load outdated."""
        with self.lock:
            self.generation += 1
            self._absent.clear()
            digests: set[bytes] = set(self._held) if everybody else set()
            for sign_in in sign_ins:
                digests.update(self._by_sign_in.of(sign_in))
            for user in users:
                digests.update(self._by_user.of(user))
            for digest in digests:
                self._drop(digest)

    def due_for_rereading(self, age: float) -> list[bytes]:
        """Return the keys of sessions that were read at least `age` seconds ago."""
        with self.lock:
            return self._read_before(self._clock() - age)

    def _read_before(self, moment: float) -> list[bytes]:
        """Return the keys of sessions that were read until a moment. Younger ones are not visited."""
        return [digest for digest, _ in takewhile(lambda read: read[1] <= moment, self._read_at.items())]

    def _release(self, application_id: int, origins: set[str]) -> None:
        for origin in origins:
            claimed = self.applications.get(origin)
            if claimed is not None and claimed.id == application_id:
                del self.applications[origin]
                self._release_port(origin)

    def _release_port(self, origin: str) -> None:
        plain = without_port(origin)
        left = self._with_port.get(plain, frozenset()) - {origin}
        if left:
            self._with_port[plain] = left
        else:
            self._with_port.pop(plain, None)

    def _drop(self, digest: bytes) -> None:
        session = self._held.pop(digest, None)
        if session is None:
            return
        del self._read_at[digest]
        if isinstance(session, Session):
            self._by_sign_in.discard(session.sign_in_id, digest)
        self._by_user.discard(session.subject.user_id, digest)


def have_several_owners(origin: str, claims: Iterable[str], owner: Callable[[str], int | None]) -> bool:
    """Return whether the ports of an origin's host belong to several applications.

    `claims` are origins with a port, as administrators wrote them. `owner` returns the id of the application
    that claims an origin.
    """
    ports = {claim[len(without_port(claim)) :] for claim in claims}
    owners = {owner(without_port(origin) + port) for port in ("", *ports)}
    return len(owners - {None}) > 1
