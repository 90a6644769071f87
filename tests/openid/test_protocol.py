"""Reading requests as the RFCs and OpenID Connect require. Cases have the numbers of the provider's table."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from openid.protocol import (
    authorization,
    bearer,
    client_authentication,
    logout,
    parameters,
    pkce,
    redirect_uris,
    signed,
    token,
)
from openid.protocol.authorization import ClientFacts
from openid.protocol.errors import AuthorizationError, ProtocolError, Unredirectable

CALLBACK = "https://app.example.com/callback"
NATIVE = "http://127.0.0.1/callback"
CLIENT = ClientFacts(
    "wiki", (CALLBACK, NATIVE), False, frozenset(("openid", "profile", "email", "groups", "offline_access"))
)
PUBLIC = ClientFacts("phone", (CALLBACK, NATIVE, "com.example.app:/cb"), True, CLIENT.scopes)
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
ASKED = {
    "client_id": "wiki",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "openid profile email",
    "state": "s",
    "nonce": "n",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def read(asked: Any, client: ClientFacts = CLIENT) -> authorization.AuthorizationRequest:
    found = parameters.parse(urlencode(asked).encode())
    return authorization.parse(found, client, authorization.place_of(found, client))


def error_of(asked: Any, client: ClientFacts = CLIENT) -> str:
    with pytest.raises(AuthorizationError) as raised:
        read(asked, client)
    return raised.value.error


def form(**fields: str) -> parameters.Parameters:
    return parameters.parse(urlencode(fields).encode())


# ---- parameters ----


@pytest.mark.parametrize(
    "text",
    [
        b"a=%00",
        b"a=%ff",
        b"a=\xff",
        b"a=%0d%0a",
        b"&".join(b"a%d=1" % n for n in range(41)),
        b"a=" + b"x" * 16_384,
    ],
    ids=["NUL", "no UTF-8", "raw octets", "two lines", "many", "long"],
)
def test_unreadable_parameters_are_refused(text: bytes) -> None:
    with pytest.raises(parameters.Unreadable):
        parameters.parse(text)


def test_an_empty_parameter_counts_as_missing() -> None:
    assert parameters.parse(b"state=&code=x").values == {"code": "x"}


# ---- where answers go: cases 2, 3, 4 and 63 ----


@pytest.mark.parametrize(
    "uri",
    [
        f"{CALLBACK}?x=1",
        f"{CALLBACK};x",
        f"{CALLBACK}/",
        f"{CALLBACK}#f",
        "https://user@app.example.com/callback",
        "https://app.example.com:444/callback",
        "https://app.example.com:443/callback",
        "https://APP.example.com/callback",
        "https://app.example.com/%63allback",
        "https://app.example.com/x/%2e%2e/callback",
        "http://app.example.com/callback",
        "http://127.0.0.1:8080/callback",
        "http://127.0.0.1.example.com/callback",
        "",
    ],
)
def test_a_redirect_uri_that_differs_in_one_byte_is_not_followed(uri: str) -> None:
    with pytest.raises(Unredirectable):
        read({**ASKED, "redirect_uri": uri})


@pytest.mark.parametrize("uri", ["http://127.0.0.1:50123/callback", "http://127.0.0.1/callback"])
def test_a_native_app_chooses_the_port_of_its_loopback_address(uri: str) -> None:
    assert read({**ASKED, "redirect_uri": uri}, PUBLIC).place.redirect_uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:50123/other",
        "http://127.0.0.1:50123@evil.example/callback",
        "http://127.0.0.1:5x/callback",
    ],
)
def test_a_native_app_cannot_change_another_part_of_its_redirect_uri(uri: str) -> None:
    with pytest.raises(Unredirectable):
        read({**ASKED, "redirect_uri": uri}, PUBLIC)


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("https://app.example.com/callback?x=1", ""),
        ("http://127.0.0.1/callback", ""),
        ("http://[::1]/callback", ""),
        ("http://localhost:8080/callback", ""),
        ("http://app.example.com/callback", "without https"),
        ("https://app.example.com/callback#f", "fragment"),
        ("https://user@app.example.com/", "host"),
        ("https://*.example.com/", "host"),
        ("https:///callback", "scheme"),
        ("https:app.example.com", "scheme"),
        ("/callback", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("data:text/html,x", "scheme"),
        ("com.example.app:/cb", "scheme"),
        ("https://app.example.com/a b", "characters"),
        ("https://app.example.com\\@evil.example/", "characters"),
        ("https://app.example.com/é", "characters"),
        ("", "characters"),
        ("https://app.example.com/" + "x" * 1000, "characters"),
        ("https://[app/", "unreadable"),
        ("https://app.example.com:x/", "unreadable"),
    ],
)
def test_only_valid_redirect_uris_may_be_registered(uri: str, problem: str) -> None:
    assert redirect_uris.problem_of(uri, is_public=False) == problem


@pytest.mark.parametrize(
    "uri", ["javascript:alert(1)", "vbscript:x", "data:text/html,x", "app:/cb", "a.b://host"]
)
def test_an_app_may_use_a_private_scheme_only_with_a_dot(uri: str) -> None:
    assert redirect_uris.problem_of("com.example.app:/cb", is_public=True) == ""
    assert redirect_uris.problem_of(uri, is_public=True) == "scheme"


def test_http_is_accepted_if_the_application_allows_plain_http() -> None:
    assert redirect_uris.problem_of("http://app.example.com/", is_public=False, without_https=True) == ""


# ---- authorization requests: cases 5 to 11, 34, 37, 40, 41 ----


def test_a_usual_request_is_read() -> None:
    request = read({**ASKED, "max_age": "60", "prompt": "login consent", "unknown": "x"})

    assert request.scopes == ("openid", "profile", "email")
    assert (request.nonce, request.place.state, request.max_age) == ("n", "s", 60)
    assert request.prompts == {"login", "consent"}


@pytest.mark.parametrize("client", [CLIENT, PUBLIC], ids=["confidential", "public"])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "id_token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"scope": "openid  email"}, "invalid_scope"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"prompt": "dance"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "x"}, "invalid_request"),
        ({"nonce": "x" * 513}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"request_uri": "https://app.example.com/r"}, "request_uri_not_supported"),
        ({"registration": "{}"}, "registration_not_supported"),
        ({"claims": "{"}, "invalid_request"),
        ({"claims": "[" * 5000}, "invalid_request"),
    ],
    ids=str,
)
def test_a_wrong_request_is_reported_to_its_client(
    change: dict[str, str], error: str, client: ClientFacts
) -> None:
    assert error_of({**ASKED, **change}, client) == error


@pytest.mark.parametrize("name", [name for name in ASKED if name not in ("client_id", "redirect_uri")])
def test_a_repeated_parameter_is_refused(name: str) -> None:
    assert error_of([*ASKED.items(), (name, ASKED[name])]) == "invalid_request"


def test_a_repeated_redirect_uri_is_not_followed() -> None:
    with pytest.raises(Unredirectable):
        read([*ASKED.items(), ("redirect_uri", CALLBACK)])


def test_unknown_scopes_and_those_that_the_client_lacks_are_ignored() -> None:
    client = ClientFacts("wiki", (CALLBACK,), False, frozenset(("openid", "email")))

    assert read({**ASKED, "scope": "openid email groups phone"}, client).scopes == ("openid", "email")


@pytest.mark.parametrize(
    ("claims", "acr"),
    [
        ({"id_token": {"acr": {"essential": True, "values": ["2fa", "hw"]}}}, {"2fa", "hw"}),
        ({"id_token": {"acr": {"essential": True, "value": "2fa"}}}, {"2fa"}),
        ({"id_token": {"acr": {"values": ["2fa"]}}}, None),
        ({"id_token": {"acr": None}, "userinfo": {"email": None}}, None),
        ({"id_token": {"acr": {"essential": True, "values": "2fa"}}}, None),
        ([], None),
    ],
)
def test_claims_are_ignored_except_for_an_essential_acr(claims: Any, acr: set[str] | None) -> None:
    assert read({**ASKED, "claims": json.dumps(claims)}).essential_acr == acr


def test_every_answer_names_state_and_issuer_beside_the_uris_own_query() -> None:
    place = authorization.Place("https://app.example.com/cb?x=1", "a b")

    url = authorization.answer_url(place, "https://sso.example.com", error="access_denied", code="")

    assert url.startswith("https://app.example.com/cb?x=1&")
    assert parse_qs(urlsplit(url).query) == {
        "x": ["1"],
        "error": ["access_denied"],
        "state": ["a b"],
        "iss": ["https://sso.example.com"],
    }


# ---- PKCE: cases 12 and 13 ----


@pytest.mark.parametrize(
    ("verifier", "challenge", "is_right"),
    [
        (VERIFIER, CHALLENGE, True),
        (VERIFIER, "", False),
        ("", CHALLENGE, False),
        (VERIFIER[:-1] + "x", CHALLENGE, False),
        (VERIFIER + "\n", CHALLENGE, False),
        (CHALLENGE, CHALLENGE, False),
    ],
)
def test_a_verifier_matches_only_its_challenge(verifier: str, challenge: str, is_right: bool) -> None:
    assert pkce.matches(verifier, challenge) is is_right


# ---- clients: cases 20 to 23 ----


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "fields", "found"),
    [
        ([basic("wiki:secret")], {}, ("wiki", "secret", "client_secret_basic")),
        ([basic("wi%3Aki:se+cr%2Bet")], {}, ("wi:ki", "se cr+et", "client_secret_basic")),
        ([basic("wiki:a:b")], {"client_id": "wiki"}, ("wiki", "a:b", "client_secret_basic")),
        ([], {"client_id": "wiki", "client_secret": "x"}, ("wiki", "x", "client_secret_post")),
        ([], {"client_id": "phone"}, ("phone", "", "none")),
    ],
)
def test_each_way_of_client_authentication_is_read(
    header: list[str], fields: dict[str, str], found: tuple[str, str, str]
) -> None:
    credentials = client_authentication.credentials_in(header, form(**fields))

    assert (credentials.client_id, credentials.secret, credentials.method) == found


@pytest.mark.parametrize(
    ("header", "fields", "error", "status"),
    [
        ([basic("wiki:x")], {"client_id": "wiki", "client_secret": "x"}, "invalid_request", 400),
        ([basic("wiki:x"), basic("wiki:x")], {}, "invalid_request", 400),
        ([basic("wiki:x")], {"client_id": "other"}, "invalid_request", 400),
        ([], {}, "invalid_client", 401),
        ([], {"client_id": "wiki", "client_assertion": "eyJ"}, "invalid_client", 401),
        (["Bearer x"], {}, "invalid_client", 401),
        (["Basic !"], {}, "invalid_client", 401),
        ([basic("wiki")], {}, "invalid_client", 401),
        ([basic("wiki:")], {}, "invalid_client", 401),
        ([basic(":x")], {}, "invalid_client", 401),
        (["Basic " + base64.b64encode(b"wiki:\xff").decode()], {}, "invalid_client", 401),
        ([basic("wiki:%ff")], {}, "invalid_client", 401),
    ],
)
def test_wrong_client_authentication_is_refused(
    header: list[str], fields: dict[str, str], error: str, status: int
) -> None:
    with pytest.raises(ProtocolError) as raised:
        client_authentication.credentials_in(header, form(**fields))

    assert (raised.value.error, raised.value.status) == (error, status)
    assert raised.value.challenge == ('Basic realm="openid"' if status == 401 else "")


# ---- the token endpoint: cases 5, 13, 28 ----


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password", "username": "alice"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code", "redirect_uri": CALLBACK}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "x"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
    ],
)
def test_a_wrong_token_request_is_refused(fields: dict[str, str], error: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        token.parse(form(**fields))

    assert raised.value.error == error


@pytest.mark.parametrize("name", ["grant_type", "code", "code_verifier"])
def test_a_repeated_parameter_of_a_token_request_is_refused(name: str) -> None:
    fields = {
        "grant_type": "authorization_code",
        "code": "x",
        "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }

    with pytest.raises(ProtocolError, match="invalid_request"):
        token.parse(parameters.parse(urlencode([*fields.items(), (name, fields[name])]).encode()))


def test_a_refresh_narrows_scopes_and_never_widens_them() -> None:
    assert token.narrowed(None, ("openid", "email")) == ("openid", "email")
    assert token.narrowed(frozenset(("openid",)), ("openid", "email")) == ("openid",)
    with pytest.raises(ProtocolError, match="invalid_scope"):
        token.narrowed(frozenset(("openid", "groups")), ("openid", "email"))


# ---- access tokens: case 44 ----


@pytest.mark.parametrize(
    ("header", "query", "error", "status"),
    [
        ([], b"", "", 401),
        (["Basic x"], b"", "", 401),
        (["Bearer "], b"", "invalid_token", 401),
        (["Bearer a b"], b"", "invalid_token", 401),
        (["Bearer a", "Bearer a"], b"", "invalid_request", 400),
        ([], b"access_token=a", "invalid_request", 400),
        (["Bearer a"], b"access_token=a", "invalid_request", 400),
        (["Bearer a"], b"access_token=a&access_token=b", "invalid_request", 400),
    ],
)
def test_a_wrong_access_token_is_refused(header: list[str], query: bytes, error: str, status: int) -> None:
    with pytest.raises(ProtocolError) as raised:
        bearer.token_in(header, parameters.parse(query))

    assert (raised.value.error, raised.value.status) == (error, status)
    assert raised.value.challenge.startswith('Bearer realm="openid"')


def test_an_access_token_is_read_whatever_the_case_of_its_scheme() -> None:
    assert bearer.token_in(["bearer abc"], parameters.parse(b"")) == "abc"


# ---- hints: cases 46 and 56 ----

KEY = rsa.generate_private_key(65537, 2048)
ISSUER = "https://sso.example.com"
HINT = {"iss": ISSUER, "sub": "u", "aud": "wiki", "sid": "s", "iat": 1, "exp": 2}


def hint(claims: dict[str, Any] = HINT, typ: str = "JWT", kid: str = "k", key: Any = KEY) -> str:
    return signed.sign(claims, typ, kid, key)


def claims_of(text: str) -> dict[str, Any] | None:
    return signed.claims_of_hint(text, {"k": KEY.public_key()}, ISSUER)


def test_an_expired_hint_is_accepted() -> None:
    assert claims_of(hint()) == HINT


PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def forged(algorithm: str, key: Any) -> str:
    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "typ": "JWT", "kid": "k"}).encode()).rstrip(
        b"="
    )
    body = base64.urlsafe_b64encode(json.dumps(HINT).encode()).rstrip(b"=")
    signature = b""
    if algorithm == "HS256":
        made = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head + b"." + body, key)
        signature = base64.urlsafe_b64encode(made).rstrip(b"=")
    return b".".join((head, body, signature)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a.b.c",
        forged("none", b""),
        forged("HS256", PEM),
        hint(typ="logout+jwt"),
        hint(typ="at+jwt"),
        hint(kid="other"),
        hint(key=rsa.generate_private_key(65537, 2048)),
        hint({**HINT, "iss": "https://evil.example"}),
        hint({name: value for name, value in HINT.items() if name != "sid"}),
        hint({**HINT, "more": "x" * 8192}),
    ],
    ids=[
        "empty",
        "text",
        "no JSON",
        "none",
        "HS256",
        "logout token",
        "access token",
        "unknown key",
        "other key",
        "other issuer",
        "no sid",
        "long",
    ],
)
def test_a_hint_that_is_not_our_id_token_is_ignored(text: str) -> None:
    assert claims_of(text) is None


def test_a_logout_token_has_the_required_claims_and_no_nonce() -> None:
    claims = signed.logout_claims(ISSUER, "wiki", "u", "s", "j", 1000)

    assert set(claims) == {"iss", "aud", "sub", "sid", "iat", "exp", "jti", "events"}
    assert claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}


def test_a_repeated_parameter_of_a_logout_is_refused() -> None:
    with pytest.raises(ProtocolError, match="invalid_request"):
        logout.parse(parameters.parse(b"state=a&state=b"))
