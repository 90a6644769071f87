"""Revocation at a real server with two workers under load: no 200 later than a second after the commit."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.utils import timezone
from pytest_django.plugin import DjangoDbBlocker

from accounts.machines.api_tokens import end_tokens, make_token
from accounts.models import Membership, User
from authgate.models import Application, GateSession, Origin, Rule, SignIn
from authgate.sign_ins import end_sign_ins
from tests.factories import ApplicationFactory, UserFactory
from tests.front.serving import Connection, Database, Portal, check_bytes, eventually, signed_in

BAR = 1.0
NUMBERS = itertools.count()

Revoke = Callable[["Admitted"], object]


class Admitted:
    """A user of the test, in a group and admitted to an application that no other test uses."""

    def __init__(self, number: int) -> None:
        self.origin = f"https://site-{number}.example.com"
        self.group = f"group-{number}"
        self.user: User = UserFactory(
            username=f"user-{number}", email=f"u{number}@example.com", verified=True, groups=[self.group]
        )
        self.application: Application = ApplicationFactory(
            name=f"Site {number}", origins=[self.origin], groups=[self.group]
        )
        self.cookie = signed_in(self.user, self.origin)
        _, token = make_token(self.user, "a program", [self.application], 3600)
        self.authorization = f"Bearer {token}"


KINDS: dict[str, Revoke] = {
    "session ended": lambda who: end_sign_ins(SignIn.objects.filter(user=who.user)),
    "gate session ended": lambda who: GateSession.objects.filter(origin=who.origin).update(
        ended_at=timezone.now()
    ),
    "user disabled": lambda who: User.objects.filter(pk=who.user.pk).update(is_active=False),
    "user deleted": lambda who: who.user.delete(),
    "removed from group": lambda who: who.user.groups.clear(),
    "group deleted": lambda who: Group.objects.get(name=who.group).delete(),
    "rule changed": lambda who: Rule.objects.filter(application=who.application).update(path="/elsewhere"),
    "rule deleted": lambda who: Rule.objects.filter(application=who.application).delete(),
    "rule's group removed": lambda who: who.application.rules.get().groups.clear(),
    "application disabled": lambda who: Application.objects.filter(pk=who.application.pk).update(
        enabled=False
    ),
    "application deleted": lambda who: who.application.delete(),
    "origin removed": lambda who: Origin.objects.filter(application=who.application).delete(),
}


TOKEN_KINDS: dict[str, Revoke] = {
    "token ended": lambda who: end_tokens(who.user.api_tokens.all()),
    "token deleted": lambda who: who.user.api_tokens.all().delete(),
    "token ended by raw SQL": lambda who: _execute(
        f"UPDATE accounts_apitoken SET ended_at = CURRENT_TIMESTAMP WHERE user_id = {who.user.pk}"
    ),
    "token expired by hand": lambda who: who.user.api_tokens.update(expires_at=timezone.now()),
    "token given to somebody else": lambda who: who.user.api_tokens.update(
        user=UserFactory(username=f"heir of {who.user.pk}")
    ),
    "application taken from the token": lambda who: who.user.api_tokens.get().applications.clear(),
    "application taken by raw SQL": lambda who: _execute(
        f"DELETE FROM accounts_apitoken_applications WHERE application_id = {who.application.pk}"
    ),
    "user disabled": lambda who: User.objects.filter(pk=who.user.pk).update(is_active=False),
    "user deleted": lambda who: who.user.delete(),
    "removed from group": lambda who: who.user.groups.clear(),
    "application disabled": lambda who: Application.objects.filter(pk=who.application.pk).update(
        enabled=False
    ),
}


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


class Load:
    """Checks in a loop with one session, on connections that are kept alive."""

    def __init__(self, portal: Portal, who: Admitted, *, by_token: bool = False) -> None:
        self._portal, self._who = portal, who
        self._cookie = "" if by_token else who.cookie
        self._more = {"Authorization": who.authorization} if by_token else {}
        self._ended = threading.Event()
        self.last_allowed = 0.0
        self.allowed = self.refused = 0
        self.group_headers: list[tuple[float, str]] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)

    def _ask(self) -> None:
        with Connection(self._portal.address) as connection:
            while not self._ended.is_set():
                asked = time.monotonic()
                reply = connection.check(self._cookie, origin=self._who.origin, **self._more)
                if reply.status == 200:
                    self.allowed += 1
                    self.last_allowed = max(self.last_allowed, asked)
                    self.group_headers.append((asked, reply.header("x-auth-request-groups")))
                else:
                    self.refused += 1


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def database(vendor: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
             django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:  # fmt: skip
    if vendor == "postgresql":
        found = request.getfixturevalue("cluster").database("revocation", "pattern")
    else:
        path = tmp_path_factory.mktemp("revocation") / "ikd.sqlite3"
        shutil.copy(request.getfixturevalue("pattern"), path)
        found = Database(f"sqlite:///{path}")
    with django_db_blocker.unblock(), found.connected():
        yield found


@pytest.fixture(scope="module")
def portal(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    portal = Portal(tmp_path_factory.mktemp("portal"), database, workers=2).start()
    yield portal
    portal.stop()


@pytest.fixture
def who(database: Database) -> Admitted:
    return Admitted(next(NUMBERS))


@pytest.mark.parametrize("by_token", [False, True], ids=["session", "token"])
def test_a_revoked_session_is_refused_after_a_second(
    portal: Portal, database: Database, by_token: bool
) -> None:
    kinds = TOKEN_KINDS if by_token else KINDS
    admitted = {kind: Admitted(next(NUMBERS)) for kind in kinds}
    committed = {}
    with ExitStack() as stack:
        loads = {
            kind: stack.enter_context(Load(portal, who, by_token=by_token)) for kind, who in admitted.items()
        }
        assert eventually(lambda: all(load.allowed > 20 for load in loads.values()))
        for kind, revoke in kinds.items():
            revoke(admitted[kind])
            committed[kind] = time.monotonic()
        assert eventually(lambda: all(load.refused > 20 for load in loads.values()))
        time.sleep(1)

    late = {kind: load.last_allowed - committed[kind] for kind, load in loads.items()}
    assert {kind for kind in late if late[kind] > BAR} == set()


@pytest.mark.parametrize("by_token", [False, True], ids=["session", "token"])
def test_a_membership_ends_to_the_second_in_warm_memory(
    portal: Portal, who: Admitted, by_token: bool
) -> None:
    """No row changes at that moment, and no background job runs: each worker knows the time."""
    with Load(portal, who, by_token=by_token) as load:
        assert eventually(lambda: load.allowed > 20)
        end = int(time.time()) + 4
        who.user.memberships.update(ends_at=datetime.fromtimestamp(end, UTC))
        ended = time.monotonic() + end - time.time()
        assert eventually(lambda: time.monotonic() > ended)
        before = load.refused  # including those from before the application was known
        assert eventually(lambda: load.refused > before + 20)

    assert load.last_allowed < ended
    assert load.last_allowed > ended - 2
    assert Membership.everything.filter(user=who.user).exists()


def test_applications_receive_a_groups_new_name_after_a_second(portal: Portal, who: Admitted) -> None:
    with Load(portal, who) as load:
        assert eventually(lambda: load.allowed > 20)
        Group.objects.filter(name=who.group).update(name=f"{who.group} renamed")
        committed = time.monotonic()
        time.sleep(1.2)

    late = {groups for asked, groups in load.group_headers if asked > committed + BAR}
    assert late == {f"{who.group} renamed"}


def asked_at_once(connections: list[Connection], who: Admitted) -> list[int]:
    """Ask on all connections at the same time, and return the statuses."""
    with ThreadPoolExecutor(len(connections)) as pool:
        replies = pool.map(lambda one: one.check(who.cookie, origin=who.origin), connections)
        return [reply.status for reply in replies]


@pytest.fixture
def connections(portal: Portal, who: Admitted) -> Iterator[list[Connection]]:
    """Connections to both workers. Each has the session in memory."""
    opened = [portal.connect() for _ in range(8)]
    time.sleep(1)  # a new application also takes up to a second
    assert asked_at_once(opened, who) == [200] * len(opened)
    yield opened
    for one in opened:
        one.socket.close()


def test_an_idle_worker_refuses_a_session_that_ended_meanwhile(
    connections: list[Connection], who: Admitted
) -> None:
    time.sleep(2.5)  # the reading thread continues for 0.8 s, and each reading is valid for as long
    who.user.groups.clear()

    assert asked_at_once(connections, who) == [403] * len(connections)


def test_a_stopped_worker_refuses_a_session_that_ended_meanwhile(
    portal: Portal, connections: list[Connection], who: Admitted
) -> None:
    for worker in portal.workers():
        os.kill(worker, signal.SIGSTOP)
    who.user.groups.clear()
    time.sleep(1)
    for worker in portal.workers():
        os.kill(worker, signal.SIGCONT)

    assert asked_at_once(connections, who) == [403] * len(connections)


@pytest.mark.parametrize("pause", [0.0, 0.3, 0.6, 0.9, 1.2])
def test_every_worker_knows_a_sign_out_at_the_next_click(
    connections: list[Connection], who: Admitted, pause: float
) -> None:
    """This holds even if the workers had nothing to do for a while."""
    assert asked_at_once(connections, who) == [200] * len(connections)
    time.sleep(pause)

    connections[0].send(
        check_bytes(who.cookie, origin=who.origin, check="/authgate/sign_out", Sec_Fetch_Site="same-origin")
    )
    assert connections[0].reply().status == 302

    assert asked_at_once(connections, who) == [401] * len(connections)
