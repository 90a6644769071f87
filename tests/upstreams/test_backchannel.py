"""Back-channel logout: valid logout tokens, what they end, and that they are no other credential."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from django.core.cache import caches
from django.db import OperationalError, connection

from accounts.models import Identity, Upstream, UpstreamSession
from accounts.upstreams import event_limits, logout_requests
from accounts.upstreams.oidc import backchannel, metadata
from accounts.upstreams.oidc.backchannel import EVENT, LARGEST
from authgate.encryption import Secret
from authgate.models import AuditEvent, SignIn
from authgate.network_limits import WrongTries
from authgate.sign_ins import open_gate
from tests.accounts.conftest import PortalClient
from tests.accounts.signing_in import is_signed_in
from tests.authgate.asking import WIKI, ask, facts
from tests.cache_entries import entries_of
from tests.factories import ApplicationFactory, UpstreamFactory
from tests.upstreams.no_cache import NoCache
from tests.upstreams.provider import OTHER_RSA_KEY, RSA_KEY, Provider, jwk
from tests.upstreams.signing_in import reason as sign_in_reason
from tests.upstreams.signing_in import sign_in

URL = "/upstreams/campus/backchannel-logout"
FORM = "application/x-www-form-urlencoded"
SECRET = "the client's secret, as long as HS256 wants it"


@pytest.fixture(autouse=True)
def reset_wrong_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backchannel, "_wrong", WrongTries())


def logout_token(provider: Provider, *, key: Any = RSA_KEY, header: Any = None, **changed: Any) -> str:
    """Return a logout token of the provider; a claim set to None is omitted."""
    now = int(time.time())
    claims = {
        "iss": provider.issuer, "aud": "portal", "iat": now, "exp": now + 120, "jti": f"jti-{time.time_ns()}",
        "events": {EVENT: {}}, "sid": "session-there", "sub": "alice-there",
    }  # fmt: skip
    kept = {name: value for name, value in {**claims, **changed}.items() if value is not None}
    told = {"kid": "one", "typ": "logout+jwt", "alg": "RS256", **(header or {})}
    return jwt.encode(kept, key, algorithm=told["alg"], headers=told)


def send(client: PortalClient, token: str, url: str = URL) -> Any:
    return client.post(url, urlencode({"logout_token": token}), content_type=FORM)


@pytest.fixture
def there(client: PortalClient, provider: Provider, upstream: Upstream) -> PortalClient:
    """A browser with a sign-in that the provider knows as `session-there`."""
    provider.claims["sid"] = "session-there"
    sign_in(client, provider)
    assert is_signed_in(client)
    return client


def reason() -> str:
    return AuditEvent.objects.filter(kind="backchannel_logout_failed").latest("pk").reason


Bend = dict[str, Any]
ACCEPTED: dict[str, Bend] = {
    "session and person": {},
    "the session alone": {"sub": None},
    "the person alone": {"sid": None},
    "of the type JWT": {"header": {"typ": "JWT"}},
    "one of several audiences": {"aud": ["other", "portal"]},
    "more in the event": {"events": {EVENT: {"more": 1}, "other": {}}},
}


@pytest.mark.parametrize("bend", ACCEPTED.values(), ids=ACCEPTED)
def test_a_logout_token_ends_the_sign_in(
    there: PortalClient, other_browser: PortalClient, provider: Provider, bend: Bend
) -> None:
    answer = send(other_browser, logout_token(provider, **bend))

    assert (answer.status_code, answer.content) == (200, b"")
    assert "no-store" in answer["Cache-Control"]
    assert not is_signed_in(there)
    event = AuditEvent.objects.get(kind="sign_out")
    assert (event.subject, event.reason) == ("alice-there", "back-channel logout by the provider")


def now(**seconds: int) -> Bend:
    return {name: int(time.time()) + shift for name, shift in seconds.items()}


REFUSED: dict[str, tuple[Callable[[], Bend], str]] = {
    "a wrong signature": (lambda: {"key": OTHER_RSA_KEY}, "signature"),
    "an unknown key": (lambda: {"header": {"kid": "two"}}, "does not publish"),
    "no signature": (lambda: {"key": "", "header": {"alg": "none"}}, "not accepted"),
    "signed with the client's secret": (lambda: {"key": SECRET, "header": {"alg": "HS256"}}, "not accepted"),
    "another type": (lambda: {"header": {"typ": "at+jwt"}}, "another kind"),
    "another issuer": (lambda: {"iss": "https://evil.example.com"}, "another issuer"),
    "no issuer": (lambda: {"iss": None}, "lacks a claim"),
    "another client": (lambda: {"aud": "other"}, "another client"),
    "no audience": (lambda: {"aud": None}, "lacks a claim"),
    "no time of issue": (lambda: {"iat": None}, "lacks a claim"),
    "from the future": (lambda: now(iat=120), "future"),
    "made too long ago": (lambda: now(iat=-400), "too long ago"),
    "made at a time that is text": (lambda: {"iat": str(int(time.time()))}, "a time that is none"),
    "no expiry": (lambda: {"exp": None}, "lacks a claim"),
    "expired": (lambda: now(exp=-61), "expired"),
    "no events": (lambda: {"events": None}, "lacks a claim"),
    "another event": (lambda: {"events": {"https://example.com/event": {}}}, "events"),
    "an event that is no object": (lambda: {"events": {EVENT: True}}, "events"),
    "events in a list": (lambda: {"events": [EVENT]}, "events"),
    "neither session nor person": (lambda: {"sub": None, "sid": None}, "neither"),
    "a session that is no text": (lambda: {"sid": 7}, "no usable text"),
    "an empty session": (lambda: {"sid": ""}, "no usable text"),
    "a nonce": (lambda: {"nonce": "n"}, "nonce"),
    "an empty nonce": (lambda: {"nonce": ""}, "nonce"),
    "no number of its own": (lambda: {"jti": None}, "lacks a claim"),
    "an endless number": (lambda: {"jti": "x" * 256}, "no usable text"),
}


@pytest.mark.parametrize(("bend", "why"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_logout_token_ends_nothing(
    there: PortalClient, other_browser: PortalClient, provider: Provider, bend: Callable[[], Bend], why: str
) -> None:
    answer = send(other_browser, logout_token(provider, **bend()))

    assert (answer.status_code, "no-store" in answer["Cache-Control"]) == (400, True)
    assert why in reason()
    assert is_signed_in(there)


def test_a_logout_token_is_accepted_once(
    there: PortalClient, other_browser: PortalClient, provider: Provider
) -> None:
    token = logout_token(provider, sid=None)

    statuses = [send(other_browser, token).status_code for _ in range(2)]

    assert statuses == [200, 400]
    assert "used already" in reason()


def test_another_session_stays(there: PortalClient, other_browser: PortalClient, provider: Provider) -> None:
    for changed in ({"sid": "another"}, {"sub": "bob-there"}, {"sid": None, "sub": "bob-there"}):
        assert send(other_browser, logout_token(provider, **changed)).status_code == 200

    assert is_signed_in(there)


def test_a_session_of_another_provider_with_the_same_subject_stays(
    there: PortalClient, other_browser: PortalClient, provider: Provider
) -> None:
    UpstreamSession.objects.update(upstream=UpstreamFactory(slug="other"))

    assert send(other_browser, logout_token(provider)).status_code == 200
    assert is_signed_in(there)


def test_a_session_without_a_name_at_the_provider_ends_with_its_user(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)

    send(other_browser, logout_token(provider))

    assert not is_signed_in(client)


def test_the_logout_applies_to_every_protected_origin(
    there: PortalClient, other_browser: PortalClient, provider: Provider
) -> None:
    ApplicationFactory(origins=[WIKI], who="signed_in")
    cookie = f"__Host-ikd_gate={open_gate(SignIn.objects.get(), WIKI)}"
    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 200

    send(other_browser, logout_token(provider))

    assert ask(facts(f"{WIKI}/", cookie=cookie)).status == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("named", [{"sub": None}, {"sid": None}], ids=["by session", "by person"])
def test_an_unfinished_sign_in_ends_with_its_session(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream, named: Bend
) -> None:
    at = int(time.time()) - 5
    provider.claims |= {"sid": "session-there", "iat": at}
    left = client.get("/upstreams/campus/start")
    back = provider.sign_in(left["Location"])

    send(other_browser, logout_token(provider, **named, iat=at))
    client.get(back)

    assert not is_signed_in(client)


@pytest.mark.django_db(transaction=True)
def test_an_unfinished_sign_in_without_a_session_name_ends_with_its_user(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.claims["iat"] = int(time.time()) - 5
    back = provider.sign_in(client.get("/upstreams/campus/start")["Location"])

    send(other_browser, logout_token(provider))
    client.get(back)

    assert not is_signed_in(client)


@pytest.mark.django_db(transaction=True)
def test_an_unfinished_sign_in_stays_if_another_session_of_the_user_ended(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.claims |= {"sid": "session-there", "iat": int(time.time()) - 5}
    back = provider.sign_in(client.get("/upstreams/campus/start")["Location"])

    send(other_browser, logout_token(provider, sid="another"))
    client.get(back)

    assert is_signed_in(client)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("named", [{}, {"sid": None}], ids=["by session and person", "by person"])
def test_a_user_may_sign_in_again_after_a_logout(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream, named: Bend
) -> None:
    send(other_browser, logout_token(provider, **named, iat=int(time.time()) - 5))

    if "sid" in named:
        provider.claims["sid"] = "a new session"
    sign_in(client, provider)

    assert is_signed_in(client)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("token", ["a.b.c", "unreadable"])
def test_an_unfinished_sign_in_of_unknown_time_ends(
    there: PortalClient, other_browser: PortalClient, provider: Provider, token: str
) -> None:
    row = UpstreamSession.objects.values().get()
    send(other_browser, logout_token(provider, sid=None, iat=int(time.time()) - 5))
    UpstreamSession.objects.all().delete()
    SignIn.objects.update(ended_at=None)

    UpstreamSession.objects.create(**{**row, "id_token": Secret("junk") if token == "unreadable" else token})

    assert SignIn.objects.get().ended_at is not None


def test_a_logout_token_cannot_sign_a_user_in(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    for header in ({"typ": "logout+jwt"}, {"typ": "JWT"}):
        provider.id_token = logout_token(provider, header=header)
        sign_in(client, provider)
        assert not is_signed_in(client)

    left = client.get("/upstreams/campus/start")
    path = provider.sign_in(left["Location"])
    nonce = next(iter(provider.attempts.values()))["nonce"]
    provider.id_token = logout_token(provider, header={"typ": "JWT"}, nonce=nonce)
    client.get(path)

    assert not is_signed_in(client)
    assert "another kind" in sign_in_reason()


def test_an_id_token_cannot_sign_a_user_out(
    there: PortalClient, other_browser: PortalClient, provider: Provider
) -> None:
    token = UpstreamSession.objects.get().id_token.reveal()

    assert send(other_browser, token).status_code == 400
    assert is_signed_in(there)


def test_a_program_cannot_use_a_logout_token(
    there: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    Upstream.objects.update(trusted_for_machines=True, machine_audience="programs")
    ApplicationFactory(origins=[WIKI], who="signed_in")
    assert Identity.objects.filter(subject="alice-there").exists()

    def status(token: str) -> int:
        return ask(facts(f"{WIKI}/", [(b"authorization", f"Bearer {token}".encode())])).status

    plain = {"events": None, "aud": "programs", "header": {"typ": "JWT"}}
    assert status(logout_token(provider, **plain)) == 200
    assert status(logout_token(provider, aud="programs")) == 401
    assert status(logout_token(provider, aud="programs", header={"typ": "JWT"})) == 401
    assert status(logout_token(provider, **{**plain, "header": {"typ": "logout+jwt"}})) == 401


NO_REQUESTS: dict[str, tuple[str, str, str]] = {
    "nothing": ("", FORM, "no form"),
    "an empty token": ("logout_token=", FORM, "no logout token"),
    "another name": ("logout={token}", FORM, "no logout token"),
    "two": ("logout_token={token}&logout_token={token}", FORM, "or several"),
    "junk": ("logout_token=a.b.c", FORM, "cannot be read"),
    "many fields": ("logout_token={token}" + "&a=1" * 20, FORM, "no form"),
    "huge": ("logout_token={token}&more=" + "x" * LARGEST, FORM, "larger"),
    "JSON": ('{{"logout_token": "{token}"}}', "application/json", "no form"),
    "a form by another name": ("logout_token={token}", "text/plain", "no form"),
    "not ASCII": ("logout_token={token}&more=\xff", FORM, "no form"),
}


@pytest.mark.parametrize(("body", "kind", "why"), NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_an_invalid_request_is_a_400(
    there: PortalClient, other_browser: PortalClient, provider: Provider, body: str, kind: str, why: str
) -> None:
    sent = body.format(token=logout_token(provider)).encode("latin-1")

    answer = other_browser.generic("POST", URL, sent, content_type=kind)

    assert (answer.status_code, "no-store" in answer["Cache-Control"]) == (400, True)
    assert why in reason()
    assert is_signed_in(there)


def test_only_a_post_to_an_enabled_provider_is_accepted(
    there: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    assert other_browser.get(URL).status_code == 405
    assert send(other_browser, logout_token(provider), URL.replace("campus", "nobody")).status_code == 404
    Upstream.objects.update(kind=Upstream.Kind.CAS)
    assert send(other_browser, logout_token(provider)).status_code == 404
    Upstream.objects.update(kind=Upstream.Kind.OIDC, enabled=False)
    assert send(other_browser, logout_token(provider)).status_code == 404


def test_a_logout_request_needs_no_csrf_token(there: PortalClient, provider: Provider) -> None:
    server = PortalClient(HTTP_HOST="sso.example.com", enforce_csrf_checks=True)

    assert send(server, logout_token(provider)).status_code == 200


def test_repeated_invalid_requests_are_ignored_and_leave_few_events(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    statuses = [send(client, "a.b.c").status_code for _ in range(40)]

    assert statuses[0] == 400 and statuses[-1] == 429
    assert AuditEvent.objects.filter(kind="backchannel_logout_failed").count() == 1


def test_a_request_without_reachable_keys_is_a_400_and_does_not_count_as_invalid(
    there: PortalClient, other_browser: PortalClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(metadata, "clock", lambda: now)
    token = logout_token(provider)
    metadata.forget_all()
    provider.answers["/keys"] = (503, {}, b"")

    assert {send(other_browser, token).status_code for _ in range(40)} == {400}

    provider.answers.clear()
    now += metadata.AGAIN_AFTER
    assert send(other_browser, token).status_code == 200
    assert not is_signed_in(there)


def test_a_token_that_could_not_be_applied_may_be_sent_again(
    there: PortalClient, other_browser: PortalClient, provider: Provider
) -> None:
    token = logout_token(provider)

    def away(execute: Any, sql: str, *asked: Any) -> Any:
        if "UPDATE" in sql and "authgate_signin" in sql:
            raise OperationalError("away")
        return execute(sql, *asked)

    with connection.execute_wrapper(away):
        failed = send(other_browser, token)

    assert (failed.status_code, failed.json()) == (400, {"error": "temporarily_unavailable"})
    assert is_signed_in(there)
    assert send(other_browser, token).status_code == 200
    assert not is_signed_in(there)


def test_without_a_cache_valid_tokens_are_applied_and_others_refused(
    there: PortalClient, other_browser: PortalClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = logout_token(provider)
    monkeypatch.setattr(backchannel, "cache", NoCache())
    monkeypatch.setattr(logout_requests, "cache", NoCache())
    monkeypatch.setattr(event_limits, "cache", NoCache())

    assert send(other_browser, "a.b.c").status_code == 400
    assert send(other_browser, token).status_code == 200
    assert not is_signed_in(there)


@pytest.mark.django_db(transaction=True)
def test_without_a_cache_an_unfinished_sign_in_that_may_have_ended_ends(
    client: PortalClient, provider: Provider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backchannel, "cache", NoCache())
    monkeypatch.setattr(logout_requests, "cache", NoCache())
    monkeypatch.setattr(event_limits, "cache", NoCache())

    sign_in(client, provider)

    assert not is_signed_in(client)


def test_two_providers_may_use_the_same_token_ids(
    there: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    upstream.pk, upstream.name, upstream.slug = None, "Later", "later"
    upstream.save()

    first = send(other_browser, logout_token(provider, jti="1"), URL.replace("campus", "later"))
    second = send(other_browser, logout_token(provider, jti="1"))

    assert (first.status_code, second.status_code) == (200, 200)
    assert not is_signed_in(there)


def test_changed_keys_are_read_again(
    there: PortalClient, other_browser: PortalClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "AGAIN_AFTER", 0.0)
    provider.keys = [jwk(OTHER_RSA_KEY, "two")]

    token = logout_token(provider, key=OTHER_RSA_KEY, header={"kid": "two"})

    assert send(other_browser, token).status_code == 200
    assert not is_signed_in(there)


def test_no_part_of_a_token_is_stored(
    there: PortalClient, other_browser: PortalClient, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "ikd")
    good = logout_token(provider, jti="number-4711")
    bad = logout_token(provider, jti="number-4711", nonce="n")

    answers = [send(other_browser, token).status_code for token in (good, good, bad)]

    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        kept = caplog.text
        for table in tables:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            kept += str(cursor.fetchall())
    kept += str([entries_of(alias) for alias in caches])  # caches on Redis are in no table
    assert answers == [200, 400, 400]
    assert "logout-token:" in kept and "used already" in kept
    for secret in ("number-4711", *good.split(".")[1:], *bad.split(".")[1:]):
        assert secret not in kept
