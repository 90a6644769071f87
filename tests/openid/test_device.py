"""The device authorization grant: cases 51 to 53, and other requirements of RFC 8628."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from accounts.models import User
from authgate.models import Application, AuditEvent
from openid.device_views import MAX_WAITING_PER_NETWORK
from openid.models import Client, DeviceCode, Grant
from openid.protocol.device import GRANT_TYPE, LETTERS, new_user_code, normalised, shown
from tests.accounts.conftest import PORTAL, PortalClient
from tests.openid.relying_party import RelyingParty, error_of, register
from tests.openid.test_tokens import ENDS

PAGE, ANSWER = "/openid/device", "/openid/device/answer"


@pytest.fixture
def tv(wiki: Application) -> RelyingParty:
    """The wiki's app for televisions, a public client without a redirect URI."""
    return register(wiki, kind=Client.Kind.PUBLIC, redirect_uris="", allows_devices=True)


def begin(tv: RelyingParty, scope: str = "openid profile", **change: str) -> Any:
    return tv.post("/openid/device_authorization", {"scope": scope, **change})


def poll(tv: RelyingParty, begun: dict[str, Any]) -> Any:
    return tv.post("/openid/token", {"grant_type": GRANT_TYPE, "device_code": begun["device_code"]})


def typed(browser: PortalClient, begun: dict[str, Any]) -> Any:
    return browser.post(PAGE, {"user_code": begun["user_code"]})


def answered(browser: PortalClient, question: Any, answer: str = "allow") -> Any:
    return browser.post(ANSWER, {"request": question.context["sealed"], "answer": answer})


def allow(browser: PortalClient, tv: RelyingParty, **change: str) -> dict[str, Any]:
    begun = begin(tv, **change).json()
    answer = answered(browser, typed(browser, begun))
    assert answer.status_code == 200, answer.content
    return dict(begun)


def test_a_device_signs_in(browser: PortalClient, tv: RelyingParty, alice: User) -> None:
    begun = begin(tv).json()
    waits = poll(tv, begun)
    answered(browser, typed(browser, begun))
    with time_machine.travel(time.time() + 6):
        tokens = poll(tv, begun).json()
        claims = tv.verified(tokens["id_token"])

    assert error_of(waits) == "authorization_pending"
    assert begun["verification_uri"] == f"{PORTAL}{PAGE}"
    assert begun["verification_uri_complete"].endswith(f"?user_code={begun['user_code']}")
    assert (claims["sub"], claims["preferred_username"]) == (str(alice.uuid), "alice")
    assert tv.userinfo(tokens["access_token"]).json()["sub"] == str(alice.uuid)
    assert tv.refresh(tokens["refresh_token"]).status_code == 200
    event = AuditEvent.objects.get(kind="openid_sign_in")
    assert (event.subject, event.details["device"]) == ("alice", "192.0.2.80")


def test_case_51_fast_polling_is_slowed_down(browser: PortalClient, tv: RelyingParty) -> None:
    begun = begin(tv).json()
    errors = [error_of(poll(tv, begun)) for _ in range(3)]
    with time_machine.travel(time.time() + 10):  # two early polls: it must wait fifteen seconds now
        errors.append(error_of(poll(tv, begun)))
    with time_machine.travel(time.time() + 40):
        errors.append(error_of(poll(tv, begun)))

    assert errors == [
        "authorization_pending",
        *["slow_down"] * 3,
        "authorization_pending",
    ]


def test_case_52_guesses_at_user_codes_are_limited(browser: PortalClient, tv: RelyingParty) -> None:
    begun = begin(tv).json()
    guesses = [browser.post(PAGE, {"user_code": shown(new_user_code())}).status_code for _ in range(6)]

    assert guesses == [400] * 5 + [429]
    assert typed(browser, begun).status_code == 429


def test_case_53_a_link_changes_nothing_and_its_page_warns_and_asks(
    browser: PortalClient, tv: RelyingParty
) -> None:
    begun = begin(tv).json()
    opened = browser.get(begun["verification_uri_complete"].removeprefix(PORTAL))
    page = typed(browser, begun).content.decode()

    assert begun["user_code"] in opened.content.decode()
    assert all(text in page for text in ("Wiki", tv.client.client_id, "192.0.2.80", "refuse: the sender"))
    assert Grant.objects.count() == 0
    assert error_of(poll(tv, begun)) == "authorization_pending"


def test_the_codes_are_kept_as_hashes(tv: RelyingParty) -> None:
    begun = begin(tv).json()
    kept = DeviceCode.objects.get()

    assert begun["device_code"].encode() not in bytes(kept.digest)
    assert normalised(begun["user_code"]) not in kept.user_code
    assert len(kept.user_code) == 64


def test_a_user_who_refuses_ends_the_request(browser: PortalClient, tv: RelyingParty) -> None:
    begun = begin(tv).json()
    question = typed(browser, begun)
    answered(browser, question, "refuse")

    assert error_of(poll(tv, begun)) == "access_denied"
    assert answered(browser, question).status_code == 400
    assert Grant.objects.count() == 0
    assert AuditEvent.objects.filter(kind="openid_device_refused", subject="alice").count() == 1


def test_an_expired_code_is_refused(browser: PortalClient, tv: RelyingParty) -> None:
    begun = begin(tv).json()
    question = typed(browser, begun)

    with time_machine.travel(time.time() + 601):
        assert error_of(poll(tv, begun)) == "expired_token"
        assert typed(browser, begun).status_code == 400
        assert answered(browser, question).status_code == 400


def test_using_a_device_code_twice_ends_its_tokens(browser: PortalClient, tv: RelyingParty) -> None:
    begun = allow(browser, tv)
    tokens = poll(tv, begun).json()

    assert error_of(poll(tv, begun)) == "invalid_grant"
    assert tv.userinfo(tokens["access_token"]).status_code == 401
    assert AuditEvent.objects.filter(kind="openid_reuse").count() == 1


def test_a_user_code_is_answered_once(browser: PortalClient, tv: RelyingParty) -> None:
    begun = begin(tv).json()
    question = typed(browser, begun)
    answered(browser, question)

    assert answered(browser, question).status_code == 400
    assert typed(browser, begun).status_code == 400
    assert Grant.objects.count() == 1


def test_one_of_many_simultaneous_polls_gets_the_tokens(browser: PortalClient, tv: RelyingParty) -> None:
    begun = allow(browser, tv)

    def race(_: int) -> int:
        try:
            return int(poll(tv, begun).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as racers:
        statuses = sorted(racers.map(race, range(10)))

    assert statuses == [200, *[400] * 9]


def test_the_code_of_another_client_is_refused(
    browser: PortalClient, tv: RelyingParty, wiki: Application
) -> None:
    begun = allow(browser, tv)
    other = register(wiki, kind=Client.Kind.PUBLIC, redirect_uris="", allows_devices=True)

    assert error_of(poll(other, begun)) == "invalid_grant"
    assert poll(tv, begun).status_code == 200


def test_a_client_without_permission_or_without_its_secret_is_refused(
    browser: PortalClient, rp: RelyingParty, tv: RelyingParty
) -> None:
    assert error_of(begin(rp)) == "unauthorized_client"
    rp.secret = ""
    assert error_of(begin(rp)) == "invalid_client"
    assert error_of(begin(tv, scope="profile")) == "invalid_scope"


def test_each_network_has_a_limited_number_of_waiting_devices(tv: RelyingParty) -> None:
    begin(tv)
    waiting = DeviceCode.objects.get()
    for number in range(MAX_WAITING_PER_NETWORK - 1):
        waiting.pk, waiting.digest, waiting.user_code = None, bytes([number] * 32), str(number)
        waiting.save(force_insert=True)

    assert begin(tv).status_code == 429


def test_a_stranger_is_sent_to_sign_in(other_browser: PortalClient, tv: RelyingParty) -> None:
    begun = begin(tv).json()
    answer = other_browser.get(begun["verification_uri_complete"].removeprefix(PORTAL))

    assert answer["Location"].startswith("/accounts/login/?next=/openid/device")


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_ended_sign_in_ends_its_devices(
    browser: PortalClient, tv: RelyingParty, alice: User, end: Any
) -> None:
    begun = allow(browser, tv)

    end(alice)

    assert error_of(poll(tv, begun)) in ("invalid_grant", "invalid_client")


def test_the_rules_are_evaluated_at_the_code_and_at_the_answer(
    browser: PortalClient, tv: RelyingParty, alice: User, wiki: Application
) -> None:
    first, second = begin(tv).json(), begin(tv).json()
    question = typed(browser, first)
    alice.groups.clear()
    refused = typed(browser, second)
    wiki.rules.update(who="signed_in", second_factor=True)

    assert refused.status_code == 403
    assert answered(browser, question)["Location"].startswith("/accounts/second-factor/")
    assert Grant.objects.count() == 0


def test_another_sign_in_cannot_answer(
    browser: PortalClient, other_browser: PortalClient, tv: RelyingParty
) -> None:
    from tests.accounts.signing_in import begin_session

    question = typed(browser, begin(tv).json())
    begin_session(other_browser, "alice")

    assert answered(other_browser, question).status_code == 400


def test_consent_is_remembered_if_the_client_asks_for_it(browser: PortalClient, tv: RelyingParty) -> None:
    Client.objects.update(asks_consent=True)
    allow(browser, tv)

    assert AuditEvent.objects.filter(kind="openid_consent", subject="alice").count() == 1


@pytest.mark.parametrize(
    "text",
    ["bcdf-ghjk", "BCDFGHJK", " bcdf ghjk ", "b.c.d.f-g_h\u2011j\u2013k"],
    ids=["dash", "none", "spaces", "odd"],
)
def test_typed_codes_are_normalised(text: str) -> None:
    assert normalised(text) == "BCDFGHJK"


@pytest.mark.parametrize("text", ["", "BCDF-GHJ", "BCDF-GHJKL", "BCDF-GHJA", "BCDF-GHJ0", "x" * 10_000])
def test_other_texts_are_not_a_code(text: str) -> None:
    assert normalised(text) == ""


def test_new_codes_have_no_vowel_and_differ() -> None:
    codes = {new_user_code() for _ in range(100)}

    assert len(codes) == 100
    assert all(set(code) <= set(LETTERS) and len(code) == 8 for code in codes)


def test_the_portal_draws_the_qr_code(client: PortalClient, tv: RelyingParty) -> None:
    drawn = client.get(f"{PAGE}/qr.svg?user_code={begin(tv).json()['user_code']}")

    assert (drawn.status_code, drawn["Content-Type"]) == (200, "image/svg+xml")
    assert b"<path" in drawn.content
    assert client.get(f"{PAGE}/qr.svg?user_code=<script>").status_code == 404


def test_the_answer_needs_a_form_of_the_portal(browser: PortalClient, tv: RelyingParty) -> None:
    question = typed(browser, begin(tv).json())
    forged = {"request": f"x{question.context['sealed']}", "answer": "allow"}

    assert browser.post(ANSWER, forged).status_code == 400
    assert browser.get(ANSWER).status_code == 405
    assert Grant.objects.count() == 0
    assert DeviceCode.objects.filter(expires_at__gt=timezone.now()).count() == 1
