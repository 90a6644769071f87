"""An upstream's tokens for applications that ask for them. They are only in a check's answer, and fresh."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.machines.api_tokens import make_token
from accounts.models import Upstream, UpstreamSession, User
from accounts.upstreams.application_tokens import LOOK_AGAIN
from accounts.upstreams.oidc.recheck_worker import recheck_due
from authgate.check.pipeline import check
from authgate.endpoints.check_view import _memory
from authgate.models import Application, Change, ConfigurationEvent, SignIn
from authgate.sign_ins import open_gate
from authgate.worker import feed as feed_module
from authgate.worker import loader
from authgate.worker.feed import Feed
from authgate.worker.memory import WorkerMemory
from authgate.worker.write_behind import writer
from tests.accounts.conftest import PortalClient
from tests.authgate.asking import WIKI, ask, facts, header, signed_in
from tests.factories import ApplicationFactory
from tests.upstreams.provider import Provider
from tests.upstreams.signing_in import sign_in

ACCESS, AUTHORIZATION = b"x-auth-request-access-token", b"authorization"
OWN = [(AUTHORIZATION, b"Bearer the application's own")]


@pytest.fixture
def wiki(db: None) -> Application:
    return ApplicationFactory(name="Wiki", origins=[WIKI], who="signed_in", access_token=True, id_token=True)


@pytest.fixture
def cookie(client: PortalClient, provider: Provider, upstream: Upstream, wiki: Application) -> str:
    """The gate cookie of a user who signed in with the provider."""
    sign_in(client, provider)
    return f"__Host-ikd_gate={open_gate(SignIn.objects.get(), WIKI)}"


@pytest.fixture
def worker(cookie: str) -> Iterator[Feed]:
    worker = Feed(WorkerMemory(loader.gate_settings(), clock=feed_module.boottime))
    worker.ensure_fresh()
    worker.fresh_until = float("inf")
    feed_module.current = worker
    yield worker
    feed_module.current = None


def session() -> UpstreamSession:
    return UpstreamSession.objects.get()


def tokens_in(answer: Any) -> tuple[str | None, str | None]:
    values = [header(answer, name) for name in (ACCESS, AUTHORIZATION)]
    access, authorization = (None if value is None else value.decode() for value in values)
    return access, authorization


def kept() -> tuple[str, str]:
    return session().access_token.reveal(), f"Bearer {session().id_token.reveal()}"


@pytest.mark.parametrize("url", ["/authgate/traefik", "/authgate/nginx"])
def test_an_application_gets_the_tokens_that_it_asks_for(cookie: str, url: str) -> None:
    answer = ask(facts(WIKI, cookie=cookie, check=url))

    assert answer.status == 200
    assert tokens_in(answer) == kept()
    assert header(answer, b"x-auth-authorization") == b"tokens"


@pytest.mark.parametrize(("wish", "other"), [("access_token", "id_token"), ("id_token", "access_token")])
def test_an_application_gets_no_token_that_it_does_not_ask_for(cookie: str, wish: str, other: str) -> None:
    Application.objects.update(**{other: False})

    access, authorization = tokens_in(ask(facts(WIKI, cookie=cookie)))

    assert (access is not None, authorization is not None) == (wish == "access_token", wish == "id_token")


def test_an_application_that_asks_for_no_tokens_gets_none(cookie: str) -> None:
    Application.objects.update(access_token=False, id_token=False)

    assert tokens_in(ask(facts(WIKI, cookie=cookie))) == (None, None)
    assert not session().wants_tokens


@pytest.mark.parametrize("url", ["/authgate/traefik", "/authgate/nginx"])
def test_a_browser_cannot_forge_the_upstreams_tokens(cookie: str, alice: User, url: str) -> None:
    by_upstream = ask(facts(WIKI, OWN, cookie=cookie, check=url))
    by_password = ask(facts(WIKI, OWN, cookie=signed_in(alice), check=url))

    assert tokens_in(by_upstream) == kept()
    assert tokens_in(by_password) == ("", None)
    assert header(by_password, b"x-auth-credential") == b"portal"


def test_without_a_sign_in_the_answer_has_no_tokens(cookie: str) -> None:
    Application.objects.get().rules.update(who="everyone")

    assert tokens_in(ask(facts(WIKI, OWN))) == ("", None)


def test_a_warm_check_reads_no_database(worker: Feed, cookie: str, django_assert_num_queries: Any) -> None:
    first = ask(facts(WIKI, cookie=cookie), _memory())

    with django_assert_num_queries(0):
        warm = check(facts(WIKI, cookie=cookie), worker.memory)

    assert warm is first


def expire_tokens() -> None:
    UpstreamSession.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def test_expired_tokens_are_renewed_before_they_are_sent(cookie: str, provider: Provider) -> None:
    expire_tokens()

    access, authorization = tokens_in(ask(facts(WIKI, cookie=cookie)))

    assert provider.refreshed == 1
    assert access is not None and access.endswith("-1")
    assert (access, authorization) == kept()


def test_expired_tokens_that_cannot_be_renewed_are_not_sent(cookie: str, provider: Provider) -> None:
    expire_tokens()
    provider.answers["/token"] = (503, {}, b"")

    answer = ask(facts(WIKI, cookie=cookie))

    assert answer.status == 200
    assert tokens_in(answer)[0] == ""


def test_a_user_unknown_to_the_provider_is_refused_and_gets_no_token(cookie: str, provider: Provider) -> None:
    expire_tokens()
    provider.refresh_tokens.clear()

    assert tokens_in(ask(facts(WIKI, cookie=cookie))) == ("", None)
    assert ask(facts(WIKI, cookie=cookie)).status == 401


def test_an_expired_id_token_is_not_sent(cookie: str, provider: Provider) -> None:
    provider.claims["exp"] = int(time.time()) - 1
    UpstreamSession.objects.update(id_token=provider.signed({"client_id": "portal", "nonce": "n"}, "x"))

    access, authorization = tokens_in(ask(facts(WIKI, cookie=cookie)))

    assert access and authorization is None


def test_tokens_are_renewed_in_the_background_once_an_application_received_them(
    cookie: str, provider: Provider
) -> None:
    UpstreamSession.objects.update(expires_at=timezone.now() + timedelta(seconds=30))
    assert recheck_due() == 0

    ask(facts(WIKI, cookie=cookie))

    assert recheck_due() == 1
    assert session().expires_at > timezone.now() + timedelta(seconds=200)


def test_workers_learn_of_renewed_tokens(worker: Feed, cookie: str, provider: Provider) -> None:
    before = tokens_in(ask(facts(WIKI, cookie=cookie), _memory()))
    UpstreamSession.objects.update(expires_at=timezone.now() + timedelta(seconds=30))
    newest = Change.objects.latest("pk").pk
    recheck_due()

    assert ("sign_in", SignIn.objects.get().pk) in Change.objects.filter(pk__gt=newest).values_list(
        "kind", "key"
    )
    worker.fresh_until = 0.0
    worker.ensure_fresh()
    after = tokens_in(ask(facts(WIKI, cookie=cookie), _memory()))

    assert after == kept() != before


def test_an_answer_is_not_reused_after_its_tokens_expire(worker: Feed, cookie: str) -> None:
    UpstreamSession.objects.update(expires_at=timezone.now() + timedelta(seconds=20), refresh_token="")
    ask(facts(WIKI, cookie=cookie), _memory())
    held = next(iter(worker.memory._held.values()))

    assert held.tokens is not None
    assert held.tokens.good_until <= time.time() + 20
    assert next(iter(held.allowed.values()))[2] == held.tokens.good_until


def test_a_session_without_tokens_is_looked_up_again_but_not_at_each_check(
    worker: Feed, wiki: Application, alice: User, django_assert_num_queries: Any
) -> None:
    cookie = signed_in(alice)
    ask(facts(WIKI, cookie=cookie), _memory())

    with django_assert_num_queries(0):
        assert tokens_in(check(facts(WIKI, cookie=cookie), worker.memory)) == ("", None)
    held = list(worker.memory._held.values())[-1]
    assert held.tokens is not None and held.tokens.good_until <= time.time() + LOOK_AGAIN


def test_tokens_that_are_too_long_are_refused_with_an_event(cookie: str, provider: Provider) -> None:
    UpstreamSession.objects.update(access_token="x" * 4000)

    answer = ask(facts(WIKI, cookie=cookie))
    assert answer.refusal is not None
    writer.note_refusal(answer.refusal)
    writer.flush()

    assert answer.status == 403
    assert ConfigurationEvent.objects.filter(reason="tokens too long for the headers").count() == 1
    assert b"xxxx" not in answer.body + b"".join(value for _, value in answer.headers)


@pytest.mark.parametrize("token", ["a b", "a\x0db", " a", "ä"], ids=["a space", "a line", "an edge", "ä"])
def test_a_token_with_characters_forbidden_in_headers_is_not_sent(cookie: str, token: str) -> None:
    UpstreamSession.objects.update(access_token=token)

    assert tokens_in(ask(facts(WIKI, cookie=cookie)))[0] == ""


def test_a_program_does_not_get_its_owners_tokens(cookie: str, provider: Provider) -> None:
    owner = User.objects.get(username="alice-there")
    _, secret = make_token(owner, "script", [Application.objects.get()], 3600)

    answer = ask(facts(WIKI, [(AUTHORIZATION, f"Bearer {secret}".encode())]))

    assert answer.status == 200
    assert tokens_in(answer) == ("", None)
    assert header(answer, b"x-auth-credential") == b"portal"
