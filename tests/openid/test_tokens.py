"""The token endpoint, userinfo, introspection and revocation: what a client gets, and when it ends."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from accounts.models import StrictGroup, User
from authgate import identity_jwt as signing
from authgate import sign_ins as sessions
from authgate.models import Application, AuditEvent, Rule, SignIn
from openid import grants, keys
from openid.models import Client, ClientSecret, Code, Grant, ProviderKey, Token
from tests.accounts.conftest import PORTAL, PortalClient
from tests.accounts.signing_in import sign_in
from tests.authgate.asking import ask, facts
from tests.factories import GroupFactory
from tests.openid.relying_party import CALLBACK, FORM, RelyingParty, basic, error_of, register

OFFLINE = "openid profile email groups offline_access"


# ---- codes: cases 12 to 19, 25, 37 ----


def test_a_code_is_exchanged_for_tokens_that_libraries_can_verify(
    browser: PortalClient, rp: RelyingParty, alice: User
) -> None:
    tokens = rp.tokens(browser)
    claims = rp.verified(tokens["id_token"])

    assert tokens["token_type"] == "Bearer"
    assert 290 < tokens["expires_in"] <= 300
    assert claims["sub"] == str(alice.uuid)
    assert claims["nonce"] == "its nonce"
    assert (claims["acr"], claims["amr"]) == ("1fa", ["pwd"])
    assert (claims["preferred_username"], claims["name"]) == ("alice", "Alice")
    assert (claims["email"], claims["email_verified"], claims["groups"]) == (
        "alice@example.com",
        True,
        ["staff"],
    )
    assert claims["auth_time"] <= claims["iat"] < claims["exp"]
    assert claims["sid"]


def test_case_25_the_answer_is_not_cached(browser: PortalClient, rp: RelyingParty) -> None:
    answer = rp.exchange(rp.code(browser))

    assert "no-store" in answer["Cache-Control"]
    assert "Set-Cookie" not in answer


def test_tokens_and_secrets_are_kept_as_digests(browser: PortalClient, rp: RelyingParty) -> None:
    tokens = rp.tokens(browser)
    kept = [bytes(each) for each in Token.objects.values_list("digest", flat=True)]
    kept += [bytes(each) for each in ClientSecret.objects.values_list("digest", flat=True)]

    assert all(len(each) == 32 for each in kept)
    for secret in (tokens["access_token"], tokens["refresh_token"], rp.secret):
        assert secret.encode() not in kept


def test_claims_follow_the_scopes(browser: PortalClient, rp: RelyingParty) -> None:
    claims = rp.verified(rp.tokens(browser, scope="openid")["id_token"])

    assert not claims.keys() & {"name", "preferred_username", "email", "groups"}


def test_an_unverified_address_is_not_a_claim(browser: PortalClient, rp: RelyingParty, alice: User) -> None:
    alice.emailaddress_set.update(verified=False)

    assert "email" not in rp.verified(rp.tokens(browser)["id_token"])


def test_only_the_groups_for_the_application_are_claims(
    browser: PortalClient, rp: RelyingParty, alice: User, wiki: Application
) -> None:
    alice.groups.add(GroupFactory(name="choir"))
    wiki.named_groups.add(GroupFactory(name="choir"))
    tokens = rp.tokens(browser)

    assert rp.verified(tokens["id_token"])["groups"] == ["choir"]
    assert rp.userinfo(tokens["access_token"]).json()["groups"] == ["choir"]


@pytest.mark.parametrize("verifier", ["", "x" * 43, "v" * 42], ids=["missing", "wrong", "short"])
def test_case_13_a_wrong_verifier_is_refused(browser: PortalClient, rp: RelyingParty, verifier: str) -> None:
    code = rp.code(browser)

    assert error_of(rp.exchange(code, code_verifier=verifier)) == "invalid_grant"
    assert rp.exchange(code).status_code == 200  # an attacker who reads logs cannot use the code up


def test_case_14_using_a_code_twice_ends_its_tokens(browser: PortalClient, rp: RelyingParty) -> None:
    code = rp.code(browser)
    tokens = rp.exchange(code).json()

    assert error_of(rp.exchange(code)) == "invalid_grant"
    assert rp.userinfo(tokens["access_token"]).status_code == 401
    assert error_of(rp.refresh(tokens["refresh_token"])) == "invalid_grant"
    assert AuditEvent.objects.filter(kind="openid_reuse", subject="alice").count() == 1


def test_case_14_tokens_of_another_code_stay_valid(browser: PortalClient, rp: RelyingParty) -> None:
    other, code = rp.tokens(browser), rp.code(browser)
    rp.exchange(code)
    rp.exchange(code)

    assert rp.userinfo(other["access_token"]).status_code == 200


def test_case_16_a_code_of_another_client_is_refused(
    browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    code = rp.code(browser)

    assert error_of(register(wiki).exchange(code)) == "invalid_grant"
    assert rp.exchange(code).status_code == 200


def test_case_17_another_redirect_uri_is_refused(browser: PortalClient, rp: RelyingParty) -> None:
    Client.objects.update(redirect_uris=f"{CALLBACK}\n{CALLBACK}2")

    assert error_of(rp.exchange(rp.code(browser), redirect_uri=f"{CALLBACK}2")) == "invalid_grant"


def test_case_18_an_expired_code_is_refused(browser: PortalClient, rp: RelyingParty) -> None:
    code = rp.code(browser)

    with time_machine.travel(time.time() + 61):
        assert error_of(rp.exchange(code)) == "invalid_grant"
    assert not AuditEvent.objects.filter(kind="openid_reuse").exists()


# ---- client authentication: cases 20 to 24 ----


def token_request(rp: RelyingParty, code: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": rp.verifier,
    }


def test_case_20_a_secret_in_the_query_is_refused(browser: PortalClient, rp: RelyingParty) -> None:
    query = f"?client_id={rp.client.client_id}&client_secret={rp.secret}"
    answer = rp.post(f"/openid/token{query}", token_request(rp, rp.code(browser)))

    assert error_of(answer) == "invalid_request"


def test_case_21_two_ways_to_authenticate_at_once_are_refused(
    browser: PortalClient, rp: RelyingParty
) -> None:
    fields = {"client_id": rp.client.client_id, "client_secret": rp.secret}

    assert error_of(rp.exchange(rp.code(browser), **fields)) == "invalid_request"


def test_the_secret_may_be_in_the_form(browser: PortalClient, rp: RelyingParty) -> None:
    fields = {**token_request(rp, rp.code(browser)), "client_id": rp.client.client_id}
    answer = rp.backend.post("/openid/token", {**fields, "client_secret": rp.secret}, content_type=FORM)
    body = "&".join(f"{name}={text}" for name, text in {**fields, "client_secret": rp.secret}.items())
    answer = rp.backend.generic("POST", "/openid/token", body, FORM)

    assert answer.status_code == 200


@pytest.mark.parametrize("secret", ["wrong", ""], ids=["wrong", "none"])
def test_case_22_a_wrong_secret_is_refused(browser: PortalClient, rp: RelyingParty, secret: str) -> None:
    answer = rp.post(
        "/openid/token",
        token_request(rp, rp.code(browser)),
        HTTP_AUTHORIZATION=basic(rp.client.client_id, secret),
    )

    assert (answer.status_code, error_of(answer)) == (401, "invalid_client")
    assert answer["WWW-Authenticate"].startswith("Basic ")


def test_a_confidential_client_without_its_secret_is_refused(browser: PortalClient, rp: RelyingParty) -> None:
    rp.secret, code = "", rp.code(browser)

    assert error_of(rp.exchange(code)) == "invalid_client"


def test_a_public_client_needs_only_its_verifier(browser: PortalClient, app: RelyingParty) -> None:
    code = app.code(browser)

    assert error_of(app.exchange(code, code_verifier="")) == "invalid_grant"
    assert error_of(app.exchange(code, client_secret="x")) == "invalid_client"
    assert app.exchange(code).status_code == 200


def test_case_4_a_native_app_may_use_any_port(browser: PortalClient, app: RelyingParty) -> None:
    there = "http://127.0.0.1:50123/callback"
    code = app.code(browser, redirect_uri=there)

    assert app.exchange(code, redirect_uri=there).status_code == 200


def test_two_secrets_are_valid_at_once(browser: PortalClient, rp: RelyingParty) -> None:
    from openid.grants import digest

    ClientSecret.objects.create(client=rp.client, digest=digest("the new one"))
    answers = [rp.exchange(rp.code(browser)).status_code]
    rp.secret = "the new one"
    answers.append(rp.exchange(rp.code(browser)).status_code)

    assert answers == [200, 200]


def test_another_clients_secret_is_refused(
    browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    rp.secret, code = register(wiki).secret, rp.code(browser)

    assert error_of(rp.exchange(code)) == "invalid_client"


@pytest.mark.parametrize("path", ["/openid/token", "/openid/introspect", "/openid/revoke"])
def test_case_24_only_post_is_accepted(rp: RelyingParty, path: str) -> None:
    assert rp.backend.get(path).status_code == 405


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"", FORM),
        (b"\xff=%00", FORM),
        (b"grant_type=a&grant_type=a", FORM),
        (b"x" * 20_000, FORM),
        (b"&" * 1000, FORM),
    ],
)
@pytest.mark.parametrize("path", ["/openid/token", "/openid/introspect", "/openid/revoke"])
def test_a_body_that_is_not_a_form_is_a_client_error(
    rp: RelyingParty, path: str, body: bytes, content_type: str
) -> None:
    answer = rp.backend.generic("POST", path, body, content_type)

    assert answer.status_code in (400, 401)
    assert error_of(answer) in ("invalid_request", "invalid_client")


# ---- what ends a grant: cases 19 and 29 ----


def raw(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def disabled(alice: User) -> None:
    alice.is_active = False
    alice.save()


def new_password(alice: User) -> None:
    alice.set_password("another horse battery")
    alice.save()


def idle(alice: User) -> None:
    SignIn.objects.update(last_seen_at=timezone.now() - timedelta(days=1))


def expired(alice: User) -> None:
    SignIn.objects.update(expires_at=timezone.now())


def owes_a_factor(alice: User) -> None:
    StrictGroup.objects.create(group=alice.groups.get())


def rule_removed(alice: User) -> None:
    Rule.objects.all().delete()


ENDS: dict[str, Callable[[User], object]] = {
    "signed out": lambda alice: sessions.end_sign_ins(SignIn.objects.all()),
    "disabled": disabled,
    "disabled by raw SQL": lambda alice: raw("UPDATE accounts_user SET is_active = false"),
    "ended by raw SQL": lambda alice: raw("UPDATE authgate_signin SET ended_at = started_at"),
    "user deleted": lambda alice: alice.delete(),
    "sign-in deleted": lambda alice: SignIn.objects.all().delete(),
    "new password": new_password,
    "client switched off": lambda alice: Client.objects.update(enabled=False),
    "client deleted": lambda alice: Client.objects.all().delete(),
    "application switched off": lambda alice: Application.objects.update(enabled=False),
    "out of the group": lambda alice: alice.groups.clear(),
    "rule removed": rule_removed,
    "rule expired": lambda alice: Rule.objects.update(expires_at=timezone.now()),
    "second factor wanted": lambda alice: Rule.objects.update(second_factor=True),
    "recent second factor wanted": lambda alice: Rule.objects.update(factor_minutes=5),
    "passkey wanted": lambda alice: Rule.objects.update(passkey=True),
    "second factor owed": owes_a_factor,
}


def test_a_token_is_valid_while_its_required_second_factor_is_recent(
    browser: PortalClient, rp: RelyingParty
) -> None:
    Rule.objects.update(passkey=True, factor_minutes=5)
    now = timezone.now()
    SignIn.objects.update(second_factor_at=now, passkey_at=now)
    tokens = rp.tokens(browser)

    assert rp.userinfo(tokens["access_token"]).status_code == 200
    SignIn.objects.update(passkey_at=now - timedelta(seconds=301))
    assert rp.userinfo(tokens["access_token"]).status_code == 401


TIME = {"idle": idle, "expired": expired}


@pytest.mark.parametrize("end", [*ENDS.values(), *TIME.values()], ids=[*ENDS, *TIME])
def test_cases_19_and_29_codes_and_tokens_end_with_their_access(
    browser: PortalClient, rp: RelyingParty, alice: User, end: Callable[[User], object]
) -> None:
    tokens, code = rp.tokens(browser), rp.code(browser)
    assert rp.userinfo(tokens["access_token"]).status_code == 200

    end(alice)

    assert error_of(rp.exchange(code)) in ("invalid_grant", "invalid_client")
    assert error_of(rp.refresh(tokens["refresh_token"])) in ("invalid_grant", "invalid_client")
    assert rp.userinfo(tokens["access_token"]).status_code == 401
    active = rp.post("/openid/introspect", {"token": tokens["access_token"]}).json()
    assert active in ({"active": False}, {**active, "error": "invalid_client"})


@pytest.mark.parametrize("end", TIME.values(), ids=TIME)
def test_an_offline_grant_survives_expiry_and_idleness(
    browser: PortalClient, rp: RelyingParty, alice: User, end: Callable[[User], object]
) -> None:
    tokens = rp.tokens(browser, scope=OFFLINE)

    end(alice)

    assert rp.refresh(tokens["refresh_token"]).status_code == 200
    assert rp.userinfo(tokens["access_token"]).status_code == 200


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_offline_grant_ends_with_its_access(
    browser: PortalClient, rp: RelyingParty, alice: User, end: Callable[[User], object]
) -> None:
    tokens = rp.tokens(browser, scope=OFFLINE)

    end(alice)

    assert error_of(rp.refresh(tokens["refresh_token"])) in ("invalid_grant", "invalid_client")
    assert rp.userinfo(tokens["access_token"]).status_code == 401


def test_a_refresh_by_a_server_uses_the_users_last_address(
    browser: PortalClient, rp: RelyingParty, app: RelyingParty, wiki: Application
) -> None:
    wiki.rules.update(networks="127.0.0.0/8")
    confidential, code = rp.tokens(browser), app.code(browser)

    assert rp.refresh(confidential["refresh_token"]).status_code == 200
    assert error_of(app.exchange(code)) == "invalid_grant"  # the app's own address counts here


def test_a_refused_refresh_does_not_use_the_token_up(
    browser: PortalClient, rp: RelyingParty, alice: User
) -> None:
    tokens, group = rp.tokens(browser), alice.groups.get()
    alice.groups.clear()
    rp.refresh(tokens["refresh_token"])
    alice.groups.add(group)

    assert rp.refresh(tokens["refresh_token"]).status_code == 200


# ---- refresh: cases 26 to 30 ----


def test_case_30_a_refreshed_id_token_has_the_same_sign_in(browser: PortalClient, rp: RelyingParty) -> None:
    first = rp.tokens(browser)
    with time_machine.travel(time.time() + 100):
        answer = rp.refresh(first["refresh_token"])
        after = rp.verified(answer.json()["id_token"])
    before = rp.verified(first["id_token"])

    same = ("sub", "auth_time", "sid", "aud", "iss", "amr", "acr")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert "nonce" not in after
    assert answer.json()["refresh_token"] != first["refresh_token"]


def test_the_answer_has_session_state_as_keycloak_requires(browser: PortalClient, rp: RelyingParty) -> None:
    first = rp.tokens(browser)
    narrowed = rp.refresh(first["refresh_token"], scope="profile").json()

    assert first["session_state"] == rp.verified(first["id_token"])["sid"]
    assert "session_state" not in narrowed


def test_case_26_an_old_refresh_token_ends_the_whole_family(browser: PortalClient, rp: RelyingParty) -> None:
    first = rp.tokens(browser)
    second = rp.refresh(first["refresh_token"]).json()

    with time_machine.travel(time.time() + grants.RACE + 1):
        assert error_of(rp.refresh(first["refresh_token"])) == "invalid_grant"
        assert error_of(rp.refresh(second["refresh_token"])) == "invalid_grant"
        assert rp.userinfo(second["access_token"]).status_code == 401
    assert AuditEvent.objects.filter(kind="openid_reuse").count() == 1


def test_case_26_an_old_refresh_token_of_a_public_client_ends_the_family_at_once(
    browser: PortalClient, app: RelyingParty
) -> None:
    first = app.tokens(browser)
    second = app.refresh(first["refresh_token"]).json()

    assert error_of(app.refresh(first["refresh_token"])) == "invalid_grant"
    assert error_of(app.refresh(second["refresh_token"])) == "invalid_grant"
    assert AuditEvent.objects.filter(kind="openid_reuse").count() == 1


def test_a_confidential_client_may_use_any_answer_of_simultaneous_refreshes(
    browser: PortalClient, rp: RelyingParty
) -> None:
    first = rp.tokens(browser)["refresh_token"]

    answers = [rp.refresh(first).json() for _ in range(3)]

    assert {rp.userinfo(answer["access_token"]).status_code for answer in answers} == {200}
    assert [rp.refresh(answer["refresh_token"]).status_code for answer in answers] == [200] * 3
    assert not rp.introspect(first)["active"]


def test_a_revoked_or_foreign_refresh_token_has_no_grace(
    browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    first = rp.tokens(browser)["refresh_token"]
    second = rp.refresh(first).json()["refresh_token"]

    assert error_of(register(wiki).refresh(first)) == "invalid_grant"
    rp.revoke(second)
    assert error_of(rp.refresh(first)) == "invalid_grant"


def test_case_27_a_refresh_token_of_another_client_is_refused(
    browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    token = rp.tokens(browser)["refresh_token"]

    assert error_of(register(wiki).refresh(token)) == "invalid_grant"
    assert rp.refresh(token).status_code == 200


def test_case_28_a_refresh_narrows_scopes_and_never_widens_them(
    browser: PortalClient, rp: RelyingParty
) -> None:
    token = rp.tokens(browser, scope="openid profile")["refresh_token"]

    assert error_of(rp.refresh(token, scope="openid email")) == "invalid_scope"
    narrowed = rp.refresh(token, scope="openid").json()
    assert narrowed["scope"] == "openid"
    assert rp.userinfo(narrowed["access_token"]).json().keys() == {"sub"}
    assert rp.refresh(narrowed["refresh_token"]).json()["scope"] == "openid profile"


def test_without_the_scope_openid_a_refresh_returns_no_id_token(
    browser: PortalClient, rp: RelyingParty
) -> None:
    told = rp.refresh(rp.tokens(browser)["refresh_token"], scope="profile").json()

    assert "id_token" not in told
    assert rp.userinfo(told["access_token"]).status_code == 403


def test_refresh_tokens_expire(browser: PortalClient, rp: RelyingParty) -> None:
    Client.objects.update(refresh_lifetime=3600)
    tokens = rp.tokens(browser, scope=OFFLINE)

    with time_machine.travel(time.time() + 3601):
        assert error_of(rp.refresh(tokens["refresh_token"])) == "invalid_grant"


def test_a_chain_of_refresh_tokens_expires(browser: PortalClient, rp: RelyingParty) -> None:
    token = rp.tokens(browser)["refresh_token"]
    Token.objects.update(sequence=grants.LONGEST_FAMILY)

    assert error_of(rp.refresh(token)) == "invalid_grant"


def test_a_client_may_have_no_refresh_tokens(browser: PortalClient, rp: RelyingParty) -> None:
    Client.objects.update(refresh_lifetime=0)

    assert "refresh_token" not in rp.tokens(browser)


@pytest.mark.parametrize("kind", ["access_token", "id_token"])
def test_other_tokens_do_not_refresh(browser: PortalClient, rp: RelyingParty, kind: str) -> None:
    assert error_of(rp.refresh(rp.tokens(browser)[kind])) == "invalid_grant"


# ---- userinfo: cases 43 to 45 ----


@pytest.mark.parametrize("method", ["get", "post"])
def test_case_43_userinfo_names_the_same_subject(
    browser: PortalClient, rp: RelyingParty, method: str
) -> None:
    tokens = rp.tokens(browser)
    answer = rp.userinfo(tokens["access_token"], method)
    claims = rp.verified(tokens["id_token"])

    assert "no-store" in answer["Cache-Control"]
    assert answer.json()["sub"] == claims["sub"]
    assert answer.json() == {name: claims[name] for name in answer.json()}


def test_case_44_an_access_token_in_the_query_is_refused(browser: PortalClient, rp: RelyingParty) -> None:
    token = rp.tokens(browser)["access_token"]
    answer = rp.backend.get(f"/openid/userinfo?access_token={token}")

    assert (answer.status_code, error_of(answer)) == (400, "invalid_request")


def test_a_request_without_a_token_gets_401_without_an_error_code(rp: RelyingParty) -> None:
    answer = rp.backend.get("/openid/userinfo")

    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="openid"')


def test_case_45_other_tokens_are_refused_as_access_tokens(
    browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    tokens = rp.tokens(browser)
    claims = {"iss": PORTAL, "aud": "https://wiki.example.com", "sub": "x", "exp": int(time.time()) + 100}
    identity = signing.signer_with_a_key().sign(claims, time.time()).decode()

    for other in (tokens["id_token"], tokens["refresh_token"], identity):
        assert rp.userinfo(other).status_code == 401


@pytest.mark.parametrize("kind", ["access_token", "refresh_token", "id_token"])
def test_case_45_a_check_refuses_all_of_these_tokens(
    browser: PortalClient, rp: RelyingParty, kind: str
) -> None:
    token = rp.tokens(browser)[kind]
    credentials = [f"Bearer {token}", basic("alice", token)]

    answers = [
        ask(facts("https://wiki.example.com", [(b"authorization", each.encode())])) for each in credentials
    ]

    assert [answer.status for answer in answers] == [401, 401]


def test_an_expired_access_token_is_refused(browser: PortalClient, rp: RelyingParty) -> None:
    token = rp.tokens(browser)["access_token"]

    with time_machine.travel(time.time() + 301):
        assert rp.userinfo(token).status_code == 401


def test_userinfo_returns_current_values(browser: PortalClient, rp: RelyingParty, alice: User) -> None:
    token = rp.tokens(browser)["access_token"]
    alice.groups.add(GroupFactory(name="choir"))

    assert rp.userinfo(token).json()["groups"] == ["choir", "staff"]


# ---- revocation and introspection: cases 47 to 50 ----


def test_case_48_revoking_the_refresh_token_ends_access_tokens(
    browser: PortalClient, rp: RelyingParty
) -> None:
    tokens = rp.tokens(browser)

    assert rp.revoke(tokens["refresh_token"]).status_code == 200
    assert rp.userinfo(tokens["access_token"]).status_code == 401
    assert error_of(rp.refresh(tokens["refresh_token"])) == "invalid_grant"


def test_revoking_an_access_token_ends_only_that_token(browser: PortalClient, rp: RelyingParty) -> None:
    tokens = rp.tokens(browser)
    rp.revoke(tokens["access_token"])

    assert rp.userinfo(tokens["access_token"]).status_code == 401
    assert rp.refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_case_47_another_clients_token_is_not_revoked(
    browser: PortalClient, rp: RelyingParty, wiki: Application, kind: str
) -> None:
    tokens = rp.tokens(browser)
    register(wiki).revoke(tokens[kind])

    assert rp.userinfo(tokens["access_token"]).status_code == 200
    assert rp.refresh(tokens["refresh_token"]).status_code == 200


def test_case_49_revoking_an_unknown_token_succeeds(rp: RelyingParty) -> None:
    assert rp.revoke("junk").status_code == 200


def test_case_50_introspection_returns_the_state_of_a_token(
    browser: PortalClient, rp: RelyingParty, app: RelyingParty, wiki: Application, alice: User
) -> None:
    tokens = rp.tokens(browser)
    told = rp.introspect(tokens["access_token"])
    unnamed = rp.backend.generic("POST", "/openid/introspect", f"token={tokens['access_token']}", FORM)

    assert (told["active"], told["sub"], told["client_id"]) == (True, str(alice.uuid), rp.client.client_id)
    assert rp.introspect(tokens["refresh_token"])["active"] is True
    assert register(wiki).introspect(tokens["access_token"]) == {"active": False}
    assert rp.introspect(tokens["id_token"]) == {"active": False}
    assert unnamed.status_code == 401
    assert app.post("/openid/introspect", {"token": "x"}).status_code == 403


def test_a_used_refresh_token_is_not_active(browser: PortalClient, rp: RelyingParty) -> None:
    token = rp.tokens(browser)["refresh_token"]
    rp.refresh(token)

    assert rp.introspect(token) == {"active": False}


# ---- keys and metadata: cases 9, 61 and 62 ----


def test_case_62_a_forged_host_changes_no_issuer(rp: RelyingParty) -> None:
    there = PortalClient(HTTP_HOST="sso.example.com", HTTP_X_FORWARDED_HOST="evil.example")
    told = json.loads(there.get("/.well-known/openid-configuration").content)
    elsewhere = PortalClient(HTTP_HOST="evil.example").get("/.well-known/openid-configuration")

    assert told["issuer"] == PORTAL
    assert all(
        url.startswith(f"{PORTAL}/") for name, url in told.items() if name.endswith(("_endpoint", "_uri"))
    )
    assert told["authorization_response_iss_parameter_supported"] is True
    assert elsewhere.status_code == 404


def test_every_endpoint_in_the_metadata_exists(rp: RelyingParty) -> None:
    told = json.loads(rp.backend.get("/.well-known/openid-configuration").content)

    for name, url in told.items():
        if name.endswith(("_endpoint", "_uri")):
            assert rp.backend.get(url.removeprefix(PORTAL)).status_code != 404, name


def test_case_61_a_key_is_published_before_it_signs_and_after(
    browser: PortalClient, rp: RelyingParty
) -> None:
    before = rp.tokens(browser)["id_token"]
    keys.rotate()
    with_old = rp.tokens(browser)["id_token"]
    published = json.loads(rp.backend.get("/openid/keys.json").content)["keys"]
    with time_machine.travel(time.time() + 660):
        rp.refresh(rp.tokens(browser)["refresh_token"])
        with_new = rp.tokens(browser)["id_token"]

    assert kid(before) == kid(with_old) != kid(with_new)
    assert {kid(before), kid(with_new)} == {key["kid"] for key in published}
    assert rp.verified(before)


def test_a_key_that_signed_long_ago_is_deleted(rp: RelyingParty) -> None:
    keys.load_or_create()
    ProviderKey.objects.update(signs_from=timezone.now() - timedelta(days=100))
    keys.rotate()
    ProviderKey.objects.update(signs_from=timezone.now() - timedelta(days=40))
    keys.rotate()

    assert ProviderKey.objects.count() == 2


def test_a_leaked_key_can_be_removed_at_once(browser: PortalClient, rp: RelyingParty) -> None:
    before = rp.tokens(browser)["id_token"]
    new = keys.rotate(at_once=True)

    assert [key["kid"] for key in keys.key_set()["keys"]] == [new.kid]
    assert kid(rp.tokens(browser)["id_token"]) == new.kid != kid(before)


def test_an_administrator_rotates_by_a_command(rp: RelyingParty) -> None:
    call_command("rotate_openid_key", stdout=io.StringIO())
    call_command("rotate_openid_key", "--at-once", stdout=io.StringIO())

    assert ProviderKey.objects.count() == 1
    assert AuditEvent.objects.filter(kind="openid_key_made").count() == 2


def test_the_key_set_has_only_public_keys(rp: RelyingParty) -> None:
    for key in json.loads(rp.backend.get("/openid/keys.json").content)["keys"]:
        assert key.keys() == {"kty", "n", "e", "kid", "use", "alg"}


def kid(token: str) -> str:
    header = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


# ---- rows ----


def test_one_session_of_a_client_has_one_sid(
    browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    other = register(wiki)
    sids = [rp.verified(rp.tokens(browser)["id_token"])["sid"] for _ in range(2)]

    assert sids[0] == sids[1] != other.verified(other.tokens(browser)["id_token"])["sid"]


def test_grants_without_usable_tokens_are_deleted(browser: PortalClient, rp: RelyingParty) -> None:
    Client.objects.update(refresh_lifetime=0)
    for _ in range(3):
        rp.tokens(browser)
    Grant.objects.update(created_at=timezone.now() - timedelta(hours=2))
    Token.objects.update(expires_at=timezone.now())
    sid = Grant.objects.latest("pk").sid

    rp.tokens(browser)

    assert set(Grant.objects.values_list("sid", flat=True)) == {sid}
    assert Grant.objects.count() == 2


def test_tokens_do_not_pass_to_the_next_user_of_the_browser(
    browser: PortalClient, rp: RelyingParty, bob: User, wiki: Application
) -> None:
    tokens = rp.tokens(browser)
    browser.post("/accounts/logout/")
    sign_in(browser, "bob")

    assert rp.userinfo(tokens["access_token"]).status_code == 401
    assert Code.objects.filter(grant__sign_in__user=bob).count() == 0
