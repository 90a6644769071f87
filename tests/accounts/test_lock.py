"""The link "this was not me" locks an account without a sign-in, and gives no access."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.core import mail
from django.core.cache import cache
from django.core.management import call_command
from django.db import IntegrityError
from django.test import Client
from django.utils import timezone

from accounts import lock_links, mails
from accounts.machines.api_tokens import make_token
from accounts.models import LockLink, RememberedDevice, User
from accounts.onboarding import first_administrator
from accounts.self_service.lock import lock
from authgate.logs.masking import masked
from authgate.models import AuditEvent, SignIn
from openid.models import Grant
from tests.accounts.conftest import PORTAL, PortalClient
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import ApplicationFactory
from tests.openid.relying_party import register

pytestmark = pytest.mark.django_db

NEW = "an even longer horse"
RESET = "/accounts/password/reset/"


@pytest.fixture(autouse=True)
def empty_cache(db: None) -> None:
    cache.clear()


def link_to_lock(user: User, kind: str = "new_device", to: str = "") -> str:
    """Return the path of the link in a mail about this user."""
    mails.notify(user, kind, "203.0.113.7", to=to)
    return lock_path(mail.outbox[-1])


def lock_path(message: Any) -> str:
    (found,) = set(re.findall(rf"{PORTAL}(/accounts/lock/\S+/)", str(message.body)))
    return str(found)


def reset_paths() -> list[str]:
    bodies = "".join(str(message.body) for message in mail.outbox)
    return re.findall(rf"{PORTAL}({RESET}key/\S+)", bodies)


def choose(client: Client, path: str) -> Any:
    form = client.get(path)
    if form.status_code != 302:
        return form
    return client.post(form["Location"], {"password1": NEW, "password2": NEW})


def is_locked(user: User) -> bool:
    user.refresh_from_db()
    return user.locked_at is not None and not user.is_active


# ---- which mails have the link ----


@pytest.mark.parametrize("kind", sorted(set(mails.KINDS) - set(mails.WITHOUT_LOCK)))
def test_a_mail_about_a_change_has_a_link(alice: User, kind: str) -> None:
    path = link_to_lock(alice, kind)

    html = str(mail.outbox[0].alternatives[0][0])
    assert html.count(f"{PORTAL}{path}") == 1


@pytest.mark.parametrize("kind", mails.WITHOUT_LOCK)
def test_a_mail_that_the_user_asked_for_has_no_link(alice: User, kind: str) -> None:
    mails.notify(alice, kind)

    assert "/accounts/lock/" not in str(mail.outbox[0].body)
    assert LockLink.objects.count() == 0


def test_a_new_sign_in_sends_a_link_that_works(client: Client, other_browser: Client, alice: User) -> None:
    sign_in(client, "alice")
    sign_in(other_browser, "alice", address="198.51.100.9")

    client.post(lock_path(mail.outbox[-1]))

    assert not is_signed_in(other_browser)
    assert is_locked(alice)


# ---- what the link does ----


def test_opening_the_link_changes_nothing(client: Client, alice: User) -> None:
    path = link_to_lock(alice)

    pages = [client.get(path), client.get(path), client.head(path)]

    assert [page.status_code for page in pages] == [200, 200, 200]
    assert not is_locked(alice)


def test_the_link_ends_sign_ins_tokens_grants_and_remembered_devices(
    client: Client, other_browser: Client, alice: User
) -> None:
    sign_in(other_browser, "alice")
    now = timezone.now()
    wiki = ApplicationFactory(name="Wiki")
    make_token(alice, "backup", [wiki], 3600)
    RememberedDevice.objects.create(
        user=alice, token_digest=b"x" * 32, created_at=now, expires_at=now + timedelta(days=9)
    )
    grant = give_grant(alice, wiki)

    answer = client.post(link_to_lock(alice))

    assert (answer.status_code, answer["Location"]) == (302, "/accounts/locked/")
    assert not is_signed_in(other_browser)
    assert not alice.sign_ins.filter(ended_at=None).exists()
    assert not alice.api_tokens.filter(ended_at=None).exists()
    assert not alice.remembered_devices.exists()
    grant.refresh_from_db()
    assert grant.ended_at is not None


def give_grant(user: User, application: Any) -> Grant:
    now = timezone.now()
    return Grant.objects.create(
        client=register(application).client,
        sign_in=SignIn.objects.get(user=user, ended_at=None),
        sid="s",
        subject=str(user.uuid),
        auth_time=now,
        created_at=now,
    )


def test_a_locked_user_cannot_sign_in_until_there_is_a_new_password(client: Client, alice: User) -> None:
    client.post(link_to_lock(alice))

    sign_in(client, "alice")

    assert not is_signed_in(client)


def test_a_lock_leaves_an_event_and_sends_mails(client: Client, alice: User, carol: User) -> None:
    path = link_to_lock(alice)
    mail.outbox.clear()

    client.post(path, REMOTE_ADDR="127.0.0.1")

    event = AuditEvent.objects.get(kind="account_locked")
    assert (event.subject, event.details) == ("alice", {"sign_ins": 0, "api_tokens": 0})
    to_user, to_carol = sorted(mail.outbox, key=lambda message: message.to)
    assert to_user.to == ["alice@example.com"]
    assert to_carol.to == ["carol@example.com"]
    assert f"{PORTAL}/admin/accounts/user/{alice.pk}/change/" in str(to_carol.body)
    assert "Account: alice" in str(to_carol.body)


def test_administrators_see_locked_accounts_on_their_first_page(
    client: Client, alice: User, carol: User
) -> None:
    client.post(link_to_lock(alice))
    sign_in(client, "carol")

    page = client.get("/admin/").content.decode()

    assert "Locked accounts" in page
    assert "reported changes or sign-ins that they did not make: alice." in page


# ---- once, for a day, for one user ----


def test_the_link_works_once(client: Client, alice: User) -> None:
    path = link_to_lock(alice)
    client.post(path)
    User.objects.filter(pk=alice.pk).update(is_active=True, locked_at=None)

    answers = [client.get(path), client.post(path)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert not is_locked(alice)


def test_the_link_works_for_a_day(client: Client, alice: User) -> None:
    path = link_to_lock(alice)
    with time_machine.travel(timezone.now() + timedelta(days=1, seconds=1), tick=False):
        late = client.post(path)
        link_to_lock(alice)

    assert late.status_code == 404
    assert not is_locked(alice)
    assert LockLink.objects.count() == 1


@pytest.mark.parametrize("token", ["x", "x" * 43, "x" * 300, "%00" * 43, "\u017f" * 43])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_forged_link_is_not_found(client: Client, alice: User, token: str, method: str) -> None:
    assert getattr(client, method)(f"/accounts/lock/{token}/").status_code == 404


def test_the_link_locks_its_user_whichever_user_opens_it(client: Client, alice: User, bob: User) -> None:
    sign_in(client, "bob")

    client.post(link_to_lock(alice), {"user": bob.pk, "username": "bob"})

    assert is_locked(alice)
    assert not is_locked(bob)
    assert is_signed_in(client)


def test_the_link_signs_nobody_in(client: Client, alice: User) -> None:
    client.post(link_to_lock(alice))

    assert not is_signed_in(client)
    assert not alice.sign_ins.exists()


def test_a_form_on_another_site_locks_nobody(alice: User) -> None:
    strict = PortalClient(HTTP_HOST="sso.example.com", enforce_csrf_checks=True)

    answer = strict.post(link_to_lock(alice))

    assert answer.status_code == 403
    assert not is_locked(alice)


def test_one_of_two_simultaneous_requests_counts(alice: User) -> None:
    token = link_to_lock(alice).split("/")[-2]
    links = [lock_links.link_of(token) for _ in range(2)]

    assert [lock(link, None) for link in links if link] == [True, False]
    assert AuditEvent.objects.filter(kind="account_locked").count() == 1


# ---- no token elsewhere ----


def test_the_token_appears_in_no_log_line_row_or_referer(client: Client, alice: User) -> None:
    path = link_to_lock(alice)
    token = path.strip("/").rpartition("/")[2]

    page = client.get(path)
    answer = client.post(path)

    assert token not in masked(f"GET {path} 200")
    assert token.encode() not in bytes(LockLink.objects.get().token_digest)
    assert {page["Referrer-Policy"], answer["Referrer-Policy"]} == {"strict-origin"}
    assert not any(token in str(event.__dict__) for event in AuditEvent.objects.all())


# ---- how an account is unlocked ----


def test_a_new_password_by_mail_unlocks_the_account(client: Client, alice: User) -> None:
    client.post(link_to_lock(alice))
    client.post(RESET, {"email": "alice@example.com"})

    choose(client, reset_paths()[-1])

    sign_in(client, "alice", NEW)
    assert is_signed_in(client)
    alice.refresh_from_db()
    assert (alice.locked_at, alice.unlock_address) == (None, "")


def test_a_new_password_from_an_administrator_unlocks_the_account(
    client: Client, alice: User, carol: User
) -> None:
    client.post(link_to_lock(alice))
    sign_in(client, "carol")

    page = f"/admin/accounts/user/{alice.pk}/password/"
    client.post(page, {"usable_password": "true", "password1": NEW, "password2": NEW})

    alice.refresh_from_db()
    assert alice.is_active and alice.check_password(NEW)


def test_a_new_password_from_the_command_line_unlocks_the_account(
    client: Client, alice: User, monkeypatch: Any
) -> None:
    from django.contrib.auth.management.commands import changepassword

    client.post(link_to_lock(alice))
    monkeypatch.setattr(changepassword.getpass, "getpass", lambda *_, **__: NEW)

    call_command("changepassword", "alice")

    assert not is_locked(alice)


def test_a_password_link_sent_before_the_lock_is_invalid(client: Client, alice: User) -> None:
    client.post(RESET, {"email": "alice@example.com"})
    (earlier,) = reset_paths()
    client.post(link_to_lock(alice))

    page = choose(client, earlier)

    assert "no longer works" in page.content.decode()
    assert is_locked(alice)


def add_address(user: User) -> None:
    EmailAddress.objects.create(user=user, email="evil@example.com", verified=True)


def add_new_address(user: User) -> None:
    add_address(user)
    AuditEvent.objects.create(at=timezone.now(), kind="address_added", subject=user.username)


def add_passkey(user: User) -> None:
    Authenticator.objects.create(user=user, type="webauthn", data={"name": "evil", "credential": {}})


def change_address(user: User) -> None:
    EmailAddress.objects.filter(user=user).update(email="evil@example.com")


def remove_password(user: User) -> None:
    user.set_unusable_password()
    user.save(update_fields=["password"])


def test_another_address_of_the_account_gets_no_password_link(client: Client, alice: User) -> None:
    add_address(alice)
    client.post(link_to_lock(alice))

    client.post(RESET, {"email": "evil@example.com"})

    assert reset_paths() == []


@pytest.mark.parametrize(
    "attack", [add_new_address, add_passkey, change_address, remove_password], ids=lambda each: each.__name__
)
@pytest.mark.parametrize("email", ["alice@example.com", "evil@example.com"])
def test_an_account_that_an_attacker_changed_is_not_unlocked_by_mail(
    client: Client, alice: User, attack: Any, email: str
) -> None:
    attack(alice)
    client.post(link_to_lock(alice))

    client.post(RESET, {"email": email})

    assert is_locked(alice)
    assert reset_paths() == []


def test_two_locks_from_different_addresses_need_an_administrator(client: Client, alice: User) -> None:
    add_address(alice)
    paths = [link_to_lock(alice, to="evil@example.com"), link_to_lock(alice)]
    for path in paths:
        client.post(path)

    for email in ("evil@example.com", "alice@example.com"):
        client.post(RESET, {"email": email})

    assert reset_paths() == []


def test_a_disabled_user_is_not_enabled_by_a_mail(client: Client, dave: User) -> None:
    client.post(link_to_lock(dave))
    client.post(RESET, {"email": "dave@example.com"})

    dave.set_password(NEW)
    dave.save(update_fields=["password"])

    dave.refresh_from_db()
    assert (dave.is_active, dave.locked_at) == (False, None)
    assert reset_paths() == []


def test_a_locked_user_whom_an_administrator_disables_stays_disabled(
    client: Client, alice: User, carol: User
) -> None:
    client.post(link_to_lock(alice))
    sign_in(client, "carol")
    chosen = {"action": "disable", "_selected_action": [alice.pk], "confirmed": "yes"}

    client.post("/admin/accounts/user/", chosen)

    client.post(RESET, {"email": "alice@example.com"})
    assert reset_paths() == []
    alice.refresh_from_db()
    assert (alice.is_active, alice.locked_at) == (False, None)


def test_no_row_is_enabled_and_locked(client: Client, alice: User) -> None:
    client.post(link_to_lock(alice))

    with pytest.raises(IntegrityError):
        User.objects.filter(pk=alice.pk).update(is_active=True)


# ---- superusers ----


def test_the_last_superuser_is_locked_too_and_unlocked_by_mail(client: Client, carol: User) -> None:
    client.post(link_to_lock(carol))

    assert is_locked(carol)
    assert not first_administrator.is_needed()
    client.post(RESET, {"email": "carol@example.com"})
    choose(client, reset_paths()[-1])
    sign_in(client, "carol", NEW)
    assert is_signed_in(client)
