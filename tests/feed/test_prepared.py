"""A prepared query loads what its queryset loads."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.machines import loader as machines
from accounts.machines.api_tokens import make_token
from authgate.models import GateSession, SignIn
from authgate.worker import loader
from tests.factories import UserFactory
from tests.front.serving import Cast, Database


@pytest.fixture
def digests(database: Database, people: Cast) -> list[bytes]:
    """The digests of 600 gate sessions, and of one that nobody has."""
    sign_in = SignIn.objects.filter(user__username="alice").first()
    assert sign_in is not None
    found = [number.to_bytes(32, "big") for number in range(1, 601)]
    GateSession.objects.bulk_create(
        GateSession(
            sign_in=sign_in, origin="https://app.example.com", token_digest=each, created_at=timezone.now()
        )
        for each in found
    )
    GateSession.objects.filter(token_digest=found[0]).update(ended_at=timezone.now() + timedelta(seconds=1))
    return [*found, b"\xff" * 32]


@pytest.mark.parametrize("number", [1, 2, 4, 5, 64, 512, 513, 601])
def test_it_loads_the_rows_and_types_of_its_queryset(digests: list[bytes], number: int) -> None:
    wanted = digests[:number]

    rows = list(loader._SESSIONS.rows(wanted))

    expected = list(loader._sessions_of(wanted))
    assert [_plain(row) for row in rows] == [_plain(row) for row in expected]
    assert [[type(value) for value in row] for row in rows] == [
        [type(value) for value in row] for row in expected
    ]


def _plain(row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)


@pytest.mark.parametrize("for_staff", [True, False])
def test_it_loads_the_api_tokens_of_its_queryset(for_staff: bool, people: Cast, settings: Settings) -> None:
    """alice is no member of staff, carol is and has no second factor."""
    settings.IKD_SECOND_FACTOR_FOR_STAFF = for_staff
    carol = UserFactory(username="carol", is_staff=True)
    digests = [
        hashlib.sha256(make_token(user, "a token", [], 3600)[1].encode()).digest()
        for user in (people.alice, people.alice, carol)
    ]

    rows = list(machines._prepared(for_staff).rows(digests))

    assert [_plain(row) for row in rows] == [_plain(row) for row in machines._tokens_of(digests)]
    assert len(rows) >= 2
    assert len(machines.load_tokens(digests)) == (2 if for_staff else 3)


@pytest.mark.parametrize(("number", "queries"), [(1, 1), (512, 1), (601, 2)])
def test_it_asks_once_for_512_digests(digests: list[bytes], number: int, queries: int) -> None:
    with CaptureQueriesContext(connection) as asked:
        list(loader._SESSIONS.rows(digests[:number]))

    assert len(asked) == queries


def test_no_digests_need_no_query(digests: list[bytes]) -> None:
    with CaptureQueriesContext(connection) as asked:
        assert list(loader._SESSIONS.rows([])) == []

    assert len(asked) == 0
