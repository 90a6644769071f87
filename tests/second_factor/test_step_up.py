"""Applications, groups and staff that require a second factor."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from django.utils import timezone

from accounts.models import StrictGroup, User
from accounts.second_factor.events import forget_factor
from authgate.check.state import State, nonce_hash, seal
from authgate.models import Application, GateSession, Rule, SignIn
from authgate.sign_ins import digest, open_gate
from authgate.worker import loader
from tests.accounts.signing_in import sign_in
from tests.factories import ApplicationFactory, GroupFactory
from tests.second_factor.factors import CONFIRM, add_app, code, sign_in_with_both, submit_code
from tests.second_factor.security_key import SecurityKey

pytestmark = pytest.mark.django_db

WIKI = "https://wiki.example.com"


@pytest.fixture
def wiki(db: None) -> Application:
    application = ApplicationFactory(name="Wiki", origins=[WIKI], who=Rule.Who.SIGNED_IN)
    application.rules.update(second_factor=True)
    return application


def session_of(sign_in: SignIn) -> Any:
    return loader.load_session(digest(open_gate(sign_in, WIKI)))


def url_for_code() -> str:
    """Return the URL with which a browser comes from the application to get a code."""
    state = State(WIKI, "/page", nonce_hash("nonce"), "/authgate", int(time.time()))
    return f"/continue?state={seal(state, loader.gate_settings().state_keys[0])}"


def require_factor_of(name: str) -> None:
    StrictGroup.objects.create(group=GroupFactory(name=name))


# ---- rules ----


def test_a_sign_in_by_password_has_no_second_factor(client: Client, alice: User) -> None:
    sign_in(client, "alice")

    assert session_of(SignIn.objects.get()).subject.second_factor is False


def test_a_sign_in_with_a_code_has_a_second_factor(client: Client, alice: User) -> None:
    sign_in_with_both(client, alice, add_app(alice))

    assert session_of(SignIn.objects.get()).subject.second_factor is True


def test_a_factor_counts_for_the_configured_lifetime(client: Client, alice: User, settings: Any) -> None:
    settings.IKD_SECOND_FACTOR_LIFETIME = 600
    sign_in_with_both(client, alice, add_app(alice))
    SignIn.objects.update(second_factor_at=timezone.now() - timedelta(seconds=601))

    assert session_of(SignIn.objects.get()).subject.second_factor is False


def test_the_portal_asks_for_a_factor_and_returns_to_the_application(
    client: Client, alice: User, wiki: Application
) -> None:
    secret = add_app(alice)
    sign_in_with_both(client, alice, secret)
    SignIn.objects.update(second_factor_at=None)
    asked = client.get(url_for_code(), follow=True)

    confirmed = client.post(
        asked.request["PATH_INFO"] + "?" + asked.request["QUERY_STRING"], {"code": code(secret)}
    )
    back = client.get(confirmed["Location"])

    assert asked.request["PATH_INFO"] == CONFIRM
    assert back.status_code == 302
    assert back["Location"].startswith(f"{WIKI}/authgate/callback?ikdcode=")


def test_a_user_without_a_factor_is_asked_to_set_one_up(
    client: Client, alice: User, wiki: Application
) -> None:
    sign_in(client, "alice")

    page = client.get(url_for_code(), follow=True)

    assert page.templates[0].name == "mfa/needed.html"
    assert not GateSession.objects.exists()


def test_confirming_a_factor_changes_the_session_key(client: Client, alice: User) -> None:
    secret = add_app(alice)
    sign_in_with_both(client, alice, secret)
    before = client.cookies["__Host-ikd_portal"].value

    submit_code(client, code(secret), CONFIRM)

    assert client.cookies["__Host-ikd_portal"].value != before
    assert client.get("/").status_code == 200
    assert SignIn.objects.count() == 1


def test_the_password_does_not_confirm_a_user_with_a_factor(client: Client, alice: User) -> None:
    sign_in_with_both(client, alice, add_app(alice))

    response = client.get("/accounts/reauthenticate/?next=/accounts/second-factor/app/remove/")

    assert response["Location"].startswith(CONFIRM)


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "javascript:alert(1)"])
def test_confirming_a_factor_leads_to_no_foreign_page(client: Client, alice: User, target: str) -> None:
    secret = add_app(alice)
    sign_in_with_both(client, alice, secret)

    response = submit_code(client, code(secret), f"{CONFIRM}?next={quote(target)}")

    assert response["Location"] == "/"


# ---- groups and staff ----


def test_a_member_of_a_strict_group_opens_nothing_with_only_the_password(client: Client, alice: User) -> None:
    require_factor_of("staff")
    sign_in(client, "alice")

    assert session_of(SignIn.objects.get()) is None


def test_users_outside_a_strict_group_need_no_factor(client: Client, bob: User, alice: User) -> None:
    require_factor_of("staff")
    sign_in(client, "bob")

    assert session_of(SignIn.objects.get()) is not None
    assert client.get("/").status_code == 200


def test_a_member_of_a_strict_group_signs_in_with_a_factor(client: Client, alice: User) -> None:
    require_factor_of("staff")
    sign_in_with_both(client, alice, add_app(alice))

    assert session_of(SignIn.objects.get()) is not None
    assert client.get("/").status_code == 200


PAGES = [
    "/",
    "/admin/",
    "/admin/accounts/user/",
    "/accounts/tokens/",
    "/accounts/tokens/new/",
    "/accounts/password/change/",
    "/accounts/providers/",
    "/accounts/second-factor/",
    "/accounts/second-factor/codes/",
    "/accounts/second-factor/codes/new/",
    "/continue?state=x",
    "/enter?rd=x",
]


@pytest.mark.parametrize("page", PAGES)
def test_staff_without_a_factor_reach_no_other_page(
    client: Client, carol: User, settings: Any, page: str
) -> None:
    settings.IKD_SECOND_FACTOR_FOR_STAFF = True
    sign_in(client, "carol")

    for answer in (client.get(page), client.post(page)):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/second-factor/needed/?next=")


@pytest.mark.parametrize("page", ["/accounts/second-factor/needed/", "/accounts/logout/"])
def test_staff_without_a_factor_reach_the_pages_to_set_one_up(
    client: Client, carol: User, settings: Any, page: str
) -> None:
    settings.IKD_SECOND_FACTOR_FOR_STAFF = True
    sign_in(client, "carol")

    assert client.get(page).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_setting_up_a_required_factor_opens_the_pages(client: Client, carol: User, settings: Any) -> None:
    settings.IKD_SECOND_FACTOR_FOR_STAFF = True
    sign_in(client, "carol")
    client.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    secret = client.get("/accounts/second-factor/app/").context["form"].secret

    submit_code(client, code(secret), "/accounts/second-factor/app/")

    assert client.get("/admin/").status_code == 200


# ---- a recent second factor, or a passkey ----


@pytest.fixture
def recent(wiki: Application) -> Application:
    wiki.rules.update(second_factor=False, factor_minutes=5)
    return wiki


def proofs_of(client: Client) -> dict[str, float]:
    return dict(session_of(SignIn.objects.get(ended_at=None)).subject.proofs)


def test_an_old_factor_is_asked_for_again_and_then_accepted(
    client: Client, alice: User, recent: Application
) -> None:
    secret = add_app(alice)
    sign_in_with_both(client, alice, secret)
    assert client.get(url_for_code())["Location"].startswith(f"{WIKI}/authgate/callback?ikdcode=")
    SignIn.objects.update(second_factor_at=timezone.now() - timedelta(seconds=301))

    asked = client.get(url_for_code(), follow=True)
    url = asked.request["PATH_INFO"] + "?" + asked.request["QUERY_STRING"]
    confirmed = client.post(url, {"code": code(secret, 1)})

    assert asked.request["PATH_INFO"] == CONFIRM
    assert client.get(confirmed["Location"])["Location"].startswith(f"{WIKI}/authgate/callback?ikdcode=")
    assert time.time() - proofs_of(client)["recent second factor"] < 60


def test_a_code_does_not_count_as_a_passkey(client: Client, alice: User, wiki: Application) -> None:
    wiki.rules.update(passkey=True)
    sign_in_with_both(client, alice, add_app(alice))

    page = client.get(url_for_code(), follow=True)

    assert page.templates[0].name == "mfa/passkey_required.html"
    assert "/accounts/second-factor/passkeys/add/?next=" in page.content.decode()
    assert not GateSession.objects.exists()


def test_a_user_with_a_passkey_is_asked_for_it_and_admitted(
    client: Client, alice: User, wiki: Application
) -> None:
    wiki.rules.update(passkey=True, factor_minutes=5)
    key = SecurityKey()
    key.enrol(alice)
    sign_in_with_both(client, alice, add_app(alice))

    asked = client.get(url_for_code(), follow=True)
    url = asked.request["PATH_INFO"] + "?" + asked.request["QUERY_STRING"]
    challenge = json.loads(asked.context["passkey_options"])["request_options"]["publicKey"]["challenge"]
    given = client.post(url, {"credential": key.answer(challenge, alice)})

    assert asked.request["PATH_INFO"] == "/accounts/second-factor/passkey/"
    assert client.get(given["Location"])["Location"].startswith(f"{WIKI}/authgate/callback?ikdcode=")
    assert time.time() - proofs_of(client)["passkey"] < 60


def test_a_recent_passkey_is_admitted(client: Client, alice: User, wiki: Application) -> None:
    wiki.rules.update(passkey=True, factor_minutes=5)
    sign_in(client, "alice")
    SignIn.objects.update(passkey_at=timezone.now() - timedelta(seconds=290), second_factor_at=timezone.now())

    assert client.get(url_for_code())["Location"].startswith(f"{WIKI}/authgate/callback?ikdcode=")


def test_a_removed_passkey_no_longer_counts(client: Client, alice: User) -> None:
    passkey = add_passkey(alice)
    sign_in_with_both(client, alice, add_app(alice))
    SignIn.objects.update(passkey_at=timezone.now())

    passkey.delete()
    forget_factor(alice)

    found = SignIn.objects.get()
    assert found.passkey_at is None and found.second_factor_at is not None


def test_a_rule_cannot_exceed_the_configured_lifetime(settings: Any, wiki: Application) -> None:
    wiki.rules.update(passkey=True)
    assert compiled_proof() == ("passkey", float("inf"))

    settings.IKD_SECOND_FACTOR_LIFETIME = 600
    assert compiled_proof() == ("passkey", 600)
    wiki.rules.update(factor_minutes=60, passkey=False)
    assert compiled_proof() == ("recent second factor", 600)
    wiki.rules.update(factor_minutes=5)
    assert compiled_proof() == ("recent second factor", 300)


def compiled_proof() -> Any:
    application = loader.load_application(WIKI)
    assert application is not None
    return application.scopes["/", False].rules[0].proof


def add_passkey(user: User) -> Authenticator:
    return Authenticator.objects.create(user=user, type="webauthn", data={"name": "key", "credential": {}})
