"""JWTs of upstreams as credentials of machines, with a real provider, real keys, and the whole check."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pytest_django.fixtures import DjangoAssertNumQueries

from accounts.models import Identity, StrictGroup, Upstream, User
from accounts.upstreams.errors import ProviderError
from accounts.upstreams.oidc import metadata
from accounts.upstreams.oidc.signed_tokens import PROGRAM_TOKEN
from authgate.check.responses import Answer
from authgate.endpoints.check_view import _memory
from authgate.models import Application
from authgate.worker import feed as feed_module
from authgate.worker import loader
from authgate.worker.feed import Feed
from authgate.worker.memory import WorkerMemory
from tests.authgate.asking import NAVIGATION, WIKI, ask, facts, header
from tests.factories import ApplicationFactory, RuleFactory, UpstreamFactory
from tests.upstreams.provider import SHORT_RSA_KEY
from tests.upstreams.provider_of_keys import AUDIENCE, Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.stop()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return a clock for a process that has no keys yet."""
    clock = Clock()
    monkeypatch.setattr(metadata, "clock", clock)
    return clock


@pytest.fixture
def upstream(provider: Provider, db: None) -> Upstream:
    return UpstreamFactory(
        issuer=provider.issuer, trusted_for_machines=True, machine_audience=AUDIENCE, allow_private=True
    )


@pytest.fixture
def wiki(db: None) -> Application:
    return ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])


@pytest.fixture
def linked(upstream: Upstream, alice: User, wiki: Application) -> Identity:
    return Identity.objects.create(upstream=upstream, subject="s-1", user=alice)


@pytest.fixture
def worker(linked: Identity) -> Iterator[Feed]:
    worker = Feed(WorkerMemory(loader.gate_settings(), clock=feed_module.boottime))
    worker.ensure_fresh()
    worker.fresh_until = float("inf")
    feed_module.current = worker
    yield worker
    feed_module.current = None


def answer_to(token: str, **more: Any) -> Answer:
    return ask(facts(WIKI, [(b"authorization", f"Bearer {token}".encode())], **more), _memory())


def is_wrong(answer: Answer) -> bool:
    told = header(answer, b"www-authenticate") or b""
    locations = {b"location", b"x-auth-location"} & {name for name, _ in answer.headers}
    return answer.status == 401 and b"invalid_token" in told and not locations


def test_a_token_opens_what_the_linked_user_may_open(provider: Provider, linked: Identity) -> None:
    answer = answer_to(provider.token())

    assert answer.status == 200
    assert header(answer, b"x-auth-request-user") == b"alice"
    assert header(answer, b"x-auth-credential") == b"portal"
    assert header(answer, b"authorization") is None


def test_rules_apply_to_a_token_and_it_is_no_second_factor(
    provider: Provider, linked: Identity, wiki: Application
) -> None:
    RuleFactory(application=wiki, path="/", who="chosen", groups=["board"])
    wiki.rules.filter(groups__name="staff").delete()

    assert answer_to(provider.token()).status == 403
    wiki.rules.update(second_factor=True, who="signed_in")
    assert (
        ask(facts(WIKI, [(b"authorization", f"Bearer {provider.token()}".encode())], NAVIGATION)).status
        == 403
    )


def test_a_client_id_of_the_portal_is_refused_as_audience(provider: Provider, linked: Identity) -> None:
    """Applications receive ID tokens with this audience, which would then open every other application."""
    Upstream.objects.update(machine_audience="portal")
    assert answer_to(provider.token(aud="portal")).status == 401

    UpstreamFactory(issuer=provider.issuer, client_id="second")
    Upstream.objects.filter(client_id="portal").update(machine_audience="second")
    assert answer_to(provider.token(aud="second")).status == 401

    Upstream.objects.filter(client_id="portal").update(machine_audience=AUDIENCE)
    assert answer_to(provider.token()).status == 200
    assert is_wrong(answer_to(provider.token(aud=[AUDIENCE, "second"])))


TYPES: list[tuple[Any, int]] = [
    *((type, 200) for type in (None, "JWT", "jwt", "at+jwt", "application/at+jwt")),
    *((type, 401) for type in ("logout+jwt", "dpop+jwt", "secevent+jwt", "kb+jwt", "JOSE", 7, ["JWT"])),
]


@pytest.mark.parametrize(("type", "status"), TYPES)
def test_only_access_tokens_are_credentials(
    provider: Provider, linked: Identity, type: Any, status: int
) -> None:
    assert answer_to(provider.token(header={"typ": type})).status == status


CLAIMS: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://other.example.com"},
    "no audience": {"aud": None},
    "an audience that begins alike": {"aud": f"{AUDIENCE}/"},
    "expired": {"exp": int(time.time()) - 60},
    "no end": {"exp": None},
    "not yet": {"nbf": int(time.time()) + 3600},
    "issued tomorrow": {"iat": int(time.time()) + 86_400},
    "not issued": {"iat": None},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a long subject": {"sub": "s" * 300},
    "another subject": {"sub": "s-2"},
    "a subject in capitals": {"sub": "S-1"},
    "the user's name as subject": {"sub": "alice"},
    "the user's address as subject": {"sub": "alice@example.com"},
    "name and address of a user": {"sub": "s-3", "preferred_username": "alice", "email": "alice@example.com"},
    "an end that is text": {"exp": "never"},
    "an end that is a number in a text": {"exp": str(int(time.time()) + 600)},
    "an end that is true": {"exp": True},
    "an end that is no number": {"exp": float("nan")},
    "no end in sight": {"exp": float("inf")},
    "an end after every calendar": {"exp": 10**12},
    "an end of four hundred digits": {"exp": 10**400},
    "a time of issue in a text": {"iat": str(int(time.time()))},
    "a beginning in a text": {"nbf": str(int(time.time()) - 5)},
    "a beginning that is false": {"nbf": False},
    "a subject with a line break": {"sub": "s-1\n"},
    "a subject with half a character": {"sub": "\ud800"},
    "an event": {"events": {}},
    "a nonce": {"nonce": "n"},
    "the hash of an access token": {"at_hash": "x"},
    "the hash of a code": {"c_hash": "x"},
    "a key to be proved": {"cnf": {"jkt": "x"}},
    "a certificate to be proved": {"cnf": {"x5t#S256": "x"}},
    "nothing to be proved": {"cnf": {}},
    "the portal among the audiences": {"aud": [AUDIENCE, "portal"]},
    "made for the portal": {"azp": "portal"},
    "made for the portal, as RFC 9068 has it": {"client_id": "portal"},
    "an ID token of Keycloak": {"typ": "ID"},
    "an ID token of Cognito": {"token_use": "id"},
}


@pytest.mark.parametrize("changes", CLAIMS.values(), ids=CLAIMS)
def test_a_token_with_wrong_claims_is_wrong(
    provider: Provider, linked: Identity, changes: dict[str, Any]
) -> None:
    assert is_wrong(answer_to(provider.token(**changes)))
    assert User.objects.count() == 1


def test_one_of_several_audiences_is_enough(provider: Provider, linked: Identity) -> None:
    assert answer_to(provider.token(aud=["https://other.example.com", AUDIENCE])).status == 200


@pytest.mark.parametrize("changes", [{"exp": int(time.time()) - 10}, {"iat": int(time.time()) + 10}])
def test_clocks_may_differ_by_seconds(provider: Provider, linked: Identity, changes: dict[str, Any]) -> None:
    now = int(time.time())
    changes = {"exp": now - 10} if "exp" in changes else {"iat": now + 10}

    assert answer_to(provider.token(**changes)).status == 200


def forged(provider: Provider, header: dict[str, Any], signature: str = "c2ln") -> str:
    """Return a valid token's claims with another header and signature."""
    encoded = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return ".".join([encoded, provider.token().split(".")[1], signature])


def test_a_token_signed_with_another_key_is_wrong(provider: Provider, linked: Identity) -> None:
    other = rsa.generate_private_key(65537, 2048)

    assert is_wrong(answer_to(provider.token(key=other)))
    assert is_wrong(answer_to(provider.token("other", key=other)))


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS1", "", None, 7])
def test_other_algorithms_are_refused(provider: Provider, linked: Identity, algorithm: Any) -> None:
    assert is_wrong(answer_to(forged(provider, {"alg": algorithm, "kid": "first"})))


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_a_token_signed_with_the_public_key_as_secret_is_wrong(
    provider: Provider, linked: Identity, form: str
) -> None:
    encoding, format = getattr(serialization.Encoding, form), serialization.PublicFormat.SubjectPublicKeyInfo
    published = provider.private["first"].public_key().public_bytes(encoding, format)
    signed = forged(provider, {"alg": "HS256", "kid": "first"}).rpartition(".")[0]
    mac = base64.urlsafe_b64encode(hmac.digest(published, signed.encode(), "sha256")).decode().rstrip("=")

    assert is_wrong(answer_to(f"{signed}.{mac}"))


@pytest.mark.parametrize("kid", [7, None, ["first"], {"a": 1}])
def test_an_odd_key_id_causes_no_error(provider: Provider, linked: Identity, kid: Any) -> None:
    assert is_wrong(answer_to(forged(provider, {"alg": "RS256", "kid": kid})))


def test_a_header_that_asks_for_another_key_set_is_not_followed(provider: Provider, linked: Identity) -> None:
    token = forged(provider, {"alg": "RS256", "kid": "x", "jku": f"{provider.issuer}/evil", "crit": ["x"]})

    assert is_wrong(answer_to(token))
    assert "/evil" not in provider.asked


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        ("PS256", rsa.generate_private_key(65537, 2048)),
    ],
    ids=["ES256", "EdDSA", "PS256"],
)
def test_usual_algorithms_are_accepted(
    provider: Provider, linked: Identity, algorithm: str, key: Any
) -> None:
    provider.private["another"] = key

    assert answer_to(provider.token("another", algorithm)).status == 200


@pytest.mark.parametrize(
    "told",
    [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": "verify"}, {"key_ops": None}],
    ids=["use", "operations", "operations that are text", "operations that are nothing"],
)
def test_a_key_for_another_use_is_refused(provider: Provider, linked: Identity, told: dict[str, Any]) -> None:
    published = json.loads(provider.answer_to("/keys")[1])
    published["keys"][0] |= told
    provider.answers["/keys"] = (200, json.dumps(published).encode())

    assert is_wrong(answer_to(provider.token()))


def test_a_short_key_is_refused(provider: Provider, linked: Identity) -> None:
    provider.private["short"] = SHORT_RSA_KEY

    assert answer_to(provider.token()).status == 200
    assert is_wrong(answer_to(provider.token("short")))


@pytest.mark.parametrize("several", [False, True])
def test_without_a_key_id_there_must_be_one_key(provider: Provider, linked: Identity, several: bool) -> None:
    if several:
        provider.private["second"] = rsa.generate_private_key(65537, 2048)

    assert (answer_to(provider.token(None)).status == 200) is not several


# ---- trusted upstreams ------------------------------------------------------------------------------------

DISTRUST: dict[str, dict[str, Any]] = {
    "not trusted for machines": {"trusted_for_machines": False},
    "switched off": {"enabled": False},
    "without an audience": {"machine_audience": ""},
    "no OpenID Connect": {"kind": "cas"},
    "another issuer": {"issuer": "https://other.example.com"},
}


@pytest.mark.parametrize("changes", DISTRUST.values(), ids=DISTRUST)
def test_a_token_of_an_untrusted_upstream_is_left_to_the_application(
    provider: Provider, linked: Identity, changes: dict[str, Any]
) -> None:
    Upstream.objects.update(**changes)

    answer = answer_to(provider.token())

    assert (answer.status, is_wrong(answer)) == (401, False)
    assert provider.asked == []


def test_the_same_subject_of_another_upstream_is_not_linked(
    provider: Provider, linked: Identity, bob: User
) -> None:
    other = UpstreamFactory(issuer="https://other.example.com")
    Identity.objects.update(upstream=other)

    assert is_wrong(answer_to(provider.token()))


def test_a_disabled_user_is_refused(provider: Provider, linked: Identity) -> None:
    User.objects.update(is_active=False)

    assert is_wrong(answer_to(provider.token()))


def test_a_user_who_must_use_a_second_factor_is_refused_without_one(
    provider: Provider, linked: Identity
) -> None:
    StrictGroup.objects.create(group=linked.user.groups.get(name="staff"))
    assert is_wrong(answer_to(provider.token()))

    Upstream.objects.update(second_factor_values="mfa")

    assert answer_to(provider.token()).status == 200


# ---- in memory --------------------------------------------------------------------------------------------


def test_a_warm_token_is_not_verified_again(
    provider: Provider, worker: Feed, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    token = provider.token()
    first = answer_to(token)

    with django_assert_num_queries(0):
        assert answer_to(token) is first


def changed(worker: Feed) -> None:
    worker.fresh_until = 0.0


@pytest.mark.parametrize(
    "revoke",
    [
        lambda: Identity.objects.all().delete(),
        lambda: Identity.objects.update(subject="s-9"),
        lambda: Identity.objects.update(user=User.objects.get(username="bob")),
        lambda: User.objects.filter(username="alice").update(is_active=False),
        lambda: Upstream.objects.update(enabled=False),
        lambda: Upstream.objects.update(trusted_for_machines=False),
        lambda: Upstream.objects.update(machine_audience="https://other.example.com"),
        lambda: Upstream.objects.all().delete(),
    ],
    ids=["unlinked", "other subject", "other user", "disabled", "off", "not trusted", "audience", "deleted"],
)
def test_losing_access_counts_at_once(provider: Provider, worker: Feed, bob: User, revoke: Any) -> None:
    token = provider.token()
    assert answer_to(token).status == 200

    revoke()
    changed(worker)

    assert answer_to(token).status != 200


def test_a_token_in_memory_is_refused_once_it_expires(provider: Provider, worker: Feed) -> None:
    token = provider.token(exp=int(time.time()) + 5)
    assert answer_to(token).status == 200
    [held] = worker.memory._held.values()

    assert held.expires_at <= time.time() + 5 + PROGRAM_TOKEN.leeway
    held.expires_at = time.time()
    assert is_wrong(answer_to(token))


def test_an_unused_token_is_forgotten(provider: Provider, worker: Feed) -> None:
    answer_to(provider.token())
    [key] = worker.memory._held

    assert loader.load_held([key]) == {}


# ---- asking for keys --------------------------------------------------------------------------------------


def test_keys_are_fetched_once_in_several_minutes(provider: Provider, linked: Identity, clock: Clock) -> None:
    for _ in range(20):
        assert answer_to(provider.token()).status == 200
    assert provider.times_asked() == 1

    clock.now += 301
    assert answer_to(provider.token()).status == 200
    assert provider.times_asked() == 2


def test_invalid_tokens_cause_no_fetch_of_keys(provider: Provider, worker: Feed, clock: Clock) -> None:
    other = rsa.generate_private_key(65537, 2048)
    for number in range(50):
        assert is_wrong(answer_to(provider.token(f"kid-{number}", key=other)))

    assert provider.times_asked() == 1


def test_a_new_key_is_found_after_ten_seconds(provider: Provider, linked: Identity, clock: Clock) -> None:
    assert answer_to(provider.token()).status == 200
    provider.private = {"second": rsa.generate_private_key(65537, 2048), "first": provider.private["first"]}

    assert is_wrong(answer_to(provider.token("second")))
    clock.now += 11
    assert answer_to(provider.token("second")).status == 200


def test_a_key_replaced_under_the_same_id_counts_at_once(
    provider: Provider, linked: Identity, clock: Clock
) -> None:
    before = provider.token()
    assert answer_to(before).status == 200
    clock.now += 11
    provider.private["first"] = rsa.generate_private_key(65537, 2048)

    assert answer_to(provider.token()).status == 200
    assert is_wrong(answer_to(before))


def test_wrong_signatures_rarely_cause_a_fetch_and_block_no_token(
    provider: Provider, worker: Feed, clock: Clock
) -> None:
    other = rsa.generate_private_key(65537, 2048)
    right = provider.token()
    for number in range(30):
        clock.now += 1
        assert is_wrong(answer_to(provider.token(key=other, jti=f"{number}")))
        assert answer_to(right).status == 200

    assert provider.times_asked() <= 4


def test_a_withdrawn_key_is_soon_refused(provider: Provider, linked: Identity, clock: Clock) -> None:
    token = provider.token()
    assert answer_to(token).status == 200
    provider.private = {"second": rsa.generate_private_key(65537, 2048)}
    clock.now += 301

    assert is_wrong(answer_to(token))


def test_keys_of_an_upstream_that_is_down_are_valid_for_an_hour(
    provider: Provider, linked: Identity, clock: Clock
) -> None:
    assert answer_to(provider.token()).status == 200
    provider.answers["/keys"] = (503, b"")
    clock.now += 3000
    assert [answer_to(provider.token()).status for _ in range(10)] == [200] * 10
    assert provider.times_asked() == 2
    clock.now += 700
    assert is_wrong(answer_to(provider.token()))


def test_an_upstream_that_never_answered_is_rarely_asked(
    provider: Provider, worker: Feed, clock: Clock
) -> None:
    provider.answers["/keys"] = (503, b"")
    for _ in range(10):
        assert is_wrong(answer_to(provider.token()))
    assert provider.times_asked() == 1

    del provider.answers["/keys"]
    clock.now += 31
    assert answer_to(provider.token()).status == 200


ODD: dict[str, tuple[str, tuple[int, bytes]]] = {
    "another issuer": ("/.well-known/openid-configuration", (200, b'{"issuer": "x", "jwks_uri": "y"}')),
    "no discovery": ("/.well-known/openid-configuration", (404, b"")),
    "a redirect": ("/keys", (302, b"")),
    "no JSON": ("/keys", (200, b"<html>")),
    "a list": ("/keys", (200, b"[]")),
    "keys of nothing": ("/keys", (200, b'{"keys": [1, null, {}, {"kty": "oct", "k": "AA"}]}')),
    "no list of keys": ("/keys", (200, b'{"keys": 7}')),
    "nested without end": ("/keys", (200, b"[" * 100_000)),
    "without end": ("/keys", (200, b" " * 1_000_000)),
}


@pytest.mark.parametrize(("path", "odd"), ODD.values(), ids=ODD)
def test_an_odd_answer_has_no_keys(
    provider: Provider, linked: Identity, path: str, odd: tuple[int, bytes]
) -> None:
    provider.answers[path] = odd

    assert is_wrong(answer_to(provider.token()))


def test_keys_inside_the_network_are_fetched_only_if_allowed(provider: Provider, linked: Identity) -> None:
    Upstream.objects.update(allow_private=False)

    assert is_wrong(answer_to(provider.token()))
    assert provider.asked == []


@pytest.mark.parametrize("issuer", ["https://127.0.0.1:9", "https://localhost:9", "https://[::1]:9"])
def test_no_private_address_receives_a_request(issuer: str, db: None) -> None:
    upstream = UpstreamFactory(issuer=issuer)

    with pytest.raises(ProviderError, match="inside the network"):
        metadata.discover(upstream)


def test_pyjwt_accepts_a_right_token(provider: Provider) -> None:
    """The tables above would also pass if every token of the provider were wrong."""
    key = provider.private["first"].public_key()

    assert jwt.decode(provider.token(), key, ["RS256"], audience=AUDIENCE)["sub"] == "s-1"
