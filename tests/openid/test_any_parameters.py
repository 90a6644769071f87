"""Any parameters from any client: each request has one meaning, or gets an error of an RFC."""

from __future__ import annotations

from urllib.parse import quote_from_bytes, urlsplit

from hypothesis import example, given, settings
from hypothesis import strategies as st

from openid.protocol import authorization, client_authentication, device, logout, parameters, token
from openid.protocol.errors import AuthorizationError, ProtocolError, Unredirectable
from tests.openid.test_protocol import ASKED, CALLBACK, CLIENT, PUBLIC, VERIFIER

TOKEN = {
    "grant_type": "authorization_code",
    "code": "c" * 43,
    "redirect_uri": CALLBACK,
    "code_verifier": VERIFIER,
    "refresh_token": "r" * 43,
    "device_code": "d" * 43,
    "client_id": "wiki",
    "client_secret": "s" * 43,
    "client_assertion": "a.b.c",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "scope": "openid",
    "token": "t" * 43,
}
ERRORS = {"invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "unauthorized_client"}
ERRORS |= {"unsupported_grant_type", "unsupported_response_type", "login_required", "consent_required"}
ERRORS |= {"interaction_required", "access_denied", "request_not_supported", "request_uri_not_supported"}
ERRORS |= {"registration_not_supported", "server_error", "temporarily_unavailable"}

ODD = [
    b"",
    b" ",
    b"\0",
    b"\xff",
    b"\xc0\xaf",
    "é".encode(),
    "\u202e".encode(),
    b"openid openid",
    b"none login",
]
ODD += [
    b"-1",
    b"1e9",
    b"9" * 40,
    b"null",
    b"[]",
    b"{",
    b'{"id_token":{"acr":{"essential":true}}}',
    b"%00",
    b"+",
]
ODD += [b"javascript:alert(1)", b"https://evil.example/", CALLBACK.encode() + b"/..", b"x" * 5000]
values = st.sampled_from(ODD) | st.binary(max_size=20)


@st.composite
def forms(draw: st.DrawFn, base: dict[str, str]) -> bytes:
    """Return a form close to `base`: parameters missing, repeated, empty, huge or odd, in any order."""
    pairs = [(name.encode(), text.encode()) for name, text in base.items() if draw(st.integers(0, 7))]
    for _ in range(draw(st.integers(0, 4))):
        name = draw(
            st.sampled_from(sorted(base)) | st.sampled_from(["request", "claims", "prompt", "max_age", "x"])
        )
        pairs.append((name.encode(), draw(values)))
    if draw(st.booleans()):
        pairs = draw(st.permutations(pairs))
    encoded = [
        quote_from_bytes(name) + "=" + quote_from_bytes(value, safe="" if draw(st.booleans()) else "/:+ ")
        for name, value in pairs
    ]
    octets = "&".join(encoded).encode()
    return octets + draw(st.sampled_from([b"", b"", b"&", b"&&", b";a=b", b"&%zz", b"&" + b"a=b&" * 50]))


def has_plain_words(error: ProtocolError | AuthorizationError) -> bool:
    """Return whether an error is one of the RFCs', and its text fits into a header (6749, appendix A.7)."""
    text = error.description
    return (
        error.error in ERRORS
        and text.isascii()
        and text.isprintable()
        and '"' not in text
        and "\\" not in text
    )


@settings(max_examples=1500, deadline=None)
@given(forms(ASKED), st.sampled_from([CLIENT, PUBLIC]))
@example(b"client_id=wiki&redirect_uri=https%3A%2F%2Fevil.example%2F&response_type=code", CLIENT)
def test_an_authorization_request_has_one_meaning_or_is_refused(
    octets: bytes, client: authorization.ClientFacts
) -> None:
    try:
        found = parameters.parse(octets)
        place = authorization.place_of(found, client)
    except (ProtocolError, Unredirectable):
        return  # only the user sees this error
    assert place.redirect_uri in client.redirect_uris or urlsplit(place.redirect_uri).hostname == "127.0.0.1"
    try:
        asked = authorization.parse(found, client, place)
    except AuthorizationError as error:
        assert has_plain_words(error), error
        return
    assert not found.doubled & {*ASKED, "prompt", "max_age", "claims", "request"}
    assert "openid" in asked.scopes and set(asked.scopes) <= client.scopes
    assert len(asked.challenge) == 43


@settings(max_examples=1500, deadline=None)
@given(forms(TOKEN), st.lists(st.text(max_size=30) | st.just("Basic d2lraTpz"), max_size=2))
def test_a_token_request_has_one_meaning_or_is_refused(octets: bytes, authorizations: list[str]) -> None:
    for read in (
        lambda found: client_authentication.credentials_in(authorizations, found),
        token.parse,
        token.token_named,
        lambda found: device.scopes_of(found, CLIENT.scopes),
        logout.parse,
    ):
        try:
            found = parameters.parse(octets)
            read(found)
        except ProtocolError as error:
            assert has_plain_words(error), error
        else:
            assert all("\0" not in value and value for value in found.values.values())
