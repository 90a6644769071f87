"""The authorization endpoint: which users get a code, who is asked first, and where errors go."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import time_machine
from django.core.cache import cache
from django.utils import timezone

from accounts.models import User
from authgate.models import Application, AuditEvent, Rule, SignIn
from openid import grants
from openid.models import Client, Code, Consent
from tests.accounts.conftest import PORTAL, PortalClient
from tests.accounts.signing_in import begin_session, sign_in
from tests.factories import PASSWORD
from tests.openid.relying_party import CALLBACK, FORM, RelyingParty, parameters_of, register
from tests.second_factor.factors import add_app, code, sign_in_with_both

LOGIN, AGAIN = "/accounts/login/", "/accounts/reauthenticate/"


def page_of(answer: Any) -> tuple[str, str]:
    """Return the portal's page to which a redirect leads, and the page to return to."""
    assert answer.status_code == 302, answer.content
    parts = urlsplit(answer["Location"])
    assert not parts.netloc
    return parts.path, parse_qs(parts.query)["next"][0]


def without(url: str, *names: str) -> str:
    """Return an address without some parameters, as a user may edit it."""
    parts = urlsplit(url)
    kept = {name: text for name, (text, *_) in parse_qs(parts.query).items() if name not in names}
    return f"{parts.path}?{urlencode(kept)}"


def sign_in_again(browser: PortalClient) -> None:
    assert browser.post(AGAIN, {"password": PASSWORD}).status_code == 302


# ---- codes ----


def test_a_user_whom_the_rules_admit_gets_a_code(browser: PortalClient, rp: RelyingParty) -> None:
    found = parameters_of(rp.authorize(browser))

    assert set(found) == {"code", "state", "iss"}
    assert (found["state"], found["iss"]) == ("its state", PORTAL)
    assert AuditEvent.objects.filter(kind="openid_sign_in", actor="alice", application="Wiki").exists()


def test_the_code_is_kept_as_a_digest(browser: PortalClient, rp: RelyingParty) -> None:
    given = rp.code(browser)

    assert given.encode() not in bytes(Code.objects.get().digest)


def test_the_answer_is_sent_without_referrer_and_is_not_cached(
    browser: PortalClient, rp: RelyingParty
) -> None:
    answer = rp.authorize(browser)

    assert answer["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer["Cache-Control"]


def test_case_8_a_posted_request_is_redirected_to_get(browser: PortalClient, rp: RelyingParty) -> None:
    answer = browser.generic("POST", "/openid/authorize", urlencode(rp.request()), FORM)

    assert answer.status_code == 303
    assert "code" in parameters_of(browser.get(answer["Location"]))


@pytest.mark.parametrize(
    "body", [b"a=\xff", b"a b", b"x" * 20_000, b"a=%00"], ids=["octets", "space", "long", "NUL"]
)
def test_an_unreadable_posted_request_is_refused(browser: PortalClient, body: bytes) -> None:
    answer = browser.generic("POST", "/openid/authorize", body, FORM)
    if answer.status_code == 303:
        answer = browser.get(answer["Location"])

    assert answer.status_code == 400


def test_a_user_who_is_not_signed_in_signs_in_first(
    client: PortalClient, alice: User, rp: RelyingParty
) -> None:
    page, back = page_of(rp.authorize(client))
    answer = sign_in(client, "alice", page=f"{page}?{urlencode({'next': back})}", next=back)

    assert page == LOGIN
    assert "code" in parameters_of(client.get(answer["Location"]))


# ---- cases 1 to 3: users who are not redirected ----


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "unknown"},
        {"client_id": ""},
        {"redirect_uri": ""},
        {"redirect_uri": f"{CALLBACK}?x=1"},
        {"redirect_uri": f"{CALLBACK}#f"},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "javascript:alert(1)"},
    ],
    ids=str,
)
def test_cases_1_to_3_a_wrong_client_or_redirect_uri_is_shown_only_to_the_user(
    browser: PortalClient, rp: RelyingParty, change: dict[str, str]
) -> None:
    answer = rp.authorize(browser, **change)

    assert answer.status_code == 400
    assert "Location" not in answer
    assert b"This link does not work" in answer.content
    assert b"evil.example" not in answer.content


@pytest.mark.parametrize("switched_off", ["client", "application"])
def test_a_disabled_client_counts_as_unknown(
    browser: PortalClient, rp: RelyingParty, switched_off: str
) -> None:
    model = Client if switched_off == "client" else Application
    model.objects.update(enabled=False)  # type: ignore[attr-defined]

    assert rp.authorize(browser).status_code == 400


# ---- cases 5 to 11, 34, 41: errors of the request ----


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"request_uri": "https://wiki.example.com/"}, "request_uri_not_supported"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"id_token_hint": "eyJ"}, "invalid_request"),
    ],
    ids=str,
)
def test_cases_6_to_11_an_error_goes_to_the_client_with_state_and_issuer(
    browser: PortalClient, rp: RelyingParty, change: dict[str, str], error: str
) -> None:
    found = parameters_of(rp.authorize(browser, **change))

    assert (found["error"], found["state"], found["iss"]) == (error, "its state", PORTAL)
    assert "code" not in found


def test_case_5_a_repeated_parameter_is_an_error(browser: PortalClient, rp: RelyingParty) -> None:
    assert parameters_of(browser.get(f"{rp.url()}&scope=openid"))["error"] == "invalid_request"


def test_case_40_claims_and_unknown_parameters_are_ignored(browser: PortalClient, rp: RelyingParty) -> None:
    found = rp.authorize(browser, claims='{"userinfo":{"email":null}}', unknown="x", display="popup")

    assert "code" in parameters_of(found)


# ---- rules ----


def test_a_refused_user_sees_the_page_with_its_decision(
    client: PortalClient, bob: User, rp: RelyingParty
) -> None:
    begin_session(client, "bob")

    answer = rp.authorize(client)

    assert answer.status_code == 403
    assert b"Decision" in answer.content
    assert b"/switch-account?next=%2Fopenid%2Fauthorize" in answer.content
    assert not Code.objects.exists()


def test_with_prompt_none_the_client_is_told_access_denied(
    client: PortalClient, bob: User, rp: RelyingParty
) -> None:
    begin_session(client, "bob")

    assert parameters_of(rp.authorize(client, prompt="none"))["error"] == "access_denied"


def test_a_rule_for_networks_uses_the_browsers_address(
    browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    wiki.rules.update(networks="10.0.0.0/8")

    inside = PortalClient(HTTP_HOST="sso.example.com", REMOTE_ADDR="10.1.2.3")
    inside.cookies = browser.cookies

    assert rp.authorize(browser).status_code == 403
    assert "code" in parameters_of(rp.authorize(inside))


def test_an_application_without_rules_refuses_everyone(
    browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    wiki.rules.all().delete()

    assert rp.authorize(browser).status_code == 403


# ---- second factors ----


def test_a_rule_that_requires_a_second_factor_leads_to_its_page_and_back(
    client: PortalClient, alice: User, rp: RelyingParty, wiki: Application
) -> None:
    wiki.rules.update(second_factor=True)
    secret = add_app(alice)
    sign_in_with_both(client, alice, secret)
    SignIn.objects.update(second_factor_at=None)

    silent = parameters_of(rp.authorize(client, prompt="none"))
    page, back = page_of(rp.authorize(client))
    asked = client.get(f"{page}?{urlencode({'next': back})}")
    confirmed = client.post(asked["Location"], {"code": code(secret)})

    assert silent["error"] == "interaction_required"
    assert page == "/accounts/second-factor/needed/"
    assert "code" in parameters_of(client.get(confirmed["Location"]))


def test_a_rule_that_requires_a_passkey_leads_to_its_own_page(
    client: PortalClient, alice: User, rp: RelyingParty, wiki: Application
) -> None:
    wiki.rules.update(passkey=True, factor_minutes=5)
    sign_in_with_both(client, alice, add_app(alice))

    silent = parameters_of(rp.authorize(client, prompt="none"))
    page, _ = page_of(rp.authorize(client))
    SignIn.objects.update(passkey_at=timezone.now())

    assert silent["error"] == "interaction_required"
    assert page == "/accounts/second-factor/passkey-needed/"
    assert "code" in parameters_of(rp.authorize(client))


def test_case_33_a_required_second_factor_is_asked_for(
    browser: PortalClient, alice: User, rp: RelyingParty, settings: Any
) -> None:
    settings.IKD_SECOND_FACTOR_FOR_STAFF = True
    User.objects.update(is_staff=True)

    page, back = page_of(rp.authorize(browser))

    assert parameters_of(rp.authorize(browser, prompt="none"))["error"] == "interaction_required"
    assert page == "/accounts/second-factor/needed/"
    assert back.startswith("/openid/authorize?")


ESSENTIAL = '{"id_token":{"acr":{"essential":true,"values":["%s"]}}}'


def test_case_38_an_unknown_essential_acr_is_an_error(browser: PortalClient, rp: RelyingParty) -> None:
    found = parameters_of(rp.authorize(browser, claims=ESSENTIAL % "urn:unknown"))

    assert found["error"] == "unmet_authentication_requirements"


def test_case_38_an_essential_acr_leads_to_the_second_factor(browser: PortalClient, rp: RelyingParty) -> None:
    page, _ = page_of(rp.authorize(browser, claims=ESSENTIAL % "2fa"))
    silent = parameters_of(rp.authorize(browser, claims=ESSENTIAL % "2fa", prompt="none"))

    assert page == "/accounts/second-factor/needed/"
    assert silent["error"] == "unmet_authentication_requirements"
    assert "code" in parameters_of(rp.authorize(browser, claims=ESSENTIAL % "1fa"))


# ---- prompt and max_age ----


def test_case_31_prompt_none_without_a_sign_in_is_login_required(
    client: PortalClient, rp: RelyingParty
) -> None:
    assert parameters_of(rp.authorize(client, prompt="none"))["error"] == "login_required"


def test_prompt_none_gives_a_code_if_no_question_is_needed(browser: PortalClient, rp: RelyingParty) -> None:
    assert "code" in parameters_of(rp.authorize(browser, prompt="none"))


@pytest.mark.parametrize("change", [{"prompt": "login"}, {"max_age": "0"}, {"max_age": "1"}], ids=str)
def test_cases_35_and_36_the_user_must_sign_in_again(
    browser: PortalClient, rp: RelyingParty, change: dict[str, str]
) -> None:
    with time_machine.travel(time.time() + 5, tick=True):
        began = int(time.time())
        page, back = page_of(rp.authorize(browser, **change))
        again, _ = page_of(browser.get(back))
        sign_in_again(browser)
        answer = rp.exchange(parameters_of(browser.get(back))["code"])
        claims = rp.verified(answer.json()["id_token"])

    assert (page, again) == (AGAIN, AGAIN)
    assert claims["auth_time"] >= began


@pytest.mark.parametrize("dropped", [("prompt",), ("prompt", "ikd_asked"), ("ikd_asked",)], ids=str)
def test_case_35_removing_the_prompt_by_hand_has_no_effect(
    browser: PortalClient, rp: RelyingParty, dropped: tuple[str, ...]
) -> None:
    _, back = page_of(rp.authorize(browser, prompt="login"))

    page, _ = page_of(browser.get(without(back, *dropped)))

    assert page == AGAIN


def test_a_user_who_signed_in_again_is_not_asked_twice(browser: PortalClient, rp: RelyingParty) -> None:
    _, back = page_of(rp.authorize(browser, prompt="login"))
    sign_in_again(browser)
    browser.get(back)

    assert "code" in parameters_of(rp.authorize(browser))


def test_the_mark_of_a_new_sign_in_is_valid_for_one_request_only(
    browser: PortalClient, rp: RelyingParty
) -> None:
    _, back = page_of(rp.authorize(browser, prompt="login"))
    sign_in_again(browser)
    mark = parse_qs(urlsplit(back).query)["ikd_asked"][0]

    for forged in (
        rp.url(prompt="login", ikd_asked=mark, nonce="other"),
        rp.url(prompt="login", ikd_asked="x"),
    ):
        assert page_of(browser.get(forged))[0] == AGAIN


def test_a_user_who_signs_in_after_prompt_login_is_not_asked_again(
    client: PortalClient, alice: User, rp: RelyingParty
) -> None:
    page, back = page_of(rp.authorize(client, prompt="login"))
    answer = sign_in(client, "alice", page=f"{page}?{urlencode({'next': back})}", next=back)

    assert "code" in parameters_of(client.get(answer["Location"]))


@pytest.mark.parametrize("change", [{"max_age": "0"}], ids=str)
def test_with_prompt_none_an_old_sign_in_is_login_required(
    browser: PortalClient, rp: RelyingParty, change: dict[str, str]
) -> None:
    assert parameters_of(rp.authorize(browser, prompt="none", **change))["error"] == "login_required"


def test_a_sign_in_within_max_age_is_enough(browser: PortalClient, rp: RelyingParty) -> None:
    assert "code" in parameters_of(rp.authorize(browser, max_age="600"))


# ---- hints ----


def test_case_39_a_hint_of_another_user_is_refused(
    browser: PortalClient, other_browser: PortalClient, bob: User, rp: RelyingParty, wiki: Application
) -> None:
    wiki.rules.update(who=Rule.Who.SIGNED_IN)
    own = rp.tokens(browser)["id_token"]
    begin_session(other_browser, "bob")

    assert "code" in parameters_of(rp.authorize(browser, prompt="none", id_token_hint=own))
    assert (
        parameters_of(rp.authorize(other_browser, prompt="none", id_token_hint=own))["error"]
        == "login_required"
    )


# ---- consent ----


@pytest.fixture
def asking(rp: RelyingParty) -> RelyingParty:
    Client.objects.filter(pk=rp.client.pk).update(asks_consent=True)
    return rp


def sealed_in(answer: Any) -> str:
    assert answer.status_code == 200
    return str(answer.context["sealed"])


def test_consent_is_asked_for_once(browser: PortalClient, asking: RelyingParty) -> None:
    question = asking.authorize(browser)
    answer = browser.post("/openid/consent", {"request": sealed_in(question), "answer": "allow"})

    assert b"Continue to Wiki?" in question.content
    assert answer.status_code == 303  # case 60
    assert "code" in parameters_of(answer)
    assert "code" in parameters_of(asking.authorize(browser))
    assert page_asks(asking.authorize(browser, prompt="consent"))


def page_asks(answer: Any) -> bool:
    return answer.status_code == 200 and b'name="request"' in answer.content


def test_case_32_consent_to_another_client_does_not_count(
    browser: PortalClient, asking: RelyingParty, wiki: Application, alice: User
) -> None:
    other = register(wiki, asks_consent=True)
    browser.post("/openid/consent", {"request": sealed_in(other.authorize(browser)), "answer": "allow"})

    assert Consent.objects.filter(user=alice).count() == 1
    assert parameters_of(asking.authorize(browser, prompt="none"))["error"] == "consent_required"


def test_more_scopes_require_another_consent(browser: PortalClient, asking: RelyingParty) -> None:
    question = asking.authorize(browser, scope="openid profile")
    browser.post("/openid/consent", {"request": sealed_in(question), "answer": "allow"})

    assert page_asks(asking.authorize(browser, scope="openid profile email"))


def test_a_consent_contains_only_scopes_of_the_question(browser: PortalClient, asking: RelyingParty) -> None:
    Client.objects.update(scopes="openid profile")
    question = asking.authorize(browser, scope="openid profile groups")
    browser.post("/openid/consent", {"request": sealed_in(question), "answer": "allow"})

    assert Consent.objects.get().scopes == "openid profile"


def test_a_user_who_refuses_is_sent_back_with_an_error(browser: PortalClient, asking: RelyingParty) -> None:
    question = asking.authorize(browser)
    answer = browser.post("/openid/consent", {"request": sealed_in(question), "answer": "refuse"})

    assert parameters_of(answer)["error"] == "access_denied"
    assert not Consent.objects.exists()


def test_case_42_offline_access_without_consent_is_ignored(
    browser: PortalClient, asking: RelyingParty
) -> None:
    question = asking.authorize(browser)
    browser.post("/openid/consent", {"request": sealed_in(question), "answer": "allow"})

    tokens = asking.tokens(browser, prompt="none", scope="openid profile email groups offline_access")

    assert "offline_access" not in tokens["scope"]


def test_case_59_a_question_of_another_sign_in_cannot_be_answered(
    browser: PortalClient, other_browser: PortalClient, alice: User, asking: RelyingParty
) -> None:
    begin_session(other_browser, "alice")
    sealed = sealed_in(asking.authorize(browser))

    answer = other_browser.post("/openid/consent", {"request": sealed, "answer": "allow"})

    assert answer["Location"].startswith("/openid/authorize?")
    assert not Consent.objects.exists()


def test_case_59_a_forged_answer_is_refused(browser: PortalClient, asking: RelyingParty) -> None:
    strict = PortalClient(enforce_csrf_checks=True, HTTP_HOST="sso.example.com")
    strict.cookies = browser.cookies
    sealed = sealed_in(asking.authorize(browser))

    forged = strict.post("/openid/consent", {"request": sealed, "answer": "allow"})
    made_up = browser.post("/openid/consent", {"request": "x", "answer": "allow"})

    assert (forged.status_code, made_up.status_code) == (403, 400)
    assert not Consent.objects.exists()


def test_case_59_the_question_cannot_be_framed(browser: PortalClient, asking: RelyingParty) -> None:
    question = asking.authorize(browser)

    assert question["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in question["Content-Security-Policy"]


def test_the_rules_are_evaluated_again_after_the_question(
    browser: PortalClient, asking: RelyingParty, alice: User
) -> None:
    sealed = sealed_in(asking.authorize(browser))
    alice.groups.clear()

    answer = browser.post("/openid/consent", {"request": sealed, "answer": "allow"})

    assert answer.status_code == 403
    assert not Code.objects.exists()


# ---- rows that strangers can create ----


def test_the_number_of_codes_of_a_browser_is_limited(
    browser: PortalClient, rp: RelyingParty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "MAX_GRANTS_PER_HOUR", 3)
    answers = [parameters_of(rp.authorize(browser)) for _ in range(4)]

    assert [answer.get("error") for answer in answers] == [None, None, None, "temporarily_unavailable"]
    assert Code.objects.count() == 3


def test_a_request_without_a_sign_in_creates_no_row(client: PortalClient, rp: RelyingParty) -> None:
    cache.clear()
    before = SignIn.objects.count(), AuditEvent.objects.count(), Code.objects.count()

    for change in ({}, {"prompt": "none"}, {"prompt": "login"}, {"client_id": "unknown"}):
        rp.authorize(client, **change)

    assert (SignIn.objects.count(), AuditEvent.objects.count(), Code.objects.count()) == before
    assert "__Host-ikd_portal" not in client.cookies


def test_a_request_too_long_to_resume_after_sign_in_is_an_error(
    client: PortalClient, rp: RelyingParty
) -> None:
    claims = json.dumps({"unknown": "x" * 3_900})

    assert parameters_of(rp.authorize(client, claims=claims))["error"] == "invalid_request"
