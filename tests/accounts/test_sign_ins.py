"""A portal session is valid only while its sign-in is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import PortalSession, User
from accounts.session_store import SessionStore, digest_of
from authgate.models import AuditEvent, SignIn
from authgate.sign_ins import end_sign_ins
from authgate.worker.write_behind import writer
from tests.accounts.signing_in import is_signed_in, session_key, sign_in, use_session


def test_a_sign_in_is_stored_under_the_digest_of_the_final_session_key(client: Client, alice: User) -> None:
    sign_in(client, "alice", address="127.0.0.9")

    begun = SignIn.objects.get()

    assert begun.user == alice
    assert begun.session_digest == digest_of(session_key(client))
    assert begun.methods == ["password"]
    assert begun.address == "127.0.0.9"


def test_a_session_key_from_before_the_sign_in_no_longer_works(
    client: Client, other_browser: Client, alice: User
) -> None:
    planted = SessionStore()
    planted["planted"] = True
    planted.save()
    use_session(client, planted.session_key)

    sign_in(client, "alice")

    use_session(other_browser, planted.session_key)
    assert session_key(client) != planted.session_key
    assert is_signed_in(client)
    assert not is_signed_in(other_browser)


def test_a_digest_from_the_database_does_not_work_as_a_cookie(
    client: Client, other_browser: Client, alice: User
) -> None:
    sign_in(client, "alice")

    use_session(other_browser, PortalSession.objects.get().session_key)

    assert not is_signed_in(other_browser)


def test_the_cookie_of_an_ended_sign_in_no_longer_works(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    assert is_signed_in(client)

    end_sign_ins(SignIn.objects.all())

    assert not is_signed_in(client)
    assert not PortalSession.objects.exists()


def test_an_expired_sign_in_ends_the_session(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    SignIn.objects.update(expires_at=timezone.now())

    assert not is_signed_in(client)


def test_an_idle_sign_in_ends_the_session(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    begun = SignIn.objects.get()

    SignIn.objects.update(last_seen_at=timezone.now() - timedelta(seconds=begun.idle_timeout))

    assert not is_signed_in(client)


def test_a_session_without_a_sign_in_is_not_signed_in(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    SignIn.objects.all().delete()

    assert not is_signed_in(client)


def test_the_sign_in_of_another_user_does_not_count_for_the_session(
    client: Client, alice: User, bob: User
) -> None:
    sign_in(client, "alice")

    SignIn.objects.update(user=bob)

    assert not is_signed_in(client)
    assert SignIn.objects.get().ended_at is not None


def test_a_user_who_is_disabled_meanwhile_is_signed_out_at_once(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    User.objects.filter(pk=alice.pk).update(is_active=False)

    assert not is_signed_in(client)


def test_a_user_enabled_again_does_not_get_the_old_sign_in_back(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    alice.is_active = False
    alice.save(update_fields=["is_active"])
    alice.is_active = True
    alice.save(update_fields=["is_active"])

    assert not is_signed_in(client)


@pytest.mark.parametrize("unusable", [False, True])
def test_a_new_password_ends_every_sign_in(client: Client, alice: User, unusable: bool) -> None:
    sign_in(client, "alice")

    if unusable:
        alice.set_unusable_password()
    else:
        alice.set_password("another horse battery")
    alice.save()

    assert SignIn.objects.get().ended_at is not None
    assert not is_signed_in(client)


def test_a_password_changed_directly_in_the_database_ends_the_session_and_its_sign_in(
    client: Client, alice: User
) -> None:
    sign_in(client, "alice")

    User.objects.filter(pk=alice.pk).update(password="!elsewhere")

    assert not is_signed_in(client)
    assert SignIn.objects.get().ended_at is not None


def test_a_renamed_user_stays_signed_in(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    alice.display_name = "Alice L."
    alice.save()

    assert is_signed_in(client)


def test_the_same_user_signing_in_again_ends_the_earlier_sign_in(client: Client, alice: User) -> None:
    client.force_login(alice)
    before = session_key(client)

    client.force_login(alice)

    earlier, later = SignIn.objects.order_by("pk")
    assert session_key(client) != before
    assert earlier.ended_at is not None
    assert later.session_digest == digest_of(session_key(client))
    assert is_signed_in(client)


def test_another_user_signing_in_ends_the_earlier_sign_in(client: Client, alice: User, bob: User) -> None:
    client.force_login(alice)

    client.force_login(bob)

    live = SignIn.objects.get(ended_at=None)
    assert live.user == bob
    assert live.session_digest == digest_of(session_key(client))


def test_two_browsers_have_two_sign_ins(client: Client, other_browser: Client, alice: User) -> None:
    sign_in(client, "alice")
    sign_in(other_browser, "alice")

    client.post("/accounts/logout/")

    assert not is_signed_in(client)
    assert is_signed_in(other_browser)


def test_the_last_use_is_stored_at_most_once_a_minute(client: Client, alice: User) -> None:
    writer.clear()
    sign_in(client, "alice")
    begun = SignIn.objects.get()

    client.get("/signed-out")
    writer.flush()
    soon = SignIn.objects.get().last_seen_at
    SignIn.objects.update(last_seen_at=begun.last_seen_at - timedelta(seconds=61))
    client.get("/signed-out")
    writer.flush()

    assert soon == begun.last_seen_at
    assert begun.last_seen_at - SignIn.objects.get().last_seen_at < timedelta(seconds=15)


@pytest.mark.parametrize(("remember", "lifetime"), [("", 12 * 3600), ("on", 30 * 24 * 3600)])
def test_keep_me_signed_in_sets_the_lifetime(
    client: Client, alice: User, remember: str, lifetime: int
) -> None:
    sign_in(client, "alice", remember=remember)

    begun = SignIn.objects.get()

    assert begun.expires_at - begun.started_at == timedelta(seconds=lifetime)
    assert begun.keep == bool(remember)
    assert client.cookies["__Host-ikd_portal"]["max-age"] == (lifetime if remember else "")


def test_the_cookie_is_host_only_secure_and_hidden_from_scripts(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    cookie = client.cookies["__Host-ikd_portal"]

    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
    assert (cookie["domain"], cookie["path"]) == ("", "/")


def test_signing_in_and_out_leaves_events(client: Client, alice: User) -> None:
    sign_in(client, "alice")
    client.post("/accounts/logout/")

    trail = AuditEvent.objects.order_by("pk").values_list("kind", "actor", "address")

    assert list(trail) == [("sign_in", "alice", "127.0.0.1"), ("sign_out", "alice", "127.0.0.1")]


def test_a_failure_leaves_an_event_without_the_password_or_an_unknown_name(
    client: Client, alice: User
) -> None:
    sign_in(client, "alice", "hunter2-wrong")
    sign_in(client, "my-secret-typed-in-the-wrong-box", "hunter2-wrong")

    events = AuditEvent.objects.order_by("pk")

    assert [(event.kind, event.subject) for event in events] == [
        ("sign_in_failed", "alice"),
        ("sign_in_failed", ""),
    ]
    assert [event.reason for event in events] == ["wrong password", "unknown account"]
    assert not any("hunter2" in str(vars(event)) or "my-secret" in str(vars(event)) for event in events)
