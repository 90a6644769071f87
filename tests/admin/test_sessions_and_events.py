from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db.models import Model
from django.test import Client
from django.utils import timezone

from accounts.models import User
from authgate import audit
from authgate.models import AuditEvent, ConfigurationEvent, GateSession, JournalEntry, SignIn
from authgate.sign_ins import begin_sign_in, open_gate
from tests.factories import UserFactory

SIGN_INS = "/admin/authgate/signin/"
GATES = "/admin/authgate/gatesession/"


def sign_in(user: User, digest: str = "d" * 64, **more: Any) -> SignIn:
    facts = {"address": "192.0.2.7", "user_agent": "Firefox", "methods": ["password"], "keep": False, **more}
    return begin_sign_in(user, session_digest=digest, **facts)


def end(client: Client, url: str, *keys: int, confirmed: str = "yes") -> Any:
    return client.post(url, {"_selected_action": keys, "action": "end_chosen", "confirmed": confirmed})


def is_live(client: Client, found: SignIn) -> bool:
    page = client.get(f"{SIGN_INS}{found.pk}/change/").context["adminform"].model_admin
    return bool(page.is_live(SignIn.objects.select_related("user").get(pk=found.pk)))


def test_ending_a_sign_in_asks_first(carols: Client, alice: User) -> None:
    found = sign_in(alice)

    response = end(carols, SIGN_INS, found.pk, confirmed="")

    found.refresh_from_db()
    assert b"End these sign-ins" in response.content
    assert found.ended_at is None


def test_ending_a_sign_in_signs_the_browser_out_and_is_recorded(
    sams: Client, alice: User, browser_of: Callable[[User], Client]
) -> None:
    alices = browser_of(alice)

    end(sams, SIGN_INS, SignIn.objects.get(user=alice).pk)

    event = AuditEvent.objects.get(kind="session_ended")
    assert alices.get("/").status_code == 302
    assert (event.actor, event.subject) == ("sam", "alice")


def test_an_ended_sign_in_keeps_its_end_time(carols: Client, alice: User) -> None:
    found = sign_in(alice)
    SignIn.objects.filter(pk=found.pk).update(ended_at="2020-01-01T00:00Z")

    end(carols, SIGN_INS, found.pk)

    found.refresh_from_db()
    assert found.ended_at is not None and found.ended_at.year == 2020
    assert not AuditEvent.objects.filter(kind="session_ended").exists()


def test_the_page_of_a_live_sign_in_has_a_button_to_end_it(carols: Client, alice: User) -> None:
    found = sign_in(alice)
    page = f"{SIGN_INS}{found.pk}/change/"

    before = carols.get(page).content
    end(carols, SIGN_INS, found.pk)
    after = carols.get(page).content

    assert b"End this sign-in" in before
    assert b"End this sign-in" not in after


OVER: dict[str, dict[str, Any]] = {
    "ended": {"ended_at": "2020-01-01T00:00Z"},
    "expired": {"expires_at": "2020-01-01T00:00Z"},
    "idle": {"last_seen_at": "2020-01-01T00:00Z"},
}


def test_a_sign_in_is_shown_as_live(carols: Client, alice: User) -> None:
    assert is_live(carols, sign_in(alice))


@pytest.mark.parametrize("change", OVER.values(), ids=OVER)
def test_an_ended_or_expired_sign_in_is_not_shown_as_live(
    carols: Client, alice: User, change: dict[str, Any]
) -> None:
    found = sign_in(alice)
    SignIn.objects.filter(pk=found.pk).update(**change)

    assert not is_live(carols, found)


def test_a_sign_in_of_a_disabled_user_is_not_shown_as_live(carols: Client, dave: User) -> None:
    assert not is_live(carols, sign_in(dave))


def test_ending_a_gate_session_leaves_the_others_and_is_recorded(carols: Client, alice: User) -> None:
    found = sign_in(alice)
    open_gate(found, "https://wiki.example.com")
    open_gate(found, "https://other.example.com")
    wiki = GateSession.objects.get(origin="https://wiki.example.com")

    asked = end(carols, GATES, wiki.pk, confirmed="")
    end(carols, GATES, wiki.pk)

    event = AuditEvent.objects.get(kind="session_ended")
    assert b"get new ones automatically" in asked.content
    assert [gate.origin for gate in GateSession.objects.filter(ended_at=None)] == [
        "https://other.example.com"
    ]
    assert (event.subject, event.details) == ("alice", {"origin": "https://wiki.example.com"})


@pytest.mark.parametrize("url", [SIGN_INS, GATES])
def test_ending_a_session_needs_its_permission(
    alice: User, bob: User, browser_of: Callable[[User], Client], url: str
) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    views = ["view_signin", "view_gatesession"]
    alice.user_permissions.set(Permission.objects.filter(codename__in=views))
    found = sign_in(bob)
    open_gate(found, "https://wiki.example.com")
    key = found.pk if url == SIGN_INS else GateSession.objects.get().pk

    end(browser_of(alice), url, key)

    assert SignIn.objects.get(pk=found.pk).ended_at is None
    assert GateSession.objects.get().ended_at is None


def test_no_digest_is_shown_anywhere(carols: Client, alice: User) -> None:
    found = sign_in(alice, digest="5ec4e7" * 10)
    open_gate(found, "https://wiki.example.com")
    gate = GateSession.objects.get()
    pages = [
        SIGN_INS,
        GATES,
        f"{SIGN_INS}{found.pk}/change/",
        f"{GATES}{gate.pk}/change/",
        f"/admin/accounts/user/{alice.pk}/change/",
    ]

    shown = b"".join(carols.get(page).content for page in pages)

    assert b"wiki.example.com" in shown
    assert b"5ec4e7" not in shown
    assert bytes(gate.token_digest).hex().encode() not in shown
    assert repr(bytes(gate.token_digest)).encode() not in shown


@pytest.mark.parametrize(
    "url",
    [
        f"{SIGN_INS}?session_digest__startswith=d",
        f"{GATES}?token_digest=x",
        f"{GATES}?sign_in__session_digest__startswith=d",
        f"{GATES}?sign_in__user__password__startswith=m",
        f"{SIGN_INS}?user__password__startswith=m",
    ],
)
def test_lists_cannot_be_filtered_by_secrets(carols: Client, url: str) -> None:
    assert carols.get(url).status_code == 400


@pytest.mark.parametrize(
    ("url", "term"), [(SIGN_INS, "alice"), (SIGN_INS, "192.0.2.7"), (GATES, "alice"), (GATES, "192.0.2.7")]
)
def test_sessions_are_found_by_user_and_address(
    carols: Client, alice: User, bob: User, url: str, term: str
) -> None:
    open_gate(sign_in(alice), "https://wiki.example.com")
    open_gate(sign_in(bob, digest="b" * 64, address="192.0.2.8"), "https://wiki.example.com")

    found = carols.get(url, {"q": term}).context["cl"].result_list

    assert len(found) == 1


LOGS: dict[str, type[Model]] = {
    "signin": SignIn,
    "gatesession": GateSession,
    "auditevent": AuditEvent,
    "configurationevent": ConfigurationEvent,
    "journalentry": JournalEntry,
}


@pytest.mark.parametrize("log", LOGS)
def test_logs_cannot_be_added_to_or_changed(carols: Client, alice: User, log: str) -> None:
    keys = one_of_each(alice)
    url = f"/admin/authgate/{log}/"

    answers = [
        carols.get(f"{url}add/"),
        carols.post(f"{url}add/", {"kind": "x"}),
        carols.post(f"{url}{keys[log]}/change/", {"kind": "x", "ended_at": ""}),
        carols.post(f"{url}{keys[log]}/change/", {"_saveasnew": "1"}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 4


@pytest.mark.parametrize("log", [log for log in LOGS if log != "configurationevent"])
def test_logs_cannot_be_deleted(carols: Client, alice: User, log: str) -> None:
    keys = one_of_each(alice)
    url = f"/admin/authgate/{log}/"

    answer = carols.post(f"{url}{keys[log]}/delete/", {"post": "yes"})
    carols.post(url, {"_selected_action": keys[log], "action": "delete_selected", "post": "yes"})

    assert answer.status_code == 403
    assert LOGS[log]._default_manager.filter(pk=keys[log]).exists()


def one_of_each(user: User) -> dict[str, int]:
    found = sign_in(user)
    open_gate(found, "https://wiki.example.com")
    now = timezone.now()
    mistake = ConfigurationEvent.objects.create(contract="nginx", reason="x", first_at=now, last_at=now)
    change = JournalEntry.objects.order_by("-pk")[0]
    rows = (found, GateSession.objects.get(), audit.record("refused"), mistake, change)
    return {log: row.pk for log, row in zip(LOGS, rows, strict=True)}


def test_a_configuration_event_is_acknowledged_by_deleting_it(carols: Client, alice: User) -> None:
    key = one_of_each(alice)["configurationevent"]

    chosen = {"_selected_action": key, "action": "delete_selected", "post": "yes"}
    carols.post("/admin/authgate/configurationevent/", chosen)

    assert not ConfigurationEvent.objects.exists()
    assert AuditEvent.objects.filter(kind="deleted", actor="carol").exists()


@pytest.mark.parametrize("term", ["alice", "Wiki", "abc123", "192.0.2.7"])
def test_audit_events_are_found(carols: Client, term: str) -> None:
    audit.record(
        "refused",
        subject="alice",
        application="Wiki",
        decision_id="abc123",
        address="192.0.2.7",
        reason="group",
    )
    audit.record("refused", subject="bob")

    found = carols.get("/admin/authgate/auditevent/", {"q": term}).context["cl"].result_list

    assert [event.subject for event in found] == ["alice"]


def test_hostile_values_in_an_event_are_escaped(carols: Client) -> None:
    event = audit.record("refused", subject="<script>alert(1)</script>", details={"path": "<img src=x>"})

    list_page = carols.get("/admin/authgate/auditevent/").content
    page = carols.get(f"/admin/authgate/auditevent/{event.pk}/change/").content

    assert b"<script>alert" not in list_page + page
    assert b"<img src=x" not in page


QUERIES = {
    SIGN_INS: 5,
    GATES: 5,
    "/admin/authgate/auditevent/": 10,
    "/admin/authgate/configurationevent/": 9,
}


@pytest.mark.usefixtures("known_brand")
@pytest.mark.parametrize(("url", "queries"), QUERIES.items(), ids=[url.split("/")[-2] for url in QUERIES])
def test_lists_need_the_same_queries_for_many_rows(
    carols: Client, url: str, queries: int, django_assert_num_queries: Any
) -> None:
    now = timezone.now()
    for number in range(50):
        open_gate(sign_in(UserFactory(), digest=f"{number}"), "https://wiki.example.com")
        about = {"object": "accounts.user", "key": number}
        audit.record("changed", actor=f"user-{number}", application=f"App {number}", details=about)
        ConfigurationEvent.objects.create(contract="nginx", reason=f"{number}", first_at=now, last_at=now)

    with django_assert_num_queries(queries):
        carols.get(url)
