"""A prepared query loads the same as its queryset."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.machines import loader as machines
from accounts.machines.api_tokens import make_token
from authgate.models import AuditEvent, GateSession, SignIn
from authgate.prepared import PreparedInsert, PreparedLookup
from authgate.sign_ins import open_gate, sign_in_of
from authgate.worker import loader
from openid.client_requests import client_named
from openid.models import Client
from tests.factories import ApplicationFactory, GroupFactory, RuleFactory, UserFactory
from tests.front.serving import WIKI, Cast, Database, begin
from tests.openid.relying_party import register


@pytest.fixture
def digests(database: Database, people: Cast) -> list[bytes]:
    """The digests of 600 gate sessions, and one that belongs to no session."""
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
def test_a_prepared_query_loads_the_rows_and_types_of_its_queryset(digests: list[bytes], number: int) -> None:
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
def test_a_prepared_query_loads_the_api_tokens_of_its_queryset(
    for_staff: bool, people: Cast, settings: Settings
) -> None:
    """alice is not a member of staff. carol is, and has no second factor."""
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
def test_one_query_loads_512_digests(digests: list[bytes], number: int, queries: int) -> None:
    with CaptureQueriesContext(connection) as asked:
        list(loader._SESSIONS.rows(digests[:number]))

    assert len(asked) == queries


def test_no_digests_need_no_query(digests: list[bytes]) -> None:
    with CaptureQueriesContext(connection) as asked:
        assert list(loader._SESSIONS.rows([])) == []

    assert len(asked) == 0


# ---- look-ups of a single row -----------------------------------------------------------------------------


def _columns(row: Model) -> dict[str, tuple[type, object]]:
    values = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return {name: (type(value), value) for name, value in values.items()}


def test_a_sign_in_is_read_as_the_orm_reads_it(people: Cast) -> None:
    SignIn.objects.filter(user=people.alice).update(
        session_digest="0" * 64, methods=["password", "totp"], second_factor_at=timezone.now()
    )
    expected = SignIn.objects.select_related("user").get(session_digest="0" * 64)

    with CaptureQueriesContext(connection) as asked:
        found = sign_in_of("0" * 64)
        assert found is not None
        assert _columns(found) == _columns(expected)
        assert _columns(found.user) == _columns(expected.user)
        assert getattr(found, "in_strict_group") is False  # noqa: B009

    assert len(asked) == 1
    assert sign_in_of("1" * 64) is None


def test_a_client_is_read_as_the_orm_reads_it(database: Database) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])
    client = register(wiki).client
    expected = Client.objects.select_related("application").get(pk=client.pk)

    with CaptureQueriesContext(connection) as asked:
        found = client_named(client.client_id)
        assert found is not None
        assert _columns(found) == _columns(expected)
        assert _columns(found.application) == _columns(expected.application)

    assert len(asked) == 1
    assert client_named(client.client_id.upper()) is None
    assert client_named("example 0 7d1c0f6a") is None


def test_compiling_one_application_equals_compiling_all(people: Cast) -> None:
    wiki = ApplicationFactory(name="Pay", origins=["https://pay.example.com"], maintenance=True)
    later = timezone.now() + timedelta(hours=1)
    RuleFactory(application=wiki, path="/a", groups=["staff"], users=[people.bob], expires_at=later)
    RuleFactory(application=wiki, path="/b", groups=["guests"], second_factor=True)
    wiki.owners.add(people.alice)
    wiki.owner_groups.add(GroupFactory(name="staff"))
    wiki.named_groups.add(GroupFactory(name="choir"))
    everything = {each.id: each for each in loader.load_applications()}

    with CaptureQueriesContext(connection) as asked:
        assert loader.load_one(wiki.pk) == everything[wiki.pk]

    assert len(asked) == 2
    assert len(everything) > 1
    assert loader.load_application("https://pay.example.com") == everything[wiki.pk]
    assert loader.load_one(wiki.pk + 1000) is None


def test_a_user_without_groups_and_a_deleted_user_have_no_groups(people: Cast) -> None:
    lonely = UserFactory(username="lonely", email="lonely@example.com")

    assert loader.subject_of(lonely).groups == ()
    lonely_pk = lonely.pk
    lonely.delete()
    lonely.pk = lonely_pk
    gone = loader.subject_of(lonely)
    assert (gone.groups, gone.email) == ((), "")


@pytest.mark.parametrize("factor", [None, "second_factor_at", "passkey_at"])
def test_the_user_of_a_session_equals_what_subject_of_loads(factor: str | None, people: Cast) -> None:
    alice, sign_in = people.alice, begin(people.alice)
    alice.groups.add(GroupFactory(name="choir"))
    alice.memberships.filter(group__name="choir").update(ends_at=timezone.now() + timedelta(hours=1))
    alice.memberships.filter(group__name="staff").update(ends_at=timezone.now() - timedelta(seconds=1))
    if factor:
        SignIn.objects.filter(pk=sign_in.pk).update(**{factor: timezone.now()})
    sign_in.refresh_from_db()
    digest = hashlib.sha256(open_gate(sign_in, WIKI).encode()).digest()

    session = loader.load_session(digest)

    assert session is not None
    assert session.subject == loader.subject_of(alice, sign_in)
    assert session.subject.uuid == str(alice.uuid)
    assert [name for _, name in session.subject.groups] == ["choir"]
    assert session.expires_at == sign_in.expires_at.timestamp()
    idle_after = sign_in.idle_timeout + loader.IDLE_SLACK
    assert session.idle_at == sign_in.last_seen_at.timestamp() + idle_after


def test_a_lookup_that_ignores_a_value_is_refused(database: Database) -> None:
    def ignores_its_second(pk: int, now: datetime) -> object:
        return SignIn.objects.filter(pk=pk).values_list("pk")

    with pytest.raises(ValueError, match="no place"):
        PreparedLookup(ignores_its_second, int, datetime).rows(1, timezone.now())  # type: ignore[arg-type]


def test_inserted_rows_equal_those_of_the_orm(database: Database) -> None:
    moment = timezone.now()
    prepared = PreparedInsert(AuditEvent)
    columns = {"at": moment, "kind": "sign_in", "address": "2001:db8::1", "details": {"a": [1, "é"]}}
    first = AuditEvent(**columns)

    prepared.insert(first)
    prepared.insert(AuditEvent(**columns), AuditEvent(**columns))
    AuditEvent(**columns).save()

    expected, *others = [_columns(row) for row in AuditEvent.objects.order_by("-pk")]
    del expected["id"]
    assert len(others) == 3
    assert all({name: row[name] for name in expected} == expected for row in others)
    assert AuditEvent.objects.filter(pk=first.pk).exists()
    first.reason = "changed"
    first.save()
    assert AuditEvent.objects.count() == 4
