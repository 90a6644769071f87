"""The check's answers to programs that send a credential in Authorization."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.utils import timezone
from pytest_django import Settings
from pytest_django.fixtures import DjangoAssertNumQueries

from accounts.machines.api_tokens import end_tokens, make_token
from accounts.models import ApiToken, Identity, StrictGroup, User
from authgate.check.credentials import new_token
from authgate.check.responses import Answer
from authgate.endpoints.check_view import _memory
from authgate.models import Application, AuditEvent
from authgate.network_limits import WrongTries
from authgate.worker import feed as feed_module
from authgate.worker import loader
from authgate.worker.feed import Feed
from authgate.worker.memory import WorkerMemory
from authgate.worker.write_behind import writer
from tests.authgate.asking import NAVIGATION, WIKI, Headers, ask, endpoint, facts, header, signed_in
from tests.factories import ApplicationFactory, RuleFactory, UpstreamFactory

DAY = 86_400


def bearer(token: str) -> Headers:
    return [(b"authorization", f"Bearer {token}".encode())]


def basic(name: str, password: str) -> Headers:
    return [(b"authorization", b"Basic " + base64.b64encode(f"{name}:{password}".encode()))]


def reports_a_wrong_credential(answer: Answer) -> bool:
    told = json.loads(answer.body)
    return (
        answer.status == 401
        and told["error"] == "invalid_token"
        and told["decision"] == (header(answer, b"x-auth-decision") or b"").decode()
        and header(answer, b"www-authenticate") == b'Bearer realm="ikD Portal", error="invalid_token"'
        and not {b"location", b"x-auth-location", b"set-cookie"} & {name for name, _ in answer.headers}
    )


@pytest.fixture
def token(alice: User, wiki: Application) -> str:
    return make_token(alice, "backup", [wiki], DAY)[1]


@pytest.mark.parametrize("check", ["/authgate/nginx", "/authgate/traefik"])
def test_a_token_opens_its_application_as_its_owner(token: str, check: str) -> None:
    answer = ask(facts(f"{WIKI}/page", bearer(token), check=check))

    assert answer.status == 200
    assert header(answer, b"x-auth-request-user") == b"alice"
    assert header(answer, b"x-auth-request-groups") == b"staff"
    assert header(answer, b"x-auth-request-email") == b"alice@example.com"
    assert header(answer, b"x-auth-credential") == b"portal"
    assert header(answer, b"x-envoy-auth-headers-to-remove") == b"authorization"
    assert header(answer, b"authorization") is None


@pytest.mark.parametrize("name", ["", "alice", "Alice", "x-access-token"])
def test_basic_accepts_a_token_with_its_owners_name_or_without_a_name(token: str, name: str) -> None:
    assert ask(facts(WIKI, basic(name, token))).status == 200


@pytest.mark.parametrize("name", ["bob", "alice ", "root", "alice@example.com"])
def test_basic_refuses_a_token_with_another_name(token: str, bob: User, name: str) -> None:
    assert reports_a_wrong_credential(ask(facts(WIKI, basic(name, token))))


def end(token: ApiToken) -> None:
    end_tokens(ApiToken.objects.filter(pk=token.pk))


WRONG: dict[str, Any] = {
    "ended": end,
    "expired": lambda token: ApiToken.objects.update(expires_at=timezone.now()),
    "deleted": lambda token: token.delete(),
    "of a user who is disabled": lambda token: User.objects.update(is_active=False),
    "of no application": lambda token: token.applications.clear(),
    "of another application": lambda token: token.applications.set([ApplicationFactory(name="Other")]),
}


@pytest.mark.parametrize("headers", [[], NAVIGATION], ids=["program", "page"])
@pytest.mark.parametrize("check", ["/authgate/nginx", "/authgate/traefik"])
@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG)
def test_an_unusable_token_is_wrong(token: str, spoil: Any, check: str, headers: Headers) -> None:
    spoil(ApiToken.objects.get())

    assert reports_a_wrong_credential(ask(facts(WIKI, bearer(token), headers, check=check)))


def test_a_wrong_token_is_refused_even_with_a_valid_cookie(alice: User, wiki: Application) -> None:
    asked = facts(WIKI, bearer(new_token()), cookie=signed_in(alice))

    assert reports_a_wrong_credential(ask(asked))


def test_a_token_counts_before_the_cookie_of_another_user(token: str, bob: User) -> None:
    answer = ask(facts(WIKI, bearer(token), cookie=signed_in(bob)))

    assert header(answer, b"x-auth-request-user") == b"alice"


def test_a_wrong_token_is_refused_on_a_public_path_too(wiki: Application) -> None:
    RuleFactory(application=wiki, path="/open", who="everyone")

    assert reports_a_wrong_credential(ask(facts(f"{WIKI}/open", bearer(new_token()))))


def test_a_token_does_not_work_as_a_cookie_nor_a_cookie_as_a_token(
    token: str, alice: User, wiki: Application
) -> None:
    gate = signed_in(alice).partition("=")[2]

    assert ask(facts(WIKI, cookie=f"__Host-ikd_gate={token}")).status == 401
    assert ask(facts(WIKI, bearer(gate))).status == 401


def test_rules_apply_to_a_token_as_to_its_owner(token: str, alice: User) -> None:
    alice.groups.clear()

    answer = ask(facts(WIKI, bearer(token), NAVIGATION))

    assert (answer.status, json.loads(answer.body)["error"]) == (403, "refused")


def test_filters_apply_to_a_token(token: str) -> None:
    assert ask(facts(WIKI, bearer(token), query="allowed_groups=guests")).status == 403
    assert ask(facts(WIKI, bearer(token), query="allowed_groups=staff")).status == 200


def test_a_token_does_not_count_as_a_second_factor_and_is_refused(token: str, wiki: Application) -> None:
    RuleFactory(application=wiki, path="/safe", second_factor=True)

    answer = ask(facts(f"{WIKI}/safe", bearer(token), NAVIGATION))

    assert answer.status == 403
    assert header(answer, b"location") is None


# ---- users who must have a second factor ------------------------------------------------------------------


def make_strict(alice: User) -> None:
    StrictGroup.objects.create(group=alice.groups.get(name="staff"))


def test_a_token_of_a_user_without_the_required_second_factor_is_wrong(token: str, alice: User) -> None:
    make_strict(alice)

    assert reports_a_wrong_credential(ask(facts(WIKI, bearer(token)), _memory()))


def test_a_token_of_staff_without_the_required_second_factor_is_wrong(
    token: str, alice: User, settings: Settings
) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert ask(facts(WIKI, bearer(token)), _memory()).status == 200

    settings.IKD_SECOND_FACTOR_FOR_STAFF = True

    assert reports_a_wrong_credential(ask(facts(WIKI, bearer(token)), _memory()))


@pytest.mark.parametrize(("kind", "status"), [("totp", 200), ("webauthn", 200), ("recovery_codes", 401)])
def test_the_token_works_again_once_a_factor_is_set_up(
    token: str, alice: User, kind: str, status: int
) -> None:
    make_strict(alice)
    Authenticator.objects.create(user=alice, type=kind, data={})

    assert ask(facts(WIKI, bearer(token)), _memory()).status == status


@pytest.mark.parametrize(
    ("values", "enabled", "status"), [("mfa", True, 200), ("", True, 401), ("mfa", False, 401)]
)
def test_a_provider_trusted_for_second_factors_counts_as_one(
    token: str, alice: User, values: str, enabled: bool, status: int
) -> None:
    make_strict(alice)
    upstream = UpstreamFactory(second_factor_values=values, enabled=enabled)
    Identity.objects.create(upstream=upstream, subject="s-1", user=alice)

    assert ask(facts(WIKI, bearer(token)), _memory()).status == status


def test_a_cached_token_becomes_wrong_when_the_factor_is_removed(
    token: str, alice: User, worker: Feed
) -> None:
    make_strict(alice)
    Authenticator.objects.create(user=alice, type="totp", data={})
    assert ask(facts(WIKI, bearer(token)), _memory()).status == 200

    Authenticator.objects.all().delete()
    worker.fresh_until = 0.0

    assert ask(facts(WIKI, bearer(token)), _memory()).status == 401


# ---- codes and nginx --------------------------------------------------------------------------------------


def test_a_code_in_the_url_is_never_let_through_with_a_token(token: str) -> None:
    assert ask(facts(f"{WIKI}/?ikdcode={'A' * 43}", bearer(token))).status == 401


def test_the_sign_in_endpoint_of_nginx_answers_401_to_a_wrong_token(wiki: Application) -> None:
    told = [(b"x-auth-decision", b"0123456789ab")]

    response = endpoint("/authgate/start", WIKI, bearer(new_token()), NAVIGATION, told)

    assert response.status_code == 401
    assert "Location" not in response
    assert json.loads(response.content) == {"error": "invalid_token", "decision": "0123456789ab"}


# ---- credentials of the application -----------------------------------------------------------------------

OWN = {
    "basic": b"Basic eDp5",
    "bearer": b"Bearer theirs",
    "digest": b'Digest username="x"',
    "odd": b"\xff\t\xfe",
}


@pytest.mark.parametrize("check", ["/authgate/nginx", "/authgate/traefik"])
@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_a_credential_of_the_application_is_ignored_and_returned(
    alice: User, wiki: Application, own: bytes, check: str
) -> None:
    answer = ask(facts(WIKI, [(b"authorization", own)], cookie=signed_in(alice), check=check))

    assert answer.status == 200
    assert header(answer, b"authorization") == own
    assert header(answer, b"x-auth-credential") is None
    assert ask(facts(WIKI, [(b"authorization", own)], NAVIGATION, check=check)).status in (302, 401)


def test_a_credential_of_the_application_is_not_returned_at_the_urls_of_oauth2_proxy(
    alice: User, settings: Any
) -> None:
    """Configurations for oauth2-proxy may take Authorization in the answer for a header set by the proxy."""
    settings.IKD_OAUTH2_CONTRACT = "traefik"
    ApplicationFactory(name="Wiki", origins=[WIKI], who="signed_in")
    asked = facts(WIKI, [(b"authorization", b"Basic eDp5")], cookie=signed_in(alice), check="/oauth2/auth")

    answer = ask(asked)

    assert (answer.status, header(answer, b"authorization")) == (200, None)


def test_a_credential_is_never_returned_to_a_later_request_of_the_session(
    alice: User, wiki: Application
) -> None:
    memory, cookie = loader.memory_for_one_request(), signed_in(alice)
    first = ask(facts(WIKI, [(b"authorization", b"Basic eDp5")], cookie=cookie), memory)

    second = ask(facts(WIKI, cookie=cookie), memory)

    assert header(first, b"authorization") == b"Basic eDp5"
    assert header(second, b"authorization") is None


def test_a_credential_too_long_for_nginxs_buffer_is_not_returned(alice: User, wiki: Application) -> None:
    long = [(b"authorization", b"Negotiate " + b"Y" * 5000)]

    answer = ask(facts(WIKI, long, cookie=signed_in(alice), check="/authgate/nginx"))

    assert (answer.status, header(answer, b"authorization")) == (200, None)


@pytest.mark.parametrize(
    "own",
    [b"Negotiate " + b"Y" * 20_000, b"Basic x\r\nX-Auth-Request-User: root", b"Basic x\ny", b"Basic \0"],
    ids=["too long", "a line's end", "half of one", "zero"],
)
def test_a_credential_that_cannot_be_returned_is_refused(alice: User, wiki: Application, own: bytes) -> None:
    answer = ask(facts(WIKI, [(b"authorization", own)], cookie=signed_in(alice)))

    assert answer.status == 403
    assert header(answer, b"authorization") is None


# ---- what is left behind ----------------------------------------------------------------------------------


def test_no_token_is_in_a_log_an_event_or_an_answer(
    wiki: Application, caplog: pytest.LogCaptureFixture
) -> None:
    token = new_token()
    with caplog.at_level(logging.DEBUG):
        answer = ask(facts(WIKI, bearer(token)))
        assert answer.refusal is not None
        writer.note_refusal(answer.refusal)
        writer.flush()

    [event] = AuditEvent.objects.all()
    assert event.reason == "wrong credential"
    for text in (caplog.text, str(event.details), answer.body.decode(), str(answer)):
        assert token not in text and token[4:20] not in text


def test_the_last_use_is_stored_at_most_once_a_minute(token: str) -> None:
    writer.note_token_use(ApiToken.objects.get().pk, timezone.now().timestamp())
    writer.flush()
    first = ApiToken.objects.get().last_used_at
    writer.note_token_use(ApiToken.objects.get().pk, timezone.now().timestamp() + 30)
    writer.flush()

    assert first is not None
    assert timezone.now() - first < timedelta(seconds=20)
    assert ApiToken.objects.get().last_used_at == first


# ---- in memory --------------------------------------------------------------------------------------------


@pytest.fixture
def worker(db: None) -> Iterator[Feed]:
    worker = Feed(WorkerMemory(loader.gate_settings(), clock=feed_module.boottime))
    worker.ensure_fresh()
    feed_module.current = worker
    yield worker
    feed_module.current = None


def test_a_new_token_takes_two_queries_and_a_cached_one_none(
    token: str, worker: Feed, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    worker.fresh_until = float("inf")
    with django_assert_num_queries(2):
        first = ask(facts(WIKI, bearer(token)), _memory())
    with django_assert_num_queries(0):
        second = ask(facts(WIKI, bearer(token)), _memory())

    assert first is second


def test_wrong_tokens_from_an_address_do_not_block_its_cached_or_valid_tokens(
    token: str, worker: Feed, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    worker.fresh_until = float("inf")
    assert ask(facts(WIKI, bearer(token)), _memory()).status == 200
    with time_machine.travel(time.time(), tick=False):  # otherwise the bucket would refill on a slow machine
        for _ in range(40):
            ask(facts(WIKI, bearer(new_token())), _memory())

        with django_assert_num_queries(0):
            assert ask(facts(WIKI, bearer(new_token())), _memory()).status == 401
            assert ask(facts(WIKI, bearer(token)), _memory()).status == 200
    worker.memory.forget(everybody=True)
    assert ask(facts(WIKI, bearer(token)), _memory()).status == 200


def test_wrong_attempts_are_limited_and_need_little_memory() -> None:
    tries = WrongTries()
    for _ in range(40):
        tries.note("192.0.2.1", 1000.0)
        tries.note("2001:db8::1", 1000.0)
    for number in range(3 * tries.ADDRESSES):
        tries.note(f"10.0.{number // 256}.{number % 256}", 1001.0)
    for _ in range(40):
        tries.note("2001:db8::1", 1001.0)

    for _ in range(40):
        tries.note("::ffff:192.0.2.8", 1001.0)

    assert tries.is_full("2001:db8::ffff", 1001.0)
    assert tries.is_full("192.0.2.8", 1001.0)
    assert not tries.is_full("::ffff:192.0.2.9", 1001.0)
    assert not tries.is_full("2001:db8:0:1::1", 1001.0)
    assert not tries.is_full("2001:db8::1", 1030.0)
    assert len(tries._levels) == tries.ADDRESSES
