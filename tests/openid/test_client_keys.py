"""Clients that authenticate with JWTs that they sign: private_key_jwt."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.cache import cache
from django.core.exceptions import ValidationError

from authgate.models import Application
from openid.models import Client
from openid.protocol import assertions
from tests.accounts.conftest import PORTAL, PortalClient
from tests.openid.relying_party import FORM, RelyingParty, basic, error_of, register
from tests.own_database import in_tables

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
SHORT = rsa.generate_private_key(65537, 1024)
TOKEN = f"{PORTAL}/openid/token"


def public(key: Any, kid: str = "a") -> dict[str, Any]:
    kind = jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else None
    made: dict[str, Any] = (kind or jwt.algorithms.RSAAlgorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid}


def key_set(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": list(keys)})


@dataclass
class Signing(RelyingParty):
    """A client that signs an assertion for each call. `change` and `headers` alter it."""

    key: Any = KEY
    algorithm: str = "ES256"

    def assertion(self, headers: dict[str, Any] | None = None, **change: Any) -> str:
        now, name = int(time.time()), self.client.client_id
        claims = {"iss": name, "sub": name, "aud": PORTAL, "exp": now + 60, "jti": str(time.monotonic_ns())}
        claims = {name: value for name, value in (claims | change).items() if value is not None}
        return jwt.encode(claims, self.key, self.algorithm, headers={"kid": "a", **(headers or {})})

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Any:
        if "client_assertion" not in fields:
            fields = {**self.proven(self.assertion()), **fields}
        sent = urlencode(fields)
        return self.backend.generic("POST", path, sent, FORM, **headers)

    def proven(self, assertion: str) -> dict[str, str]:
        return {"client_assertion_type": assertions.TYPE, "client_assertion": assertion}

    def introspected(self, assertion: str, **more: str) -> Any:
        return self.post("/openid/introspect", {"token": "x", **self.proven(assertion), **more})


def signing(wiki: Application, **fields: Any) -> Signing:
    return Signing(register(wiki, **fields).client, "")


@pytest.fixture
def signs(wiki: Application) -> Signing:
    return signing(wiki, jwks=key_set(public(KEY)))


def test_a_client_with_keys_signs_in_refreshes_introspects_and_revokes(
    browser: PortalClient, signs: Signing
) -> None:
    tokens = signs.tokens(browser)
    refreshed = signs.refresh(tokens["refresh_token"]).json()

    assert signs.introspect(refreshed["access_token"])["active"] is True
    assert signs.revoke(refreshed["refresh_token"]).status_code == 200
    assert signs.introspect(refreshed["access_token"])["active"] is False


@pytest.mark.parametrize("audience", [PORTAL, TOKEN, [TOKEN]], ids=["issuer", "endpoint", "list of one"])
def test_the_audience_is_the_issuer_or_its_token_endpoint(signs: Signing, audience: Any) -> None:
    assert signs.introspected(signs.assertion(aud=audience)).json() == {"active": False}


@pytest.mark.parametrize("key_and_algorithm", [(RSA, "RS256"), (RSA, "PS256")], ids=["RS256", "PS256"])
def test_rsa_keys_are_accepted(wiki: Application, key_and_algorithm: Any) -> None:
    rp = signing(wiki, jwks=key_set(public(RSA)))
    rp.key, rp.algorithm = key_and_algorithm

    assert rp.introspected(rp.assertion()).status_code == 200


def by_hmac(assertion: str) -> str:
    """Sign again with HMAC and the public key as secret. A library that trusts the header would accept it."""
    claims = assertion.split(".")[1]
    header = base64.urlsafe_b64encode(b'{"alg": "HS256", "kid": "a"}').rstrip(b"=").decode()
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    made = hmac.digest(pem, f"{header}.{claims}".encode(), "sha256")
    return f"{header}.{claims}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


WRONG: dict[str, Callable[[Signing], str]] = {
    "another's issuer": lambda rp: rp.assertion(iss="somebody"),
    "another's subject": lambda rp: rp.assertion(iss="somebody", sub="somebody"),
    "another audience": lambda rp: rp.assertion(aud="https://other.example"),
    "two audiences": lambda rp: rp.assertion(aud=[PORTAL, "https://other.example"]),
    "audience with a path": lambda rp: rp.assertion(aud=f"{PORTAL}/"),
    "no audience": lambda rp: rp.assertion(aud=None),
    "expired": lambda rp: rp.assertion(exp=int(time.time()) - 60),
    "no end": lambda rp: rp.assertion(exp=None),
    "an end far away": lambda rp: rp.assertion(exp=int(time.time()) + 3600),
    "not yet": lambda rp: rp.assertion(nbf=int(time.time()) + 300),
    "no jti": lambda rp: rp.assertion(jti=None),
    "an empty jti": lambda rp: rp.assertion(jti=""),
    "a long jti": lambda rp: rp.assertion(jti="x" * 300),
    "an unknown key": lambda rp: rp.assertion({"kid": "b"}),
    "another's key": lambda rp: Signing(rp.client, "", key=OTHER).assertion(),
    "an ID token's place": lambda rp: rp.assertion(aud=rp.client.client_id),
    "no JWT": lambda rp: "x.y.z",
    "huge": lambda rp: rp.assertion(more="x" * 9000),
    "alg none": lambda rp: jwt.encode(
        {
            "iss": rp.client.client_id,
            "sub": rp.client.client_id,
            "aud": PORTAL,
            "exp": time.time() + 60,
            "jti": "1",
        },
        None,
        "none",
    ),
    "alg HS256 with the public key": lambda rp: by_hmac(rp.assertion()),
    "a short RSA key": lambda rp: Signing(rp.client, "", key=SHORT, algorithm="RS256").assertion(
        {"kid": "short"}
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_assertion_is_refused(wiki: Application, wrong: Callable[[Signing], str]) -> None:
    rp = signing(wiki, jwks=key_set(public(KEY), public(SHORT, "short")))
    answer = rp.introspected(wrong(rp))

    assert (answer.status_code, error_of(answer)) == (401, "invalid_client")
    assert rp.introspected(rp.assertion()).status_code == 200


def test_an_assertion_is_accepted_once(signs: Signing, wiki: Application) -> None:
    assertion = signs.assertion()
    answers = [signs.introspected(assertion).status_code for _ in range(2)]

    assert answers == [200, 401]
    with time_machine.travel(time.time() + 59):
        assert signs.introspected(assertion).status_code == 401


def test_another_client_may_use_the_same_jti(signs: Signing, wiki: Application) -> None:
    other = signing(wiki, jwks=key_set(public(KEY)))

    assert signs.introspected(signs.assertion(jti="1")).status_code == 200
    assert other.introspected(other.assertion(jti="1")).status_code == 200


def test_a_client_has_either_keys_or_a_secret(rp: RelyingParty, wiki: Application) -> None:
    signer = Signing(rp.client, "")
    refused = signer.introspected(signer.assertion())
    Client.objects.update(jwks=key_set(public(KEY)))

    assert error_of(refused) == "invalid_client"
    assert error_of(rp.post("/openid/introspect", {"token": "x"})) == "invalid_client"


def test_two_ways_to_authenticate_at_once_are_refused(signs: Signing) -> None:
    header = basic(signs.client.client_id, "x")
    twice = signs.post("/openid/introspect", {"token": "x"}, HTTP_AUTHORIZATION=header)
    named = signs.introspected(signs.assertion(), client_id="somebody")
    typed = signs.introspected(signs.assertion(), client_assertion_type="other")

    assert [error_of(each) for each in (twice, named)] == ["invalid_request"] * 2
    assert error_of(typed) == "invalid_client"


# ---- fetched keys ----


class Published:
    """A real server that publishes keys, and counts requests."""

    def __init__(self) -> None:
        self.body, self.asked = key_set(public(KEY)), 0
        published = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                published.asked += 1
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(published.body.encode())

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server.server_address[1]}/keys"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def published() -> Iterator[Published]:
    published = Published()
    yield published
    published.server.shutdown()
    published.server.server_close()


@in_tables
def test_keys_are_fetched_once_and_again_for_an_unknown_one(wiki: Application, published: Published) -> None:
    rp = signing(wiki, jwks_uri=published.uri, allow_private=True)
    first = [rp.introspected(rp.assertion()).status_code for _ in range(3)]
    asked = published.asked
    unknown = [rp.introspected(rp.assertion({"kid": "new"})).status_code for _ in range(3)]
    asked_for_unknown = published.asked
    published.body = key_set(public(KEY, "new"))
    with time_machine.travel(time.time() + 60):
        rotated = rp.introspected(rp.assertion({"kid": "new"})).status_code

    assert (first, asked) == ([200] * 3, 1)
    assert (unknown, asked_for_unknown) == ([401] * 3, 1)
    assert rotated == 200


def test_keys_inside_the_network_are_fetched_only_if_allowed(wiki: Application, published: Published) -> None:
    rp = signing(wiki, jwks_uri=published.uri, allow_private=True)
    Client.objects.update(allow_private=False)
    cache.clear()

    assert rp.introspected(rp.assertion()).status_code == 401
    assert published.asked == 0


@pytest.mark.parametrize(
    "body", ["", "[]", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AAAA"}]}', "{" * 5000]
)
def test_an_answer_without_a_key_set_is_refused(wiki: Application, published: Published, body: str) -> None:
    published.body = body
    rp = signing(wiki, jwks_uri=published.uri, allow_private=True)

    assert rp.introspected(rp.assertion()).status_code == 401


# ---- values in the admin ----


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"jwks": "x"}, "This is not valid JSON."),
        ({"jwks": "{}"}, "A JWK set begins"),
        ({"jwks": key_set({**public(KEY), "d": "secret"})}, "This is a private key."),
        ({"jwks": key_set({"kty": "oct", "k": "secret"})}, "This is a private key."),
        ({"jwks": key_set(*[public(KEY)] * 11)}, "There are too many keys."),
        ({"jwks": key_set(public(KEY)), "jwks_uri": "https://a.example/keys"}, "not both"),
        ({"jwks": key_set(public(KEY)), "kind": Client.Kind.PUBLIC}, "A public client cannot have keys."),
        ({"jwks_uri": "http://a.example/keys"}, "must begin with https://"),
        ({"jwks_uri": "javascript:alert(1)"}, "must begin with https://"),
    ],
)
def test_an_administrator_cannot_enter_wrong_keys(
    wiki: Application, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        register(wiki, **fields)
