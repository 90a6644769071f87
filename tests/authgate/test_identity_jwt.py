"""X-Ikd-Jwt: an application can verify it, here with PyJWT as its library."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import time_machine
from django.core.management import call_command
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries

from accounts.machines.api_tokens import make_token
from accounts.models import User
from authgate import identity_jwt
from authgate.check.responses import Answer
from authgate.endpoints.check_view import _memory
from authgate.models import Application, AuditEvent, SigningKey
from authgate.worker import feed as feed_module
from authgate.worker import loader
from authgate.worker.feed import Feed
from authgate.worker.memory import WorkerMemory
from tests.authgate.asking import WIKI, ask, facts, header, signed_in
from tests.factories import ApplicationFactory, RuleFactory

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PORTAL = "https://sso.example.com"


@pytest.fixture
def wiki(db: None) -> Application:
    return ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"], identity_jwt=True)


@pytest.fixture
def worker(wiki: Application) -> Iterator[Feed]:
    worker = Feed(WorkerMemory(loader.gate_settings(), clock=feed_module.boottime))
    identity_jwt.signer_with_a_key()
    worker.ensure_fresh()
    worker.fresh_until = float("inf")
    feed_module.current = worker
    yield worker
    feed_module.current = None


def published() -> tuple[dict[str, Any], str]:
    page = Client(HTTP_HOST="sso.example.com").get("/.well-known/jwks.json", secure=True)
    return json.loads(page.content), page["Cache-Control"]


def token_of(answer: Answer) -> str:
    return (header(answer, b"x-ikd-jwt") or b"").decode()


def verified(token: str, origin: str = WIKI) -> dict[str, Any]:
    """Return the claims, verified as by an application: with the published keys, for its own origin."""
    keys = jwt.PyJWKSet.from_dict(published()[0])
    key = keys[jwt.get_unverified_header(token)["kid"]]
    required = {"require": ["iss", "aud", "sub", "iat", "exp"]}
    return dict(
        jwt.decode(token, key, ["ES256"], audience=origin, issuer=PORTAL, options=required)  # type: ignore[arg-type]
    )


def test_an_application_can_verify_the_user_of_a_request(alice: User, wiki: Application) -> None:
    claims = verified(token_of(ask(facts(WIKI, cookie=signed_in(alice)))))

    assert claims["sub"] == str(alice.uuid)
    assert (claims["preferred_username"], claims["name"]) == ("alice", "Alice")
    assert (claims["email"], claims["groups"]) == ("alice@example.com", ["staff"])
    assert claims["exp"] - claims["iat"] == 120


def test_the_jwt_names_the_owner_of_an_api_token(alice: User, wiki: Application) -> None:
    _, token = make_token(alice, "robot", [wiki], 3600)

    answer = ask(facts(WIKI, [(b"authorization", f"Bearer {token}".encode())]))

    assert verified(token_of(answer))["sub"] == str(alice.uuid)


def test_another_origin_does_not_accept_the_jwt(alice: User, wiki: Application) -> None:
    token = token_of(ask(facts(WIKI, cookie=signed_in(alice))))

    with pytest.raises(jwt.InvalidAudienceError):
        verified(token, "https://other.example.com")


def test_the_header_is_empty_if_nobody_is_signed_in(wiki: Application) -> None:
    RuleFactory(application=wiki, path="/open", who="everyone")

    assert header(ask(facts(f"{WIKI}/open")), b"x-ikd-jwt") == b""


def test_only_applications_that_ask_for_the_jwt_get_it(alice: User, wiki: Application) -> None:
    Application.objects.update(identity_jwt=False)

    assert header(ask(facts(WIKI, cookie=signed_in(alice))), b"x-ikd-jwt") is None


def test_the_jwt_has_no_unverified_address_and_no_unrelated_groups(wiki: Application, alice: User) -> None:
    alice.emailaddress_set.update(verified=False)
    wiki.named_groups.create(name="others")

    claims = verified(token_of(ask(facts(WIKI, cookie=signed_in(alice)))))

    assert "email" not in claims
    assert claims["groups"] == []


def test_the_jwt_is_reused_for_half_of_its_lifetime(
    alice: User, worker: Feed, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        cookie = signed_in(alice)
        first = ask(facts(WIKI, cookie=cookie), _memory())
        clock.shift(timedelta(seconds=59))
        with django_assert_num_queries(0):
            assert ask(facts(WIKI, cookie=cookie), _memory()) is first
            clock.shift(timedelta(seconds=2))
            second = ask(facts(WIKI, cookie=cookie), _memory())
            assert ask(facts(WIKI, cookie=cookie), _memory()) is second

        assert token_of(second) != token_of(first)
        assert verified(token_of(second))["exp"] == verified(token_of(first))["exp"] + 61


def test_loading_a_session_again_does_not_sign_again(alice: User, worker: Feed) -> None:
    cookie = signed_in(alice)
    first = ask(facts(WIKI, cookie=cookie), _memory())
    [key] = worker.memory._held
    worker.memory.renew(key, loader.load_held([key])[key], worker.memory.generation)

    assert ask(facts(WIKI, cookie=cookie), _memory()) is first


def test_the_jwt_expires_with_the_sign_in(alice: User, wiki: Application) -> None:
    cookie = signed_in(alice)
    alice.sign_ins.update(expires_at=datetime.now(UTC) + timedelta(seconds=30))

    claims = verified(token_of(ask(facts(WIKI, cookie=cookie))))

    assert claims["exp"] - claims["iat"] <= 30


# ---- keys -------------------------------------------------------------------------------------------------


def rotate(*arguments: str) -> str:
    out = io.StringIO()
    call_command("rotate_jwt_key", *arguments, stdout=out)
    return out.getvalue().split(" ")[0]


def kid_of(alice: User) -> str:
    token = token_of(ask(facts(WIKI, cookie=signed_in(alice))))
    verified(token)
    return str(jwt.get_unverified_header(token)["kid"])


def test_the_key_set_is_public_can_be_cached_and_has_no_private_part(wiki: Application) -> None:
    rotate()

    keys, cached = published()

    assert [set(key) for key in keys["keys"]] == [{"kty", "crv", "x", "y", "kid", "use", "alg"}]
    assert cached == "public, max-age=300"


def test_a_new_key_is_published_before_it_signs_and_the_old_one_stays_published(
    alice: User, wiki: Application
) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        first = rotate()
        second = rotate()
        assert {key["kid"] for key in published()[0]["keys"]} == {first, second}
        assert kid_of(alice) == first
        clock.shift(timedelta(minutes=10))
        assert kid_of(alice) == second
        clock.shift(timedelta(hours=2))
        third = rotate()
        assert {key["kid"] for key in published()[0]["keys"]} == {second, third}


def test_a_stolen_key_can_be_replaced_at_once(alice: User, worker: Feed) -> None:
    cookie = signed_in(alice)
    old = token_of(ask(facts(WIKI, cookie=cookie), _memory()))
    new = rotate("--at-once")
    worker.fresh_until = 0.0

    answer = ask(facts(WIKI, cookie=cookie), _memory())

    assert [key["kid"] for key in published()[0]["keys"]] == [new]
    assert jwt.get_unverified_header(token_of(answer))["kid"] == new
    with pytest.raises(KeyError):
        verified(old)


def test_rotation_is_recorded_and_the_database_holds_no_readable_key(wiki: Application) -> None:
    kid = rotate()

    assert AuditEvent.objects.get(kind="signing_key_made").details["key"] == kid
    assert "PRIVATE KEY" not in str(SigningKey.objects.values().get())


def test_a_malformed_key_is_replaced_and_checks_continue(alice: User, worker: Feed) -> None:
    SigningKey.objects.update(private_key="no key")
    worker.fresh_until = 0.0

    assert verified(token_of(ask(facts(WIKI, cookie=signed_in(alice)), _memory())))
    assert SigningKey.objects.count() == 2


def test_a_key_that_cannot_be_decrypted_is_replaced(alice: User, wiki: Application, settings: Any) -> None:
    old = rotate()
    settings.IKD_ENCRYPTION_KEYS = ["another installation's key"]

    assert kid_of(alice) != old
