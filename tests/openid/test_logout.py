"""Signing out: a client sends the browser to the portal, and the portal notifies clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
import time_machine
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from accounts import lockdown
from accounts.models import User
from authgate import sign_ins
from authgate.models import Application, AuditEvent, Rule, SignIn
from openid import sweep, triggers
from openid.deliveries import Rounds, deliver_due
from openid.models import Client, Grant, LogoutDelivery, Token
from tests.accounts.conftest import PORTAL, PortalClient
from tests.accounts.signing_in import begin_session, is_signed_in
from tests.front.serving import Database, Portal, eventually
from tests.openid.logout_receiver import Receiver, listening
from tests.openid.relying_party import FORM, RelyingParty, register
from tests.own_database import in_tables

AFTER = "https://wiki.example.com/signed-out"


# ---- a client sends the browser: cases 54 to 56 ----


@pytest.fixture
def ending(rp: RelyingParty) -> RelyingParty:
    Client.objects.update(post_logout_uris=AFTER)
    return rp


def logout(browser: PortalClient, method: str = "GET", **fields: str) -> Any:
    query = urlencode(fields)
    if method == "GET":
        return browser.get(f"/openid/logout?{query}")
    return browser.generic("POST", "/openid/logout", query, FORM)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_hint_of_the_current_session_signs_out_at_once(
    browser: PortalClient, ending: RelyingParty, method: str
) -> None:
    hint = ending.tokens(browser)["id_token"]

    answer = logout(browser, method, id_token_hint=hint, post_logout_redirect_uri=AFTER, state="a b")

    assert (answer.status_code, answer["Location"]) == (303, f"{AFTER}?state=a+b")
    assert not is_signed_in(browser)
    assert SignIn.objects.get(user__username="alice", ended_at__isnull=False, address="127.0.0.1")


def test_case_54_without_a_hint_the_user_is_asked(browser: PortalClient, ending: RelyingParty) -> None:
    question = logout(browser, client_id=ending.client.client_id, post_logout_redirect_uri=AFTER)
    still = is_signed_in(browser)
    answer = browser.post("/openid/logout/confirmed", {"request": question.context["sealed"]})

    assert question.status_code == 200
    assert b"Wiki asks the portal to sign you out" in question.content
    assert still
    assert (answer.status_code, answer["Location"]) == (303, AFTER)
    assert not is_signed_in(browser)


def test_case_54_with_a_hint_of_another_session_the_user_is_asked(
    browser: PortalClient, other_browser: PortalClient, ending: RelyingParty
) -> None:
    hint = ending.tokens(browser)["id_token"]
    begin_session(other_browser, "alice")

    assert logout(other_browser, id_token_hint=hint).status_code == 200
    assert is_signed_in(other_browser)


@pytest.mark.parametrize(
    "uri", ["https://evil.example/", f"{AFTER}?x=1", f"{AFTER}/", AFTER.upper(), "javascript:alert(1)"]
)
def test_case_55_a_uri_that_is_not_registered_is_not_followed(
    browser: PortalClient, ending: RelyingParty, uri: str
) -> None:
    hint = ending.tokens(browser)["id_token"]

    answer = logout(browser, id_token_hint=hint, post_logout_redirect_uri=uri)

    assert answer["Location"] == f"{PORTAL}/signed-out"
    assert not is_signed_in(browser)


def test_case_55_a_uri_of_another_client_is_not_followed(
    browser: PortalClient, ending: RelyingParty, wiki: Application
) -> None:
    other = register(wiki)
    hint = other.tokens(browser)["id_token"]

    named = logout(
        browser, id_token_hint=hint, client_id=ending.client.client_id, post_logout_redirect_uri=AFTER
    )
    assert named.status_code == 200
    answer = logout(browser, id_token_hint=hint, post_logout_redirect_uri=AFTER)
    assert answer["Location"] == f"{PORTAL}/signed-out"


def test_case_55_a_uri_without_a_client_is_not_followed(client: PortalClient, ending: RelyingParty) -> None:
    assert logout(client, post_logout_redirect_uri=AFTER)["Location"] == f"{PORTAL}/signed-out"


def test_case_56_an_expired_hint_is_accepted(browser: PortalClient, ending: RelyingParty) -> None:
    hint = ending.tokens(browser)["id_token"]

    with time_machine.travel(time.time() + 3600):
        answer = logout(browser, id_token_hint=hint, post_logout_redirect_uri=AFTER)

    assert answer["Location"] == AFTER


def test_case_46_with_a_forged_hint_the_user_is_asked(browser: PortalClient, ending: RelyingParty) -> None:
    claims = jwt.decode(ending.tokens(browser)["id_token"], options={"verify_signature": False})

    for hint in (jwt.encode(claims, "", "none"), jwt.encode(claims, "x" * 32, "HS256"), "x"):
        assert logout(browser, id_token_hint=hint, post_logout_redirect_uri=AFTER).status_code == 200
    assert is_signed_in(browser)


def test_answering_the_question_of_another_sign_in_ends_nothing(
    browser: PortalClient, other_browser: PortalClient, ending: RelyingParty
) -> None:
    sealed = logout(browser).context["sealed"]
    begin_session(other_browser, "alice")

    other_browser.post("/openid/logout/confirmed", {"request": sealed})
    other_browser.post("/openid/logout/confirmed", {"request": "x"})

    assert is_signed_in(other_browser)


def test_a_forged_answer_ends_nothing(browser: PortalClient, ending: RelyingParty) -> None:
    strict = PortalClient(enforce_csrf_checks=True, HTTP_HOST="sso.example.com")
    strict.cookies = browser.cookies

    answer = strict.post("/openid/logout/confirmed", {"request": logout(browser).context["sealed"]})

    assert answer.status_code == 403
    assert is_signed_in(browser)


def test_an_unreadable_request_is_an_error(client: PortalClient, rp: RelyingParty) -> None:
    assert client.get("/openid/logout?state=a&state=b").status_code == 400
    assert client.generic("POST", "/openid/logout", b"\xff=%00", FORM).status_code == 400


# ---- clients are notified: case 57 ----


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with listening() as receiver:
        yield receiver


@pytest.fixture
def notified(rp: RelyingParty, receiver: Receiver) -> RelyingParty:
    """A client that receives sign-outs, on the same machine."""
    Client.objects.filter(pk=rp.client.pk).update(backchannel_logout_uri=receiver.uri, allow_private=True)
    return rp


def raw(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def disabled(alice: User) -> None:
    alice.is_active = False
    alice.save()


def swept(change: Callable[[], object]) -> Callable[[User], None]:
    def end(alice: User) -> None:
        change()
        sweep.end_overdue()
        sweep.end_unadmitted()

    return end


def long_idle() -> None:
    SignIn.objects.update(last_seen_at=timezone.now() - timedelta(days=1))


ENDS: dict[str, Callable[[User], object]] = {
    "signed out": lambda alice: sign_ins.end_sign_ins(SignIn.objects.all()),
    "ended by raw SQL": lambda alice: raw("UPDATE authgate_signin SET ended_at = started_at"),
    "disabled": disabled,
    "disabled by raw SQL": lambda alice: raw("UPDATE accounts_user SET is_active = false"),
    "user deleted": lambda alice: alice.delete(),
    "sign-in deleted": lambda alice: SignIn.objects.all().delete(),
    "client deleted": lambda alice: Client.objects.all().delete(),
    "application deleted": lambda alice: Application.objects.all().delete(),
    "expired": swept(lambda: SignIn.objects.update(expires_at=timezone.now())),
    "idle": swept(long_idle),
    "out of the group": swept(lambda: User.groups.through.objects.all().delete()),
    "membership ended": swept(
        lambda: User.groups.through.objects.update(ends_at=timezone.now() - timedelta(seconds=1))
    ),
    "rule removed": swept(lambda: Rule.objects.all().delete()),
    "rule expired": swept(lambda: Rule.objects.update(expires_at=timezone.now())),
    "application switched off": swept(lambda: Application.objects.update(enabled=False)),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_case_57_each_end_of_a_session_notifies_its_client(
    browser: PortalClient,
    notified: RelyingParty,
    receiver: Receiver,
    alice: User,
    end: Callable[[User], object],
) -> None:
    id_token = notified.verified(notified.tokens(browser)["id_token"])
    notified.tokens(browser)

    end(alice)
    deliver_due()

    assert len(receiver.tokens) == 1
    claims = notified.verified(receiver.tokens[0], typ="logout+jwt")
    assert set(claims) == {"iss", "aud", "sub", "iat", "exp", "jti", "sid", "events"}
    assert (claims["sid"], claims["sub"]) == (id_token["sid"], id_token["sub"])
    assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert claims["exp"] - claims["iat"] == 120


SPARED: dict[str, Callable[[], object]] = {
    "nothing happened": lambda: None,
    "a token revoked": lambda: Grant.objects.update(revoked_at=timezone.now()),
    "a second factor wanted": lambda: Rule.objects.update(second_factor=True),
    "a passkey wanted": lambda: Rule.objects.update(passkey=True),
    "seen a minute late": lambda: SignIn.objects.update(
        last_seen_at=timezone.now() - timedelta(seconds=4 * 3600 + 30)
    ),
    "superseded": lambda: (Grant.objects.update(superseded=True), Grant.objects.all().delete()),
}


@pytest.mark.parametrize("change", SPARED.values(), ids=SPARED)
def test_other_changes_notify_no_client(
    browser: PortalClient, notified: RelyingParty, receiver: Receiver, change: Callable[[], object]
) -> None:
    notified.tokens(browser)

    swept(change)(User())

    assert not LogoutDelivery.objects.exists()


def test_an_offline_grant_survives_the_expiry_of_its_sign_in(
    browser: PortalClient, notified: RelyingParty
) -> None:
    notified.tokens(browser, scope="openid offline_access")

    swept(lambda: SignIn.objects.update(expires_at=timezone.now()))(User())
    assert not LogoutDelivery.objects.exists()
    sign_ins.end_sign_ins(SignIn.objects.all())
    assert LogoutDelivery.objects.count() == 1


def test_the_client_is_notified_only_of_the_ended_sign_in(
    browser: PortalClient, other_browser: PortalClient, notified: RelyingParty
) -> None:
    begin_session(other_browser, "alice")
    first = notified.verified(notified.tokens(browser)["id_token"])["sid"]
    second = notified.verified(notified.tokens(other_browser)["id_token"])["sid"]
    browser.post("/accounts/logout/")

    assert [each.sid for each in LogoutDelivery.objects.all()] == [first]
    assert first != second


def test_after_a_notification_the_same_sign_in_gets_a_new_session(
    browser: PortalClient, notified: RelyingParty, alice: User
) -> None:
    group, first = alice.groups.get(), notified.verified(notified.tokens(browser)["id_token"])["sid"]
    swept(alice.groups.clear)(alice)
    alice.groups.add(group)
    second = notified.verified(notified.tokens(browser)["id_token"])["sid"]
    browser.post("/accounts/logout/")

    assert first != second
    assert {each.sid for each in LogoutDelivery.objects.all()} == {first, second}


def test_a_client_without_an_address_is_not_notified(browser: PortalClient, rp: RelyingParty) -> None:
    rp.tokens(browser)
    browser.post("/accounts/logout/")

    assert not LogoutDelivery.objects.exists()


def test_enabling_a_disabled_user_restores_no_sign_in(browser: PortalClient, notified: RelyingParty) -> None:
    token = notified.tokens(browser)["access_token"]
    raw("UPDATE accounts_user SET is_active = false")
    raw("UPDATE accounts_user SET is_active = true")

    assert notified.userinfo(token).status_code == 401
    assert not is_signed_in(browser)


# ---- delivery: case 58 ----


def fail_all(delivery: LogoutDelivery) -> list[float]:
    """Try to deliver until the portal gives up. Return the length of each wait."""
    waits = []
    while deliver_due():
        delivery.refresh_from_db()
        waits.append(round((delivery.due_at - timezone.now()).total_seconds()))
        if delivery.done_at:
            break
        LogoutDelivery.objects.update(due_at=timezone.now())
    return waits


def test_case_58_a_client_that_is_down_is_tried_again(
    browser: PortalClient, notified: RelyingParty, receiver: Receiver
) -> None:
    receiver.statuses = [503, 500]
    notified.tokens(browser)
    browser.post("/accounts/logout/")
    delivery = LogoutDelivery.objects.get()

    waits = fail_all(delivery)

    assert waits[:2] == [2, 10]
    assert (len(receiver.tokens), delivery.tries, delivery.answer) == (3, 3, "taken")
    assert (
        len({jwt.decode(each, options={"verify_signature": False})["jti"] for each in receiver.tokens}) == 3
    )


def test_case_58_after_five_tries_an_event_says_so(browser: PortalClient, notified: RelyingParty) -> None:
    Client.objects.update(backchannel_logout_uri="http://127.0.0.1:1/logout")
    notified.tokens(browser)
    browser.post("/accounts/logout/")

    waits = fail_all(LogoutDelivery.objects.get())

    assert waits[:4] == [2, 10, 60, 300]
    assert LogoutDelivery.objects.get().tries == 5
    assert AuditEvent.objects.filter(kind="openid_logout_failed").count() == 1
    assert deliver_due() == 0


def test_case_58_a_redirect_is_not_followed(
    browser: PortalClient, notified: RelyingParty, receiver: Receiver
) -> None:
    receiver.statuses = [302]
    notified.tokens(browser)
    browser.post("/accounts/logout/")
    deliver_due()

    assert receiver.paths == ["/logout"]
    assert LogoutDelivery.objects.get().answer == "status 302"


def test_case_58_a_private_address_is_refused_unless_allowed(
    browser: PortalClient, notified: RelyingParty, receiver: Receiver
) -> None:
    Client.objects.update(allow_private=False)
    notified.tokens(browser)
    browser.post("/accounts/logout/")
    deliver_due()

    assert receiver.tokens == []
    assert "inside the network" in LogoutDelivery.objects.get().answer


def test_a_delivery_is_sent_by_one_process(browser: PortalClient, notified: RelyingParty) -> None:
    notified.tokens(browser)
    browser.post("/accounts/logout/")
    LogoutDelivery.objects.update(leased_until=timezone.now() + timedelta(seconds=30))

    assert deliver_due() == 0
    with time_machine.travel(time.time() + 31):
        assert deliver_due() == 1


def test_a_round_sweeps_and_sends(browser: PortalClient, notified: RelyingParty, receiver: Receiver) -> None:
    cache.clear()
    notified.tokens(browser)
    Rule.objects.all().delete()

    rounds = Rounds()

    assert eventually(lambda: rounds.go(is_written=True) > 0 and len(receiver.tokens) == 1)


@in_tables
@pytest.mark.parametrize(
    "limit",
    [
        lambda at: Rule.objects.update(expires_at=at),
        lambda at: SignIn.objects.update(expires_at=at),
    ],
    ids=["a rule", "a sign-in"],
)
def test_a_sweep_ends_access_that_expired(
    browser: PortalClient, notified: RelyingParty, limit: Callable[[Any], object]
) -> None:
    cache.clear()
    notified.tokens(browser)
    limit(timezone.now() + timedelta(seconds=60))
    sweeps = sweep.Sweeps()

    assert 0 < sweeps.go() <= 60
    with time_machine.travel(time.time() + 61):
        sweeps.go()

    assert not Grant.objects.filter(ended_at=None).exists()


def test_a_sweep_ends_access_with_a_membership(browser: PortalClient, notified: RelyingParty) -> None:
    """The test cannot set the database's clock, which decides this."""
    cache.clear()
    notified.tokens(browser)
    sweeps = sweep.Sweeps()
    User.groups.through.objects.update(ends_at=timezone.now() + timedelta(seconds=60))
    assert 0 < sweeps.go() <= 60

    User.groups.through.objects.update(ends_at=timezone.now() + timedelta(seconds=0.5))
    cache.clear()
    sweeps.go()
    time.sleep(0.6)
    cache.clear()
    sweeps.go()  # the end of a membership is not in the feed

    assert not Grant.objects.filter(ended_at=None).exists()


def test_old_deliveries_are_deleted(browser: PortalClient, notified: RelyingParty) -> None:
    notified.tokens(browser)
    browser.post("/accounts/logout/")
    deliver_due()

    with time_machine.travel(time.time() + 8 * 24 * 3600):
        sweep.delete_old()

    assert not (Grant.objects.exists() or Token.objects.exists() or LogoutDelivery.objects.exists())


def test_hundreds_of_grants_are_decided_in_few_queries(
    browser: PortalClient, rp: RelyingParty, django_assert_num_queries: Any
) -> None:
    rp.tokens(browser)
    row = Grant.objects.values().first()
    assert row is not None
    Grant.objects.bulk_create(Grant(**{**row, "id": None, "sid": f"sid{number}"}) for number in range(600))

    with django_assert_num_queries(17):  # two batches, and a query for a third
        assert sweep.end_unadmitted() == 0


def test_every_trigger_exists(database: Database) -> None:
    assert triggers.missing() == set()


def test_the_real_server_notifies_a_client_by_itself(
    browser: PortalClient, notified: RelyingParty, receiver: Receiver, database: Database, tmp_path: Path
) -> None:
    notified.tokens(browser)
    portal = Portal(tmp_path, database).start()
    try:
        sign_ins.end_sign_ins(SignIn.objects.all())
        came = eventually(lambda: bool(receiver.tokens), 20)
    finally:
        portal.stop()

    assert came
    assert LogoutDelivery.objects.get().tries == 1


def test_a_client_with_revoked_tokens_is_notified_when_all_users_are_signed_out(
    browser: PortalClient, notified: RelyingParty, receiver: Receiver, wiki: Application
) -> None:
    notified.revoke(notified.tokens(browser)["refresh_token"])

    lockdown.sign_out_of(wiki, by="carol")
    deliver_due()

    assert len(receiver.tokens) == 1
