"""The reader of the change feed. It keeps a worker's memory correct and decides whether memory may answer.

A committed change takes effect within a second: memory answers only if a reading began less than `FRESH_FOR`
ago. If the last reading is older, a check reads first, once for all checks that wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum
from functools import partial

from django.conf import settings
from django.db import ProgrammingError, close_old_connections, connection

from authgate import counters, identity_jwt
from authgate.check.memory import Principal
from authgate.counters import Numbers
from authgate.logs.lines import cause_of
from authgate.pages import framed, refused
from authgate.people import people
from authgate.worker import database_timeout, loader, metrics, stale_connections, triggers
from authgate.worker.change_readers import Changes, reader_for
from authgate.worker.head_cache import Heads
from authgate.worker.memory import REREAD_AFTER, WorkerMemory
from authgate.worker.stale_connections import Overwritten
from authgate.worker.usage import tallies

log = logging.getLogger("ikd.feed")

FRESH_FOR = 0.8
READ_EVERY = 0.1
"""Seconds between readings while checks come in."""

FAILING_AFTER = 2.0
"""Seconds that a reading may take. After them the database counts as unreadable."""

GIVE_UP_AFTER = 4.0
"""Seconds that a reading waits for one answer. Then its connection is closed and a new one is opened."""

FORGET_AFTER = 600.0
CUT_EVERY = 600.0
LOOK_FOR_TRIGGERS_EVERY = 60.0
SWEEP_EVERY = 5.0
APPLICATIONS_A_ROUND = 100
READINGS_AT_ONCE = 20
PUBLISH_EVERY = 1.0
LEAST_A_ROUND, ROUNDS_TO_REREAD = 20, 150
"""The smallest number of sessions to read again in one round, and the rounds after which all were read again.
150 rounds take up to 20 seconds."""

LOOK_FOR_DUE_EVERY = 1.0


boottime = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""Return seconds on a clock that is never set and that runs while the machine is suspended."""


class Source(Enum):
    """The source of an answer: memory, the database for each request, or nobody while neither can be used."""

    MEMORY = "memory"
    DATABASE = "database"
    NOBODY = "nobody"


class Feed:
    """Reads the change feed for a worker. Times are on `boottime`."""

    reads_idle_every: float | None = 60.0
    """Seconds between two readings while no checks come in. None disables such readings."""

    def __init__(self, memory: WorkerMemory, clock: Callable[[], float] = boottime) -> None:
        self.memory = memory
        self.heads = Heads()
        self.check_urls = {path.encode(): path for path in memory.settings.checks}
        self.fresh_until = 0.0
        self.last_read_began = -1e9
        self.last_asked = 0.0
        self.clock = clock
        self._reading_since: float | None = None
        self._has_failed = False
        self._cause = ""
        self._failing_since: float | None = None
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._reader = reader_for(connection.vendor)
        self._triggers_seen = -1e9
        self._place: object = None
        self._is_believable = True
        self._swept_at = -1e9
        self._due: list[int] = []
        self._due_sessions: list[bytes] = []
        self._looked_for_due_at = -1e9
        self._compiled: dict[int, loader.Compiled | None] = {}
        self._reread_at = clock()
        self._published_at = -1e9
        self.answered = 0
        self._marks: list[tuple[float, int]] = []
        self._thread: threading.Thread | None = None

    # ---- called by checks ---------------------------------------------------------------------------------

    def may_answer(self) -> bool:
        """Return whether memory may answer: it is fresh, or in its grace while the database fails."""
        now = self.last_asked = self.clock()
        if now < self.fresh_until:
            return True
        self._wanted.set()
        is_in_grace = now < self.last_read_began + settings.IKD_STALE_GRACE
        return is_in_grace and self._is_believable and self._is_failing()

    def is_fresh(self) -> bool:
        """Return whether memory is fresh. IKD_STALE_GRACE does not count."""
        return self._is_believable and self.clock() < self.fresh_until

    def is_without_database(self) -> bool:
        """Return whether the last reading failed or hangs. The thread continues to try."""
        return self._is_believable and self._is_failing()

    def hangs(self) -> bool:
        """Return whether the current reading has waited for the database longer than FAILING_AFTER."""
        since = self._reading_since
        return since is not None and self.clock() - since > FAILING_AFTER

    def ensure_fresh(self) -> Source:
        """Read the feed unless memory is fresh, and return the source that may answer."""
        asked = self.clock()
        # After this wait, the reading of the other thread counts as failed.
        if not self._lock.acquire(timeout=0.0 if self.hangs() else FAILING_AFTER + 0.1):
            return self._source()
        try:
            if self.last_read_began < asked and self.clock() >= self.fresh_until:
                self._read(reread=asked - self._reread_at > REREAD_AFTER)
                self._wanted.set()  # the background thread continues before memory becomes stale
        except Exception:
            log.exception("the change feed cannot be read")
        finally:
            self._lock.release()
        return self._source()

    def trouble(self) -> str:
        """Return the reason why the database cannot be read, in words for the log."""
        since = self._reading_since
        if since is not None and self.clock() - since > FAILING_AFTER:
            return f"a reading of the change feed has hung for {self.clock() - since:.0f} s"
        return f"the change feed cannot be read: {self._cause or 'not yet'}"

    def _source(self) -> Source:
        if self.may_answer():
            return Source.MEMORY
        return Source.NOBODY if self._is_believable else Source.DATABASE

    def _is_failing(self) -> bool:
        return self._has_failed or self.hangs()

    # ---- reading ------------------------------------------------------------------------------------------

    def _read(self, *, reread: bool = False) -> None:
        with database_timeout.limited_to(GIVE_UP_AFTER):
            self._read_in_time(reread=reread)

    def _read_in_time(self, *, reread: bool) -> None:
        began = self._reading_since = self.clock()
        self._compiled.clear()
        try:
            stale_connections.close_stale()
            if reread:  # before the feed is read: that loads again what changes meanwhile
                self._reread_applications()
            if began - self._swept_at > SWEEP_EVERY:
                self._swept_at = began
                self.memory.forget_overdue()
            if began - self.last_read_began > FORGET_AFTER:
                self._reader = reader_for(connection.vendor)
            # Changes may commit between the queries that load applications. So memory takes the applications
            # once a later reading reports no change, or after READINGS_AT_ONCE readings.
            for _ in range(READINGS_AT_ONCE):
                if not self._read_once(began):
                    break
            self._hold_compiled()
            self._has_failed = False
        except Exception as error:
            # The changes may not have been applied, so the next reading forgets everything. Only an exception
            # counts as a failure. If a running reading counted too, its grace would admit users who lost
            # access while this worker was idle.
            self._has_failed, self._cause = True, cause_of(error)
            self._failing_since = began if self._failing_since is None else self._failing_since
            self._reader = reader_for(connection.vendor)
            if isinstance(error, ProgrammingError | Overwritten):
                # The feed's table is gone, or the file is a mixture: memory belongs to another database.
                self._place, self._is_believable, self.fresh_until = None, False, 0.0
            raise
        finally:
            self._reading_since = None
        self._note_recovery(began)
        self.last_read_began = began
        self.fresh_until = began + FRESH_FOR

    def _note_recovery(self, began: float) -> None:
        """Log that the feed can be read again, if it failed or if this reading hung."""
        now = self.clock()
        since = began if self._failing_since is None else self._failing_since
        if self._failing_since is not None or now - began > FAILING_AFTER:
            log.warning("the change feed can be read again, after %.0f s", now - since)
        self._failing_since = None

    def _read_once(self, now: float) -> bool:
        """Read and apply the changes. Return whether any application was loaded again."""
        with connection.cursor() as cursor:
            found = self._reader.read(cursor)
        is_elsewhere = found.place != self._place
        if is_elsewhere:
            self._note_place(found.place)
        if now - self._triggers_seen >= LOOK_FOR_TRIGGERS_EVERY:
            self._require_triggers(now)
        self._has_failed = False  # the database answers, so whatever is forgotten now can be loaded again
        if found.everything or is_elsewhere:
            self.memory.forget(everybody=True)
            self._load_applications(None)
            return True
        return bool(found.rows) and self._apply(found)

    def _note_place(self, place: object) -> None:
        """Note the identity of the database. If it was replaced, all threads open new connections."""
        if self._place is not None:
            log.warning("the database was restored or replaced: everything is forgotten")
            stale_connections.expire_all()
        self._place, self._triggers_seen = place, -1e9
        self._marks.clear()  # they are transaction ids of the old database

    def _require_triggers(self, now: float) -> None:
        lacking = triggers.missing()
        self._triggers_seen = -1e9 if lacking else now
        self._is_believable = not lacking
        if lacking:
            self.fresh_until = 0.0
            raise RuntimeError(f"triggers of the change feed are missing, run migrate: {sorted(lacking)}")

    def _apply(self, found: Changes) -> bool:
        counters.change_seconds.observe(self._longest_unknown())
        keys: dict[str, set[int | None]] = {"sign_in": set(), "user": set(), "application": set()}
        keys["client"] = set()  # only the OpenID provider caches data of these
        for kind, key in found.rows:
            keys[kind].add(key)
        everybody = None in keys["user"] or None in keys["sign_in"]
        self.memory.forget(
            sign_ins=[key for key in keys["sign_in"] if key is not None],
            users=[key for key in keys["user"] if key is not None],
            everybody=everybody,
        )
        # If a group is renamed, the feed reports all users. Applications contain names of groups, too.
        is_about_groups = None in keys["user"]
        if is_about_groups or None in keys["application"]:
            self._load_applications(None)
        elif keys["application"]:
            self._load_applications({key for key in keys["application"] if key is not None})
        return is_about_groups or bool(keys["application"])

    def _longest_unknown(self) -> float:
        """Return the seconds, at most, for which memory answered without the changes just read.

        They committed after the previous reading began. Without a new reading, memory answers for FRESH_FOR;
        while the database cannot be read, for IKD_STALE_GRACE.
        """
        answers_for = settings.IKD_STALE_GRACE if self._failing_since is not None else FRESH_FOR
        return min(self.clock() - self.last_read_began, max(answers_for, FRESH_FOR))

    def _load_applications(self, which: set[int] | None) -> None:
        """Load applications for memory, which takes them at the end of this reading.

        `which` is None for all applications. A deleted application is kept as None.
        """
        compiled = loader.load_everything_compiled() if which is None else loader.load_compiled(which)
        if which is None:
            self._load_keys()
            which = self.memory.known_applications() | self._compiled.keys()
        self._compiled.update(dict.fromkeys(which))
        self._compiled.update((each[0].id, each) for each in compiled)

    def _load_keys(self) -> None:
        """Load the signing keys of X-Ikd-Jwt, and the issuers of accepted JWTs."""
        self.memory.issuers = people().load_issuers()
        self.memory.signer = identity_jwt.load_signer()

    def _hold_compiled(self) -> None:
        if not self._compiled:
            return
        self.memory.hold_applications([each for each in self._compiled.values() if each is not None])
        for application_id, each in self._compiled.items():
            if each is None:
                self.memory.forget_application(application_id)
        self._compiled.clear()

    # ---- in the background --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread that reads the feed while checks come in. Call it after the worker has forked."""
        self._thread = threading.Thread(target=self._run, name="ikd-feed", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        next_cut = self.clock() + CUT_EVERY
        while True:
            try:
                close_old_connections()
                self._round()
                if self.clock() > next_cut:
                    next_cut = self.clock() + CUT_EVERY
                    self._cut()
            except Exception:
                log.exception("the change feed's reader goes on after an error")
                time.sleep(READ_EVERY)

    def _round(self) -> None:
        is_asked = True
        if self.clock() - self.last_asked > FRESH_FOR:
            with self._lock:
                self.fresh_until = 0.0  # this thread pauses, so the next check reads first
            is_asked = self._wanted.wait(timeout=self.reads_idle_every)
        self._wanted.clear()
        with self._lock:
            self._read(reread=is_asked)
        if is_asked:
            self._reread()
        self._publish()
        time.sleep(READ_EVERY)

    def _reread_applications(self) -> None:
        """Read applications again in small batches, so that a missed change lasts a minute at most."""
        if not self._due and self.clock() - self._reread_at > REREAD_AFTER * 0.5:
            self._reread_at = self.clock()
            self._due = list(self.memory.known_applications() | loader.application_ids())
        if self._due:
            batch, self._due = self._due[:APPLICATIONS_A_ROUND], self._due[APPLICATIONS_A_ROUND:]
            self._load_applications(set(batch))

    def _publish(self) -> None:
        now = self.clock()
        if now - self._published_at < PUBLISH_EVERY:
            return
        self._published_at = now
        metrics.publish()

    def numbers(self) -> Numbers:
        """Return this worker's metrics of its memory and of the feed."""
        memory = self.memory
        return {
            "ikd_memory_sessions": len(memory),
            "ikd_memory_applications": len(memory.known_applications()),
            "ikd_memory_hits_total": memory.hits,
            "ikd_memory_misses_total": memory.misses,
            "ikd_memory_heads": len(self.heads),
            "ikd_checks_from_memory_total": self.answered + counters.known_checks.total(),
            "ikd_feed_read_seconds_ago": min(self.clock() - self.last_read_began, FORGET_AFTER),
            "ikd_feed_failing": int(self._is_failing()),
        }

    def _reread(self) -> None:
        """Read a few of the oldest sessions again in this thread, so that no check has to."""
        if not self._due_sessions and self.clock() - self._looked_for_due_at > LOOK_FOR_DUE_EVERY:
            self._looked_for_due_at = self.clock()
            self._due_sessions = self.memory.due_for_rereading(REREAD_AFTER * 0.5)
        count = max(LEAST_A_ROUND, len(self.memory) // ROUNDS_TO_REREAD)
        due, self._due_sessions = self._due_sessions[:count], self._due_sessions[count:]
        if not due:
            return
        generation = self.memory.generation
        loaded = self._load_held(due)
        for digest in due:
            self.memory.renew(digest, loaded.get(digest), generation)

    def _load_held(self, keys: list[bytes]) -> dict[bytes, Principal]:
        return loader.load_held(keys)

    def _cut(self) -> None:
        """Delete old rows of the feed. Unread rows must stay, so their age is taken from `boottime`."""
        now = self.clock()
        with connection.cursor() as cursor:
            if (mark := self._reader.mark(cursor)) is not None:
                self._marks.append((now, mark))
            old = [mark for mark in self._marks if now - mark[0] > 2 * FORGET_AFTER]
            if old:
                self._reader.cut(cursor, old[-1][1])
                self._marks = [mark for mark in self._marks if mark not in old]


current: Feed | None = None
"""The feed reader of this worker process; None under `runserver`, in commands and in tests of the view."""


def start() -> Feed:
    """Create this process's memory and start to read the feed. Call it once, after the worker has forked."""
    global current
    refused.warm_up()
    framed.warm_up()
    memory = WorkerMemory(loader.gate_settings(), limit=settings.IKD_MEMORY_SESSIONS, clock=boottime)
    memory.tallies = tallies
    current = Feed(memory)
    current.start()
    return current
