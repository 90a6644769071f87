"""The cost of a bad day: wrong answers, lost sessions, seconds until all is well, and log messages."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from accounts.models import User
from authgate.models import SignIn
from authgate.sign_ins import end_sign_ins, open_gate
from tests.behaviour import FETCH
from tests.front.serving import begin, eventually
from tests.several.stage import GRACE, Load, Several

PROMISED = 1.0
"""Seconds within which every portal knows a change."""

PATIENCE = 60.0
SERIOUS = {"warning", "error", "critical"}
FAILURE_LOGGERS = {"ikd.feed", "ikd.pages", "ikd.gate"}
"""The levels and the loggers of messages about failures."""

REPEATED_AFTER = 6.0
"""Seconds after which the log counts repeated messages."""

REPORT = "IKD_OUTAGES"
"""The variable with the file for the table."""


@dataclass
class Day:
    """A bad day. Times are on the monotonic clock, spans in seconds."""

    name: str
    several: Several
    eve: SignIn
    began_at: float = 0.0
    revoked_at: float = float("inf")
    over_at: float = 0.0
    answers: int = 0
    wrong: int = 0
    lost: int = 0
    unanswered: int = 0
    healthy_after: float = -1.0
    ready_after: float = -1.0
    log: list[str] = field(default_factory=list)
    without_database: bool = False

    def begin(self, *, without_database: bool = False) -> None:
        """Begin the day now. If a portal has no database, it may answer for its grace."""
        self.began_at, self.without_database = time.monotonic(), without_database

    def revoke(self) -> None:
        """Sign eve out. After the promised span, no portal may admit her."""
        end_sign_ins(SignIn.objects.filter(pk=self.eve.pk))
        self.revoked_at = time.monotonic()

    def over(self) -> None:
        self.over_at = time.monotonic()

    def allowed_until(self) -> float:
        """Return the time until which eve may be admitted."""
        believed = self.revoked_at + PROMISED
        return max(believed, self.began_at + GRACE) if self.without_database else believed

    def row(self) -> str:
        """Return the line of the table in the docs."""
        cells = (self.name, self.wrong, self.lost, f"{self.unanswered} of {self.answers}")
        times = (f"{seconds:.1f}" for seconds in (self.healthy_after, self.ready_after))
        return f"| {' | '.join(map(str, (*cells, *times, '; '.join(self.log))))} |"


HEAD = (
    "| What happens | Wrong 2xx | Lost sessions | Failed checks | Healthy after | Ready after | Log |\n"
    "|---|---|---|---|---|---|---|"
)


@contextmanager
def bad_day(several: Several, name: str) -> Iterator[Day]:
    """Request pages through nginx in the block, and count. Begin, revoke and end the day inside."""
    several.assert_healthy()
    day = Day(name, several, begin(User.objects.get(username="alice")))
    token = open_gate(day.eve, several.origin)
    nginx = several.proxies[0]
    requests = several.requests | {"eve": [FETCH | {"Cookie": f"{several.cookie_name}={token}"}]}
    requests.pop("nobody's page")
    assert all(nginx.ask("/page", headers=requests["eve"][0]).status == 200 for _ in range(6))
    sizes = {portal.log: portal.log.stat().st_size for portal in several.portals.values()}
    load = Load(nginx, requests, pause=0.04)
    load.start()
    try:
        time.sleep(0.4)
        yield day
        _wait_for_health(day)
        time.sleep(0.5)
    finally:
        load.stop()
    _count(day, load)
    if REPORT in os.environ:
        time.sleep(REPEATED_AFTER)
    day.log = _words(sizes)
    _report(day)


def _wait_for_health(day: Day) -> None:
    day.over_at = day.over_at or time.monotonic()
    if eventually(day.several.is_healthy, PATIENCE):
        day.healthy_after = time.monotonic() - day.over_at
    if eventually(day.several.is_ready, PATIENCE):
        day.ready_after = time.monotonic() - day.over_at


def _count(day: Day, load: Load) -> None:
    ours = [each for each in load.answers if each.who.startswith("alice")]
    day.answers, day.unanswered = len(ours), sum(each.status != 200 for each in ours)
    day.wrong = sum(
        200 <= each.status < 300
        and (each.who in ("bob", "nobody") or (each.who == "eve" and each.at > day.allowed_until()))
        for each in load.answers
    )
    day.lost = day.several.lost_sessions()
    assert {each.who for each in load.answers} >= {"alice", "bob", "nobody", "eve"}


def _words(sizes: dict[Path, int]) -> list[str]:
    """Return the messages in the portals' logs beyond these sizes, each one once."""
    found: dict[str, None] = {}
    for file, size in sizes.items():
        with file.open("rb") as log:
            log.seek(size)
            for line in log.read().decode(errors="replace").splitlines():
                if message := _message(line):
                    found[message] = None
    return list(found)


def _message(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if (
        not isinstance(entry, dict)
        or entry.get("level") not in SERIOUS
        or entry.get("logger") not in FAILURE_LOGGERS
    ):
        return ""
    text = str(entry.get("message", "")).splitlines()[0]
    return re.sub(r"\d+(\.\d+)?", "N", text).replace("|", "/")[:120]


def _report(day: Day) -> None:
    print(day.row())
    if file := os.environ.get(REPORT):
        path = Path(file)
        text = path.read_text() if path.exists() else f"{HEAD}\n"
        path.write_text(f"{text}{day.row()}\n")


def says(day: Day, *words: str) -> bool:
    """Return whether the log contains each word."""
    text = " ".join(day.log).lower()
    return all(word in text for word in words)
