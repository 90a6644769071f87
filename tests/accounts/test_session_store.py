from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import UpdateError
from django.db import DatabaseError, DataError, OperationalError, connection
from django.utils import timezone

from accounts.models import PortalSession, User
from accounts.session_store import SessionStore, digest_of
from authgate.models import SignIn
from authgate.sign_ins import begin_sign_in

pytestmark = pytest.mark.django_db


def saved(**data: str) -> SessionStore:
    store = SessionStore()
    store.update(data)
    store.save()
    return store


def test_a_session_is_found_by_its_key() -> None:
    store = saved(colour="green")

    found = SessionStore(store.session_key)

    assert found["colour"] == "green"


def test_the_table_holds_the_digest_and_not_the_key() -> None:
    store = saved(colour="green")

    row = PortalSession.objects.get()

    assert row.session_key == digest_of(store.session_key) == store.digest
    assert store.session_key not in row.session_data


async def _saved_and_moved() -> SessionStore:
    store = SessionStore()
    await store.aset("colour", "green")
    await store.asave()
    await store.acycle_key()
    await store.asave()
    return store


def test_asynchronous_callers_store_the_digest_too() -> None:
    """Django's own asynchronous methods would store the key itself."""
    store = async_to_sync(_saved_and_moved)()

    assert PortalSession.objects.get().session_key == digest_of(store.session_key)
    assert async_to_sync(SessionStore(store.session_key).aget)("colour") == "green"
    assert async_to_sync(store.aexists)(store.session_key)


def test_a_session_flushed_by_an_asynchronous_caller_ends_its_sign_in(alice: User) -> None:
    store = saved(colour="green")
    begin_sign_in(alice, session_digest=store.digest, address=None, user_agent="", methods=[], keep=False)

    async_to_sync(store.aflush)()

    assert SignIn.objects.get().ended_at is not None
    assert not PortalSession.objects.exists()


@pytest.mark.parametrize(
    "trouble", [OperationalError("locked"), DataError("too long")], ids=["locked", "long"]
)
def test_a_database_error_does_not_count_as_a_deleted_session(trouble: DatabaseError) -> None:
    store = saved(colour="green")

    def fail(*args: Any) -> None:
        raise trouble

    with connection.execute_wrapper(fail), pytest.raises(type(trouble)):
        store.save()


def test_the_stored_digest_does_not_work_as_a_key() -> None:
    store = saved(colour="green")

    replayed = SessionStore(store.digest)

    assert replayed.session_key is None
    assert replayed.get("colour") is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "short",
        "a" * 42,
        "a" * 44,
        "a" * 42 + "\n",
        "a" * 42 + "é",
        "a" * 42 + "=",
        "../" + "a" * 40,
        None,
    ],
    ids=repr,
)
def test_a_malformed_key_is_not_looked_up(key: str | None, django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert SessionStore(key).get("colour") is None


def test_an_unknown_key_creates_no_session() -> None:
    invented = SessionStore("a" * 43)

    assert invented.get("colour") is None
    assert invented.session_key is None


def test_keys_have_256_bits_and_are_all_different() -> None:
    keys = {saved().session_key for _ in range(50)}

    assert len(keys) == 50
    assert all(key is not None and len(key) == 43 for key in keys)


def test_an_expired_session_is_empty() -> None:
    store = saved(colour="green")
    PortalSession.objects.update(expire_date=timezone.now() - timedelta(seconds=1))

    assert SessionStore(store.session_key).get("colour") is None


def test_expired_sessions_are_cleared_and_others_stay() -> None:
    old, new = saved(age="old"), saved(age="new")
    PortalSession.objects.filter(session_key=old.digest).update(
        expire_date=timezone.now() - timedelta(seconds=1)
    )

    SessionStore.clear_expired()

    assert not SessionStore().exists(old.session_key)
    assert SessionStore().exists(new.session_key)


def test_a_replaced_key_no_longer_works() -> None:
    store = saved(colour="green")
    before = store.session_key

    store.cycle_key()
    store.save()

    assert SessionStore(before).get("colour") is None
    assert SessionStore(store.session_key)["colour"] == "green"


def test_saving_does_not_recreate_a_session_deleted_meanwhile() -> None:
    store = saved(colour="green")
    SessionStore().delete(store.session_key)

    store["colour"] = "red"
    with pytest.raises(UpdateError):
        store.save()

    assert not PortalSession.objects.exists()


def test_a_flushed_session_is_deleted() -> None:
    store = saved(colour="green")

    store.flush()

    assert not PortalSession.objects.exists()


def test_a_digest_fits_into_its_column() -> None:
    """SQLite stored longer digests. On PostgreSQL, nobody could sign in."""
    column = PortalSession._meta.get_field("session_key")

    assert column.max_length == len(digest_of("any key"))
