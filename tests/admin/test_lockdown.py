"""Lockdowns of users and applications: what they end, who may use them, the undo, and the command."""

from __future__ import annotations

import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.test import Client
from django.utils import timezone

from accounts import lockdown
from accounts.machines.api_tokens import make_token
from accounts.models import User
from accounts.self_service.password_reset import confirmed_rows
from authgate.models import Application, AuditEvent, GateSession, SignIn
from authgate.sign_ins import begin_sign_in, open_gate
from openid.models import Client as OpenIdClient
from openid.models import Grant, LogoutDelivery
from tests.admin.forms import confirm
from tests.factories import PASSWORD, ApplicationFactory
from tests.openid.relying_party import register

pytestmark = pytest.mark.django_db

USERS = "/admin/accounts/user/"
APPLICATIONS = "/admin/authgate/application/"
WIKI = "https://wiki.example.com"
TEAM = "https://team.apps.example.com"


@pytest.fixture
def wiki(db: None) -> Application:
    return ApplicationFactory(name="Wiki", origins=[WIKI, "https://*.apps.example.com"], groups=["staff"])


@pytest.fixture
def other(db: None) -> Application:
    return ApplicationFactory(name="Other", origins=["https://other.apps.example.com"], groups=["staff"])


def sign_in(user: User, digest: str = "d" * 64) -> SignIn:
    facts: dict[str, Any] = {"address": None, "user_agent": "", "methods": ["password"], "keep": False}
    return begin_sign_in(user, session_digest=digest, **facts)


def act(client: Client, url: str, action: str, row: Any, confirmed: str = "yes") -> Any:
    data = {"_selected_action": [row.pk], "action": action, "confirmed": confirmed}
    answer = client.post(url, data)
    if confirmed:
        answer = confirm(client, answer)
    return client.get(answer["Location"]) if answer.status_code == 302 else answer


def messages_of(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def grant(application: Application, row: SignIn) -> Grant:
    found = OpenIdClient.objects.filter(application=application).first()
    client = found or register(application, backchannel_logout_uri="https://wiki.example.com/logout").client
    now = timezone.now()
    return Grant.objects.create(
        client=client, sign_in=row, sid="s", subject=str(row.user.uuid), auth_time=now, created_at=now
    )


def live_gates() -> set[str]:
    return set(
        GateSession.objects.filter(ended_at=None, sign_in__ended_at=None).values_list("origin", flat=True)
    )


# ---- users ----


def test_a_lockdown_ends_all_access_of_a_user_and_counts_it_in_the_message(
    carols: Client, alice: User, wiki: Application
) -> None:
    row = sign_in(alice)
    open_gate(row, WIKI)
    make_token(alice, "backup", [wiki], 3600)
    grant(wiki, row)

    answer = act(carols, USERS, "lock_down", alice)

    counts, proof = messages_of(answer)
    assert counts.startswith("alice. Ended: sign-ins 1, gate sessions 1, API tokens 1, grants 1. <a ")
    assert re.match(r"Wiki: last hand-over \d+ \w+ \d{4}, .*, closed since \d+ \w+ \d{4}, ", proof)
    alice.refresh_from_db()
    assert not alice.is_active
    assert live_gates() == set()
    assert not alice.api_tokens.filter(ended_at=None).exists()
    assert not Grant.objects.filter(ended_at=None).exists()
    assert LogoutDelivery.objects.count() == 1


def test_a_lockdown_asks_first(carols: Client, alice: User) -> None:
    answer = act(carols, USERS, "lock_down", alice, confirmed="")

    assert b"Lock down these users?" in answer.content
    alice.refresh_from_db()
    assert alice.is_active


def test_undo_enables_the_user_but_restores_no_sign_in(
    carols: Client, alice: User, wiki: Application
) -> None:
    row = sign_in(alice)
    make_token(alice, "backup", [wiki], 3600)
    act(carols, USERS, "lock_down", alice)

    act(carols, USERS, "lift_lockdown", alice)

    alice.refresh_from_db()
    row.refresh_from_db()
    assert (alice.is_active, alice.locked_down_at) == (True, None)
    assert row.ended_at is not None
    assert not alice.api_tokens.filter(ended_at=None).exists()
    kinds = ["locked_down", "lockdown_lifted"]
    events = AuditEvent.objects.filter(kind__in=kinds).order_by("pk")
    assert [(event.kind, event.actor, event.subject) for event in events] == [
        (kind, "carol", "alice") for kind in kinds
    ]


def test_undo_does_not_enable_a_user_who_was_disabled_before(carols: Client, dave: User) -> None:
    act(carols, USERS, "lock_down", dave)

    answer = act(carols, USERS, "lift_lockdown", dave)

    dave.refresh_from_db()
    assert not dave.is_active
    assert messages_of(answer) == ["dave is not locked down. Nothing was changed."]


def test_disabling_a_locked_down_user_ends_the_undo(carols: Client, alice: User) -> None:
    act(carols, USERS, "lock_down", alice)
    act(carols, USERS, "disable", alice)

    act(carols, USERS, "lift_lockdown", alice)

    alice.refresh_from_db()
    assert not alice.is_active


def test_a_new_password_does_not_end_a_lockdown(carols: Client, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(
        is_active=False, locked_at=timezone.now(), unlock_address="alice@example.com"
    )
    act(carols, USERS, "lock_down", alice)
    assert confirmed_rows("alice@example.com") == []

    alice.refresh_from_db()
    alice.set_password(PASSWORD)
    alice.save(update_fields=["password"])

    alice.refresh_from_db()
    assert not alice.is_active


def test_undo_does_not_unlock_an_account_that_its_user_locked(carols: Client, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False, locked_at=timezone.now())
    act(carols, USERS, "lock_down", alice)

    act(carols, USERS, "lift_lockdown", alice)

    alice.refresh_from_db()
    assert not alice.is_active and alice.locked_at is not None and alice.locked_down_at is None


def test_no_row_is_enabled_and_locked_down(alice: User, wiki: Application) -> None:
    lockdown.lock_down_user(alice, by="x")
    with pytest.raises(IntegrityError):
        User.objects.filter(pk=alice.pk).update(is_active=True)


def test_the_page_has_the_button_and_then_its_undo(carols: Client, alice: User) -> None:
    page = f"{USERS}{alice.pk}/change/"
    assert 'value="lock_down"' in carols.get(page).content.decode()

    act(carols, USERS, "lock_down", alice)

    after = carols.get(page).content.decode()
    assert 'value="lift_lockdown"' in after
    assert "Locked down by an administrator since" in after


@pytest.mark.parametrize("action", ["lock_down", "lift_lockdown"])
def test_staff_cannot_lock_down_a_superuser_nor_undo_it(sams: Client, carol: User, action: str) -> None:
    is_locked = action == "lift_lockdown"
    if is_locked:
        lockdown.lock_down_user(carol, by="x")

    act(sams, USERS, action, carol)

    carol.refresh_from_db()
    assert carol.is_active is not is_locked


def test_staff_lock_down_ordinary_users(sams: Client, alice: User) -> None:
    act(sams, USERS, "lock_down", alice)

    alice.refresh_from_db()
    assert alice.locked_down_at is not None


def test_nobody_can_lock_down_themselves_or_the_last_superuser(carols: Client, carol: User) -> None:
    act(carols, USERS, "lock_down", carol)

    carol.refresh_from_db()
    assert carol.is_active


# ---- applications ----


def test_an_application_is_locked_down_and_enabled_again(
    carols: Client, alice: User, bob: User, wiki: Application, other: Application
) -> None:
    alices, bobs = sign_in(alice), sign_in(bob, "b" * 64)
    for row, origin in ((alices, WIKI), (bobs, TEAM), (bobs, "https://other.apps.example.com")):
        open_gate(row, origin)
    both, _ = make_token(alice, "both", [wiki, other], 3600)
    grants = [grant(wiki, alices), grant(other, alices)]

    answer = act(carols, APPLICATIONS, "lock_down_applications", wiki)

    assert messages_of(answer)[0] == "Wiki. Ended: sign-ins 0, gate sessions 2, API tokens 1, grants 1."
    wiki.refresh_from_db()
    assert not wiki.enabled
    assert live_gates() == {"https://other.apps.example.com"}
    assert list(both.applications.all()) == [other]
    assert [Grant.objects.get(pk=each.pk).ended_at is None for each in grants] == [False, True]

    act(carols, APPLICATIONS, "lift_applications", wiki)

    wiki.refresh_from_db()
    assert (wiki.enabled, wiki.locked_down_at) == (True, None)
    assert live_gates() == {"https://other.apps.example.com"}
    assert list(both.applications.all()) == [other]


def test_undo_does_not_enable_an_application_that_was_disabled_before(
    carols: Client, wiki: Application
) -> None:
    Application.objects.update(enabled=False)
    act(carols, APPLICATIONS, "lock_down_applications", wiki)

    act(carols, APPLICATIONS, "lift_applications", wiki)

    wiki.refresh_from_db()
    assert not wiki.enabled


def test_all_other_users_of_an_application_are_signed_out(
    carols: Client, carol: User, alice: User, wiki: Application
) -> None:
    mine = SignIn.objects.get(user=carol)
    open_gate(mine, WIKI)
    grants = [grant(wiki, mine), grant(wiki, sign_in(alice))]
    open_gate(grants[1].sign_in, TEAM)

    act(carols, APPLICATIONS, "sign_others_out", wiki)

    assert live_gates() == {WIKI}
    assert [Grant.objects.get(pk=each.pk).ended_at is None for each in grants] == [True, False]
    wiki.refresh_from_db()
    assert wiki.enabled

    act(carols, APPLICATIONS, "sign_everybody_out", wiki)

    assert live_gates() == set()
    assert AuditEvent.objects.filter(kind="signed_out_of_application", application="Wiki").count() == 2


def test_all_selected_sign_ins_except_the_own_one_are_ended(carols: Client, carol: User, alice: User) -> None:
    hers = sign_in(alice)
    keys = [hers.pk, SignIn.objects.get(user=carol).pk]
    data = {"_selected_action": keys, "action": "end_others", "confirmed": "yes"}

    carols.post("/admin/authgate/signin/", data)

    hers.refresh_from_db()
    assert hers.ended_at is not None
    assert carols.get("/").status_code == 200


def test_a_lockdown_reports_the_last_use_of_each_application(
    alice: User, wiki: Application, other: Application
) -> None:
    first, second = sign_in(alice), sign_in(alice, "e" * 64)
    for row, origin in ((first, WIKI), (second, TEAM), (second, "https://unknown.example.net")):
        open_gate(row, origin)
    used = timezone.now() + timedelta(minutes=5)
    SignIn.objects.filter(pk=first.pk).update(last_seen_at=used)

    ended = lockdown.lock_down_user(alice, by="x")

    assert [entry.application for entry in ended.entries] == ["Wiki", "https://unknown.example.net"]
    assert ended.entries[0].used_at == used
    event = AuditEvent.objects.get(kind="locked_down")
    assert event.details["last_used"]["Wiki"] == used.isoformat(timespec="seconds")


# ---- the command ----


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("lockdown", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_the_command_locks_a_user_down_and_undoes_it(alice: User) -> None:
    open_gate(sign_in(alice), WIKI)

    told = run("ALICE")

    alice.refresh_from_db()
    assert told.startswith(
        "Ended: sign-ins 1, gate sessions 1, API tokens 0, grants 0.\nhttps://wiki.example.com: "
    )
    assert not alice.is_active
    run("alice", "--undo")
    alice.refresh_from_db()
    assert alice.is_active
    assert AuditEvent.objects.get(kind="lockdown_lifted").actor == "manage.py"


def test_the_command_locks_the_last_superuser_down_with_a_warning(carol: User) -> None:
    assert "No superuser can sign in now." in run("carol")

    carol.refresh_from_db()
    assert not carol.is_active


def test_the_command_locks_an_application_down_and_undoes_it(wiki: Application) -> None:
    run("--application", "Wiki")
    wiki.refresh_from_db()
    assert not wiki.enabled

    run("--application", "Wiki", "--undo")
    wiki.refresh_from_db()
    assert wiki.enabled


def test_the_command_signs_everybody_out(alice: User, wiki: Application) -> None:
    open_gate(sign_in(alice), WIKI)

    told = run("--application", "Wiki", "--sign-out")

    wiki.refresh_from_db()
    assert wiki.enabled and live_gates() == set()
    assert told.startswith("Ended: sign-ins 0, gate sessions 1,")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("alice", "--application", "Wiki"),
        ("nobody",),
        ("--application", "None"),
        ("alice", "--undo"),
        ("alice", "--sign-out"),
        ("--application", "Wiki", "--sign-out", "--undo"),
    ],
    ids=" ".join,
)
def test_wrong_arguments_change_nothing(alice: User, wiki: Application, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run(*arguments)

    alice.refresh_from_db()
    wiki.refresh_from_db()
    assert alice.is_active and wiki.enabled
