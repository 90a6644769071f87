"""The proof of a sign-out in the admin: closed sessions, notified clients, and what is still open."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser
from django.utils import timezone

from accounts.machines.api_tokens import make_token
from accounts.models import User
from authgate.models import Application, GateSession, SignIn
from authgate.sign_ins import end_sign_ins, open_gate
from openid.deliveries import deliver_due
from openid.models import Client, Grant, LogoutDelivery, Token
from openid.sign_out_pages import PROBLEMS
from openid.sign_out_proof import Notice, proof_of_sign_in, proof_of_user
from tests import event_names
from tests.accounts.conftest import PortalClient
from tests.admin.conftest import browser_of, carols, sam  # noqa: F401
from tests.admin.forms import confirm
from tests.openid.logout_receiver import Receiver, listening
from tests.openid.relying_party import RelyingParty, register
from tests.openid.test_logout import notified, receiver  # noqa: F401


def sign_in_of(user: User) -> SignIn:
    return SignIn.objects.filter(user=user).latest("pk")


def user_page(user: User) -> str:
    return f"/admin/openid/client/proof/user/{user.pk}/"


def sign_in_page(user: User) -> str:
    return f"/admin/openid/client/proof/sign-in/{sign_in_of(user).pk}/"


def words(browser: Browser, user: User) -> list[str]:
    return [text for _line, _dead, text in browser.get(user_page(user)).context["clients"]]


# ---- gates ----


def test_a_gate_is_open_and_closes_with_its_sign_in(
    browser: PortalClient,
    alice: User,
    wiki: Application,
) -> None:
    for origin in ("https://wiki.example.com", "https://nobodys.example.com"):
        open_gate(sign_in_of(alice), origin)
    [other, gate] = proof_of_sign_in(sign_in_of(alice)).gates
    assert (gate.application, gate.closed_at) == ("Wiki", None)
    assert other.application == "https://nobodys.example.com"

    end_sign_ins(alice.sign_ins.all())

    proof = proof_of_sign_in(sign_in_of(alice))
    assert {line.closed_at for line in proof.gates} == {sign_in_of(alice).ended_at}
    assert proof.is_whole


def test_a_gate_that_ended_earlier_has_its_own_time(browser: PortalClient, alice: User) -> None:
    open_gate(sign_in_of(alice), "https://wiki.example.com")
    earlier = timezone.now() - timedelta(minutes=5)
    GateSession.objects.update(ended_at=earlier)
    end_sign_ins(alice.sign_ins.all())

    [gate] = proof_of_sign_in(sign_in_of(alice)).gates

    assert gate.closed_at == earlier


def test_an_origin_is_open_while_one_session_is_open(browser: PortalClient, alice: User) -> None:
    for _ in range(3):
        open_gate(sign_in_of(alice), "https://wiki.example.com")
    GateSession.objects.filter(pk__lt=GateSession.objects.latest("pk").pk).update(ended_at=timezone.now())

    proof = proof_of_user(alice)

    assert [(line.sessions, line.closed_at) for line in proof.gates] == [(3, None)]
    assert not proof.is_whole


def test_an_expired_sign_in_has_no_open_gate(browser: PortalClient, alice: User) -> None:
    open_gate(sign_in_of(alice), "https://wiki.example.com")
    over = timezone.now() - timedelta(seconds=5)
    SignIn.objects.update(expires_at=over)

    assert [line.closed_at for line in proof_of_user(alice).gates] == [over]


# ---- clients ----


def test_a_client_with_valid_tokens_is_open(
    browser: PortalClient,
    notified: RelyingParty,  # noqa: F811
    alice: User,
) -> None:
    notified.tokens(browser)

    [line] = proof_of_user(alice).clients

    assert (line.application, line.client_id) == ("Wiki", notified.client.client_id)
    assert (line.dead_at, line.notice) == (None, Notice.LIVE)


def test_a_client_that_confirmed_is_shown_with_its_time(
    browser: PortalClient,
    notified: RelyingParty,  # noqa: F811
    alice: User,
    carols: Browser,  # noqa: F811
) -> None:
    notified.tokens(browser)
    end_sign_ins(alice.sign_ins.all())
    assert words(carols, alice) == ["The portal is notifying it now."]
    deliver_due()
    made = LogoutDelivery.objects.get().created_at
    LogoutDelivery.objects.update(done_at=made + timedelta(milliseconds=123))

    proof = proof_of_sign_in(sign_in_of(alice))

    dead_at, ended_at = proof.clients[0].dead_at, sign_in_of(alice).ended_at
    assert dead_at and ended_at and abs(dead_at - ended_at) < timedelta(milliseconds=2)
    assert words(carols, alice) == ["It confirmed after 123 ms."]
    assert proof.is_whole


def test_the_time_is_that_of_the_clients_answer(
    browser: PortalClient,
    notified: RelyingParty,  # noqa: F811
    wiki: Application,
    alice: User,
) -> None:
    with listening() as slow:
        slow.delay = 1.0
        other = register(wiki, backchannel_logout_uri=slow.uri, allow_private=True)
        for each in (notified, other):
            each.tokens(browser)
        end_sign_ins(alice.sign_ins.all())
        deliver_due()

    first, last = LogoutDelivery.objects.order_by("done_at")
    assert (first.audience, last.audience) == (notified.client.client_id, other.client.client_id)


def test_a_client_that_is_tried_again_is_shown_with_the_next_attempt(
    browser: PortalClient,
    notified: RelyingParty,  # noqa: F811
    alice: User,
    receiver: Receiver,  # noqa: F811
    carols: Browser,  # noqa: F811
) -> None:
    receiver.statuses = [503]
    notified.tokens(browser)
    end_sign_ins(alice.sign_ins.all())
    deliver_due()

    [sentence] = words(carols, alice)

    beginning, moment = sentence.split(" is at ")
    assert beginning == "The client answered with status 503. Attempt 1 failed. The next one"
    assert re.match(r"\d+ \w+ \d{4}, ", moment)
    assert not proof_of_user(alice).is_whole


def test_an_unnotified_client_is_closed_when_its_access_token_expires(
    browser: PortalClient,
    notified: RelyingParty,  # noqa: F811
    alice: User,
    carols: Browser,  # noqa: F811
) -> None:
    notified.tokens(browser)
    end_sign_ins(alice.sign_ins.all())
    LogoutDelivery.objects.update(tries=5, answer="status 500", done_at=timezone.now())

    [sentence] = words(carols, alice)

    beginning, moment = sentence.split(" expires at ")
    words_of_it = "The client answered with status 500. The portal could not notify it. Its access token"
    assert beginning == words_of_it
    assert re.match(r"\d+ \w+ \d{4}, ", moment)


def test_a_client_without_an_address_cannot_be_notified(
    browser: PortalClient,
    rp: RelyingParty,
    alice: User,
    carols: Browser,  # noqa: F811
) -> None:
    rp.tokens(browser)
    end_sign_ins(alice.sign_ins.all())
    [line] = proof_of_user(alice).clients
    assert line.notice is Notice.NO_ADDRESS
    assert line.tokens_end_at == Token.objects.get(kind="access").expires_at

    Token.objects.all().delete()

    assert words(carols, alice)[0].endswith("All its access tokens have expired.")


def test_several_grants_of_a_session_are_one_line_until_the_last_ends(
    browser: PortalClient,
    notified: RelyingParty,  # noqa: F811
    alice: User,
) -> None:
    notified.tokens(browser)
    notified.tokens(browser)
    Grant.objects.filter(pk=Grant.objects.latest("pk").pk).update(revoked_at=timezone.now())

    [line] = proof_of_user(alice).clients

    assert line.dead_at is None


def test_a_client_that_was_deleted_is_still_listed(
    browser: PortalClient,
    notified: RelyingParty,  # noqa: F811
    alice: User,
) -> None:
    notified.tokens(browser)
    Client.objects.all().delete()

    [line] = proof_of_user(alice).clients

    assert (line.application, line.notice) == (notified.client.client_id, Notice.WAITING)


# ---- the pages ----


def test_a_lockdown_links_to_a_complete_proof(
    browser: PortalClient,
    notified: RelyingParty,  # noqa: F811
    alice: User,
    carols: Browser,  # noqa: F811
) -> None:
    notified.tokens(browser)
    open_gate(sign_in_of(alice), "https://wiki.example.com")
    make_token(alice, "backup", [notified.client.application], 3600)
    fields = {"action": "lock_down", "_selected_action": alice.pk, "confirmed": "1"}

    answer = confirm(carols, carols.post("/admin/accounts/user/", fields))
    body = carols.get(answer["Location"]).content.decode()
    deliver_due()

    assert f'<a href="{user_page(alice)}">Proof of sign-out</a>' in body
    proof = proof_of_user(alice)
    assert proof.is_whole
    assert (proof.live_api_tokens, proof.ended_api_tokens) == (0, 1)


def test_the_pages_of_a_user_and_a_sign_in_link_to_the_proof(
    browser: PortalClient,
    alice: User,
    carols: Browser,  # noqa: F811
) -> None:
    pages = {
        f"/admin/accounts/user/{alice.pk}/change/": user_page(alice),
        f"/admin/authgate/signin/{sign_in_of(alice).pk}/change/": sign_in_page(alice),
    }
    for page, proof in pages.items():
        assert f'href="{proof}"' in carols.get(page).content.decode()
        assert carols.get(proof).status_code == 200


@pytest.mark.parametrize("lacking", ["view_signin", "view_client", "view_user"])
def test_staff_without_a_permission_see_nothing(
    browser: PortalClient,
    rp: RelyingParty,
    alice: User,
    sam: User,  # noqa: F811
    browser_of: Any,  # noqa: F811
    lacking: str,
) -> None:
    sam.user_permissions.remove(*Permission.objects.filter(codename=lacking))
    theirs = browser_of(sam)

    assert theirs.get(user_page(alice)).status_code == 403
    assert theirs.get(sign_in_page(alice)).status_code == (200 if lacking == "view_user" else 403)


@pytest.mark.parametrize("kind", ["user", "sign-in"])
def test_an_unknown_user_or_sign_in_has_no_proof(db: None, carols: Browser, kind: str) -> None:  # noqa: F811
    for key in ("0", str(2**63), "9" * 30):
        assert carols.get(f"/admin/openid/client/proof/{kind}/{key}/").status_code == 404


def test_the_proof_makes_few_queries_for_many_applications(
    browser: PortalClient, wiki: Application, alice: User, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        register(wiki, backchannel_logout_uri="https://x.example/").tokens(browser)
        open_gate(sign_in_of(alice), f"https://{number}.example.com")
    end_sign_ins(alice.sign_ins.all())

    with django_assert_max_num_queries(5):
        proof = proof_of_user(alice)

    assert (len(proof.gates), len(proof.clients)) == (20, 20)


def test_every_problem_of_a_request_has_words_about_the_client() -> None:
    of_json = {reason for reason in event_names.reasons_of_requests() if "JSON" in reason}

    assert event_names.reasons_of_requests() - of_json == set(PROBLEMS)
