"""A sign-in attempt belongs to one browser and one provider. It can be used once, and for a limited time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.db.models.signals import post_save

from accounts.models import Identity, Upstream
from accounts.upstreams import attempts
from authgate.models import AuditEvent, SignIn
from tests.accounts.conftest import PortalClient
from tests.accounts.signing_in import is_signed_in
from tests.factories import UpstreamFactory, UserFactory
from tests.upstreams.no_cache import NoCache
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import START, reason, sign_in


def test_the_request_to_the_provider_has_its_parameters(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    asked = parse_qs(urlsplit(client.get(START)["Location"]).query)

    assert asked["redirect_uri"] == ["https://sso.example.com/upstreams/campus/callback"]
    assert asked["code_challenge_method"] == ["S256"] and len(asked["code_challenge"][0]) == 43
    assert len(asked["nonce"][0]) == 64 and asked["scope"] == ["openid profile email"]


def test_beginning_an_attempt_writes_nothing(
    client: PortalClient, provider: Provider, upstream: Upstream, django_assert_num_queries: Any
) -> None:
    client.get(START)

    with django_assert_num_queries(1) as asked:
        client.get(START)

    assert asked[0]["sql"].startswith("SELECT")


def test_the_requested_page_follows_the_sign_in(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    target = "https://sso.example.com/continue?state=" + "x" * 3000
    left = client.get(START, {"next": target})

    answer = client.get(provider.sign_in(left["Location"]))

    assert answer["Location"] == target


@pytest.mark.parametrize("target", ["https://evil.example.com/", "//evil.example.com", "/\\evil.example.com"])
def test_a_sign_in_leads_to_no_foreign_page(
    client: PortalClient, provider: Provider, upstream: Upstream, target: str
) -> None:
    left = client.get(START, {"next": target})

    assert client.get(provider.sign_in(left["Location"]))["Location"] == "/"


def test_several_tabs_sign_in_at_once(client: PortalClient, provider: Provider, upstream: Upstream) -> None:
    left = [client.get(START, {"next": f"/?tab={number}"})["Location"] for number in range(5)]
    back = [provider.sign_in(location) for location in left]

    answers = [client.get(path)["Location"] for path in reversed(back)]

    assert answers == [f"https://sso.example.com/?tab={number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("length", [1_400, 8_000])
def test_attempts_opened_by_a_foreign_page_do_not_end_the_users_own(
    client: PortalClient, provider: Provider, upstream: Upstream, length: int
) -> None:
    mine = client.get(START, {"next": "/?mine"})["Location"]
    for number in range(100):
        client.get(START, {"next": f"/?{number}-{'x' * length}"})

    kept = list(client.cookies.values())

    assert sum(len(c.key) + len(c.value) + 3 for c in kept) < 100
    assert all(c["secure"] and c["httponly"] and c["samesite"] == "Lax" for c in kept)
    assert client.get(provider.sign_in(mine))["Location"] == "https://sso.example.com/?mine"


def test_many_simultaneous_tabs_set_few_cookies(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    together = {}
    for _ in range(200):
        client.cookies.clear()
        client.get(START)
        together |= {c.key: c.value for c in client.cookies.values() if "attempt" in c.key}

    assert 1 < len(together) <= 16
    assert sum(len(name) + len(value) + 3 for name, value in together.items()) < 1024


def test_each_attempt_of_a_browser_has_its_own_secrets(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    asked = [parse_qs(urlsplit(client.get(START)["Location"]).query) for _ in range(3)]

    for name in ("nonce", "code_challenge", "state"):
        assert len({each[name][0] for each in asked}) == 3


def test_an_answer_is_accepted_once(client: PortalClient, provider: Provider, upstream: Upstream) -> None:
    path = provider.sign_in(client.get(START)["Location"])
    client.get(path)
    asked_before = len(provider.forms)
    drop_session_cookie(client)

    client.get(path)

    assert len(provider.forms) == asked_before
    assert not is_signed_in(client)


def drop_session_cookie(client: PortalClient) -> None:
    del client.cookies["__Host-ikd_portal"]


def test_another_browser_cannot_use_an_answer(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    path = provider.sign_in(client.get(START)["Location"])

    assert other_browser.get(path).status_code == 400
    assert not provider.forms and not is_signed_in(other_browser)


def test_an_answer_is_not_accepted_again_while_its_state_is_valid(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    path = provider.sign_in(client.get(START)["Location"])
    client.get(path)
    asked_before = len(provider.forms)
    drop_session_cookie(client)

    with time_machine.travel(time.time() + 590, tick=True):
        client.get(path)

    assert len(provider.forms) == asked_before
    assert not is_signed_in(client)


def set_attempt_cookie(client: PortalClient, value: str) -> None:
    """Put a value into the cookie of a browser's only attempt."""
    [name] = [name for name in client.cookies if "attempt" in name]
    client.cookies[name] = value


@pytest.mark.parametrize("value", ["", "another secret.", ".", "x" * 22])
def test_an_answer_needs_the_secret_in_the_browsers_cookie(
    client: PortalClient, provider: Provider, upstream: Upstream, value: str
) -> None:
    path = provider.sign_in(client.get(START)["Location"])
    set_attempt_cookie(client, value)

    client.get(path)

    assert not provider.forms
    assert not is_signed_in(client)


def test_without_a_cache_no_user_can_sign_in(
    client: PortalClient, provider: Provider, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = provider.sign_in(client.get(START)["Location"])
    monkeypatch.setattr(attempts, "cache", NoCache())
    client.raise_request_exception = False

    answer = client.get(path)

    assert answer.status_code == 503
    assert "(Redis) does not answer" in answer.content.decode()
    assert not provider.forms and not is_signed_in(client)


def test_an_answer_is_accepted_for_ten_minutes(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    path = provider.sign_in(client.get(START)["Location"])

    with time_machine.travel(time.time() + 601, tick=True):
        client.get(path)

    assert not provider.forms
    assert not is_signed_in(client)


def test_an_answer_of_one_provider_is_refused_for_another(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    UpstreamFactory(slug="other", issuer=provider.issuer, allow_private=True)
    path = provider.sign_in(client.get(START)["Location"])

    assert client.get(path.replace("campus", "other")).status_code == 400
    assert not provider.forms


@pytest.mark.parametrize("state", ["", "x", "a:b:c", "\x00", "é" * 5000])
def test_an_invented_state_leaves_no_event(client: PortalClient, upstream: Upstream, state: str) -> None:
    answer = client.get("/upstreams/campus/callback", {"state": state, "code": "x"})

    assert answer.status_code == 400
    assert not AuditEvent.objects.exists()


def test_a_head_request_does_not_use_the_answer_up(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    path = provider.sign_in(client.get(START)["Location"])

    assert client.head(path).status_code == 204
    assert client.get(path).status_code == 302


WRONG_ANSWERS: dict[str, tuple[dict[str, Any], int, str]] = {
    "of another issuer (RFC 9207)": ({"iss": "https://evil.example.com"}, 502, "(iss)"),
    "without the issuer that its metadata promises": ({"iss": None}, 502, "(iss)"),
    "without a code": ({"code": None}, 502, "without a code"),
    "that refuses": ({"error": "access_denied"}, 403, "access_denied"),
    "that is down": ({"error": "temporarily_unavailable"}, 503, "temporarily_unavailable"),
    "with an error nobody knows": ({"error": "<b>unspeakable</b>"}, 403, "no known reason"),
}


@pytest.mark.parametrize(("answer", "status", "told"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_an_answer(
    client: PortalClient,
    provider: Provider,
    upstream: Upstream,
    answer: dict[str, Any],
    status: int,
    told: str,
) -> None:
    response = sign_in(client, provider, **answer)

    assert response.status_code == status
    assert told in reason()
    assert "unspeakable" not in response.content.decode()
    assert not is_signed_in(client)


def test_a_doubled_code_is_refused(client: PortalClient, provider: Provider, upstream: Upstream) -> None:
    path = provider.sign_in(client.get(START)["Location"])

    assert client.get(f"{path}&code=another").status_code == 502
    assert "twice" in reason()


def test_an_error_does_not_sign_the_user_out(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)

    client.get("/upstreams/campus/callback?error=access_denied")

    assert is_signed_in(client)


def test_the_code_is_in_no_log_no_event_and_no_page(
    client: PortalClient, provider: Provider, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    provider.answers["/token"] = (400, {}, b'{"error": "code-4711-is-wrong"}')

    page = sign_in(client, provider, code="code-4711")

    events = str(list(AuditEvent.objects.values()))
    ours = "".join(
        record.getMessage() for record in caplog.records if not record.name.startswith("django.db")
    )
    assert "4711" not in page.content.decode() + events + ours
    assert page["Referrer-Policy"] == "no-referrer"


def test_a_disabled_provider_is_not_found(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    path = provider.sign_in(client.get(START)["Location"])
    Upstream.objects.update(enabled=False)

    assert client.get(START).status_code == 404
    assert client.get(path).status_code == 404


AT_THE_LAST_MOMENT: dict[str, Callable[[], object]] = {
    "the provider disabled": lambda: Upstream.objects.update(enabled=False),
    "the identity unlinked": lambda: Identity.objects.all().delete(),
    "the identity another's": lambda: Identity.objects.update(user=UserFactory()),
}


@pytest.mark.parametrize("change", AT_THE_LAST_MOMENT.values(), ids=AT_THE_LAST_MOMENT)
def test_a_change_at_the_last_moment_prevents_the_sign_in(
    client: PortalClient, provider: Provider, upstream: Upstream, change: Callable[[], object]
) -> None:
    path = provider.sign_in(client.get(START)["Location"])

    with when_a_sign_in_has_begun(change):
        answer = client.get(path)

    assert answer.status_code == 403 and "switched off" in reason()
    assert not SignIn.objects.filter(ended_at=None).exists()
    assert not is_signed_in(client)


@contextmanager
def when_a_sign_in_has_begun(change: Callable[[], object]) -> Iterator[None]:
    """Change something when a sign-in has begun, before the provider's data is stored with it."""

    def begun(sender: object, **kwargs: object) -> None:
        change()

    post_save.connect(begun, sender=SignIn)
    try:
        yield
    finally:
        post_save.disconnect(begun, sender=SignIn)
