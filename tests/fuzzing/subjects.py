"""What is fuzzed: each function takes bytes, and raises if the product did something forbidden."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import math
import socket
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from accounts.upstreams import http_client
from accounts.upstreams.cas import flow as cas
from accounts.upstreams.errors import ProviderError
from accounts.upstreams.oidc import metadata, signed_tokens
from authgate import cookies
from authgate.check import contracts, state
from authgate.check.credentials import credential_in
from authgate.check.missing import Missing, MissingApplication, MissingIssuers, MissingProgram, MissingSession
from authgate.check.pipeline import check
from authgate.check.query import query_from
from authgate.check.request import Facts, headers_from
from authgate.check.responses import Answer
from authgate.decision.target import BadTarget, origin_from, uri_from
from authgate.redirect_targets import validate_target
from openid.protocol import assertions, authorization, client_authentication, logout, signed, token
from openid.protocol.authorization import ClientFacts, Unredirectable
from openid.protocol.errors import AuthorizationError, ProtocolError
from openid.protocol.parameters import Unreadable, parse
from tests.authgate.test_fuzz import OPEN, TOKEN, memory

ISSUER, CLIENT, KEY_ID = "https://provider.example.com", "portal", "k1"
HOST = "https://sso.example.com"
STATE_KEY = b"k" * 32
REDIRECT_URI = "https://client.example.com/callback"
PROTOCOL_ERRORS = (AuthorizationError, ProtocolError, Unreadable, Unredirectable)


# ---- checks -----------------------------------------------------------------------------------------------


def answered(facts: Facts) -> Answer | Missing:
    """Answer a check as a view, with a database that has only two applications and one session."""
    known = memory()
    for _ in range(6):
        match found := check(facts, known):
            case MissingApplication(origin=origin):
                known.applications[origin] = None
            case MissingSession(digest=key) | MissingProgram(key=key):
                known.sessions[key] = None
            case MissingIssuers():
                known.issuers = frozenset((ISSUER,))
            case _:
                return found
    raise AssertionError("memory lacks something without end")


def contract(data: bytes) -> None:
    """Read a check from lines: URL and headers. Only the session or a public application may get a 2xx."""
    first, *lines = data.split(b"\n")
    path, _, query = first.decode("latin-1").partition("?")
    url = contracts.check_url(path, "nginx") or "/authgate/nginx"
    headers = [
        (name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)
    ]
    found = answered(Facts(url, query, headers_from(headers), "127.0.0.1", time.time(), "GET", first))

    if isinstance(found, Missing):
        return
    assert found.status in (200, 302, 303, 400, 401, 403), found.status
    for name, value in found.headers:
        assert all(0x20 <= octet < 0x7F for octet in name + value), (name, value)
    if found.status == 200:
        has_session = any(name == b"cookie" and TOKEN.encode() in value for name, value in headers)
        is_public = b"open" in data.lower() or b"allow_portal" in data.lower()
        assert has_session or is_public
        assert has_session or dict(found.headers).get(b"x-auth-request-user", b"") == b""


def cookie(data: bytes) -> None:
    """Read a name and a Cookie line. Both readers must find the same cookie."""
    name, _, line = data.partition(b"\n")
    if not name or not name.isascii() or any(each in b"=; \t" for each in name):
        return
    one = cookies.cookies_of(line).get(name.decode("latin-1"))

    assert cookies.cookie_in(line, name) == (None if one is None else one.encode("latin-1"))


def query(data: bytes) -> None:
    """Read a check's query. A query with a fault or with filters must never count as empty."""
    text = data.decode("latin-1")
    found = query_from(text, frozenset(("host", "port")))

    if "allowed_groups" in text.split("=")[0].split("&"):
        assert found.filters is not None or found.fault
    if found.allow_portal and not found.fault:
        assert "allow_portal=true" in text.split("&")


def target(data: bytes) -> None:
    """Read a host and a path. Only BadTarget may be raised, and an origin must stay the same."""
    host, _, uri = data.partition(b"\n")
    try:
        origin = origin_from("https", host.decode("latin-1"))
        assert origin_from("https", urlsplit(origin).netloc) == origin
        assert "/" not in origin.removeprefix("https://") and "@" not in origin
    except BadTarget:
        pass
    try:
        read = uri_from(uri)
        assert read.isascii() and read.isprintable()
    except BadTarget:
        pass


def redirect(data: bytes) -> None:
    """Read a page to return to. It must be on the portal or an allowed origin, for browsers too."""
    found = validate_target(data.decode("utf-8", "replace"), base=HOST, allowed=lambda origin: origin == OPEN)

    if found is not None:
        assert found.isascii() and found.isprintable() and "\\" not in found
        parts = urlsplit(found)
        assert f"{parts.scheme}://{parts.netloc}" in (HOST, OPEN), found


def sealed_state(data: bytes) -> None:
    """Open a state. Only what the portal sealed may open."""
    text = data.decode("latin-1")
    found = state.unseal(text, (STATE_KEY,), time.time())

    assert found is None or (found.origin, found.nonce_hash) == ("https://wiki.example.com", "h" * 22)


def credential(data: bytes) -> None:
    """Read Authorization lines. An API token may count only with its checksum."""
    lines = [(b"authorization", line) for line in data.split(b"\n")]
    credential_in(headers_from(lines), frozenset((ISSUER,)))
    credential_in(headers_from(lines[:1]), frozenset((ISSUER,)))


# ---- tokens -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@lru_cache(maxsize=1)
def public_key() -> dict[str, Any]:
    found = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key().public_key()))
    return {**found, "kid": KEY_ID, "use": "sig", "alg": "RS256"}


def _encoded(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def signed_token(data: bytes) -> str:
    """Return a correctly signed token with two lines of any bytes as header and claims."""
    now = int(time.time())
    data = data.replace(b"NOW", str(now).encode()).replace(b"LATER", str(now + 60).encode())
    header, _, claims = data.partition(b"\n")
    message = _encoded(header) + b"." + _encoded(claims)
    return (message + b"." + _encoded(key().sign(message, padding.PKCS1v15(), hashes.SHA256()))).decode()


def id_token(data: bytes) -> None:
    for kind in (signed_tokens.ID_TOKEN, signed_tokens.LOGOUT_TOKEN, signed_tokens.PROGRAM_TOKEN):
        try:
            made = signed_token(data)
            header = signed_tokens.header_of(made, kind.algorithms, kind)
            claims = signed_tokens.verify_claims(
                made, header, [public_key()], kind, issuer=ISSUER, audience=CLIENT
            )
            assert claims["iss"] == ISSUER and CLIENT in claims["aud"]
            assert not any(name in claims for name in kind.forbidden)
            signed_tokens.validate_for_program(claims, ["another"])
            signed_tokens.validate_for_sign_in(
                claims, header, client_id=CLIENT, nonce="n", access_token="a", authenticated_since=1.0
            )
        except ProviderError:
            continue


def raw_token(data: bytes) -> None:
    """Verify a token as text. No changed token may verify."""
    text = data.decode("latin-1")
    try:
        header = signed_tokens.header_of(text, signed_tokens.ALGORITHMS)
        signed_tokens.verify_claims(
            text, header, [public_key()], signed_tokens.ID_TOKEN, issuer=ISSUER, audience=CLIENT
        )
    except ProviderError:
        pass
    else:
        raise AssertionError("a token verified that this key did not sign")
    assert signed.claims_of_hint(text, {KEY_ID: key().public_key()}, HOST) is None


def hint(data: bytes) -> None:
    found = signed.claims_of_hint(signed_token(data), {KEY_ID: key().public_key()}, HOST)

    assert found is None or found["iss"] == HOST


def client_assertion(data: bytes) -> None:
    made = signed_token(data)
    assertions.key_id_in(made)
    try:
        assertions.client_in(made)
        jti, until = assertions.verified_id(made, "client", [public_key()], {HOST}, time.time())
        assert jti and math.isfinite(until) and until < time.time() + 86_400
    except ProtocolError:
        pass


# ---- requests of clients ----------------------------------------------------------------------------------


def openid_request(data: bytes) -> None:
    """Read a client's request: Authorization headers, then a form. Only protocol errors may be raised."""
    line, _, form = data.partition(b"\n")
    client = ClientFacts("client", (REDIRECT_URI,), False, frozenset(("openid", "email")))
    try:
        parameters = parse(form)
    except Unreadable:
        return
    for read in (
        lambda: client_authentication.credentials_in([line.decode("latin-1")] if line else [], parameters),
        lambda: token.parse(parameters),
        lambda: logout.parse(parameters),
        lambda: assertions.keys_in(parameters.get("jwks")),
        lambda: authorization.parse(parameters, client, authorization.place_of(parameters, client)),
    ):
        try:
            read()
        except (*PROTOCOL_ERRORS, ValueError):
            continue
    try:
        place = authorization.place_of(parameters, client)
    except PROTOCOL_ERRORS:
        return
    assert place.redirect_uri == REDIRECT_URI
    assert authorization.answer_url(place, HOST, code="c").startswith(f"{REDIRECT_URI}?")


# ---- providers' answers -----------------------------------------------------------------------------------


def provider_xml(data: bytes) -> None:
    try:
        person = cas.parse_person(data)
        cas.assertion_of(person, "ST-1")
    except ProviderError:
        pass
    cas.ticket_ended_by(data.decode("utf-8", "replace"))


def provider_json(data: bytes) -> None:
    try:
        found = http_client.Answer(200, {}, data).json()
        if found.get("issuer") == ISSUER:  # `discover` reads only this document
            metadata._metadata(found)
    except ProviderError:
        pass


def provider_http(data: bytes) -> None:
    """Send bytes as a provider. `fetch` must return an answer or raise one of its own errors."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(2)
        ours.settimeout(2)
        theirs.sendall(data[:16_000])
        theirs.shutdown(socket.SHUT_WR)
        try:
            found = http_client._exchange(ours, "provider.example.com", "GET", "/", None, {})
            assert len(found.body) <= http_client.LARGEST
        except (ProviderError, OSError, http.client.HTTPException, ValueError):
            pass


SUBJECTS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        *(contract, cookie, query, target, redirect, sealed_state, credential),
        *(id_token, raw_token, hint, client_assertion),
        *(openid_request, provider_xml, provider_json, provider_http),
    )
}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
