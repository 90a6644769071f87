"""The Authorization header: the portal accepts its tokens in one spelling only, and detects them in all."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authgate.check.credentials import WRONG, Credential, credential_in, new_token, plain_token_key, token_key
from authgate.check.request import RequestHeaders

TOKEN = new_token()
KEY = token_key(hashlib.sha256(TOKEN.encode()).digest())
ISSUER = "https://id.example.com"


def b64(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def basic(name: str, password: str = TOKEN) -> str:
    return f"Basic {b64(f'{name}:{password}')}"


def jwt(claims: object, signature: str = "c2ln") -> str:
    parts = (json.dumps({"alg": "RS256"}), json.dumps(claims))
    return ".".join(
        [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts] + [signature]
    )


def read(value: str | bytes, issuers: frozenset[str] = frozenset((ISSUER,))) -> Credential | None:
    octets = value if isinstance(value, bytes) else value.encode("latin-1")
    return credential_in(RequestHeaders({b"authorization": octets}), issuers)


def test_tokens_have_the_documented_form_and_are_all_different() -> None:
    made = {new_token() for _ in range(500)}

    assert len(made) == 500
    assert all(re.fullmatch(r"ikd_[0-9A-Za-z]{49}", token) for token in made)


OURS = {
    "bearer": (f"Bearer {TOKEN}", None),
    "bearer, small letters": (f"bearer {TOKEN}", None),
    "bearer, capitals": (f"BEARER {TOKEN}", None),
    "several spaces": (f"Bearer    {TOKEN}", None),
    "spaces around": (f"  Bearer {TOKEN}  ", None),
    "basic without a name": (basic(""), ""),
    "basic with a name": (basic("alice"), "alice"),
    "basic, small letters": (basic("alice").replace("Basic", "basic"), "alice"),
    "basic with a name beyond ASCII": (basic("zoë"), "zoë"),
}


@pytest.mark.parametrize(("value", "name"), OURS.values(), ids=OURS)
def test_a_token_is_read_in_each_accepted_form(value: str, name: str | None) -> None:
    assert read(value) == Credential(KEY, name=name)


MISTAKEN = {
    "cut short": f"Bearer {TOKEN[:-1]}",
    "too long": f"Bearer {TOKEN}0",
    "nothing but the prefix": "Bearer ikd_",
    "another checksum": f"Bearer {TOKEN[:-1]}{'1' if TOKEN[-1] != '1' else '2'}",
    "one letter changed": f"Bearer ikd_{'1' if TOKEN[4] != '1' else '2'}{TOKEN[5:]}",
    "a tab": f"Bearer\t{TOKEN}",
    "space and tab": f"Bearer \t{TOKEN}",
    "a space within": f"Bearer {TOKEN[:20]} {TOKEN[20:]}",
    "a list": f"Bearer {TOKEN}, Basic eDp5",
    "a list, the other way round": f"Basic eDp5, Bearer {TOKEN}",
    "quoted": f'Bearer "{TOKEN}"',
    "with parameters": f"Bearer token={TOKEN}",
    "with a colon": f"Bearer: {TOKEN}",
    "another scheme": f"Token {TOKEN}",
    "no scheme": TOKEN,
    "no break": f"Bearer{TOKEN}",
    "a no-break space": f"Bearer\xa0{TOKEN}",
    "not ASCII": f"Bearer {TOKEN[:-1]}é",
    "percent-encoded": f"Bearer ikd_%41{TOKEN[5:]}",
    "as basic's user name": f"Basic {b64(f'{TOKEN}:')}",
    "as basic's user name, with a password": f"Basic {b64(f'{TOKEN}:x-oauth-basic')}",
    "in basic, without a colon": f"Basic {b64(TOKEN)}",
    "in basic, cut short": basic("alice", TOKEN[:-1]),
    "in basic, the prefix alone": basic("alice", "ikd_"),
    "in basic, after another colon": basic("alice:x"),
    "in basic, with a line's end": basic("alice", f"{TOKEN}\n"),
    "in basic, unpadded": f"Basic {b64(f'ab:{TOKEN}').rstrip('=')}",
    "in basic, padded too much": basic("alice") + "====",
    "in basic, the other alphabet": "Basic " + b64(b"\xff\xfe\xfa:" + TOKEN.encode()).replace("/", "_"),
    "in basic, spaced out": f"Basic {basic('alice')[6:20]} {basic('alice')[20:]}",
    "in basic, a name that is no UTF-8": "Basic " + b64(b"\xff:" + TOKEN.encode()),
    "in basic, after a tab": basic("alice").replace(" ", "\t"),
    "a JWT after a tab": f"Bearer\t{jwt({'iss': ISSUER})}",
    "a JWT without a signature": f"Bearer {jwt({'iss': ISSUER}, '')}",
    "a JWT of two parts": f"Bearer {jwt({'iss': ISSUER}).rpartition('.')[0]}",
    "a JWT of five parts": f"Bearer {jwt({'iss': ISSUER})}.a.b",
    "a padded JWT": f"Bearer {jwt({'iss': ISSUER})}=",
}


@pytest.mark.parametrize("value", MISTAKEN.values(), ids=MISTAKEN)
def test_a_malformed_credential_of_the_portal_is_wrong(value: str) -> None:
    assert read(value) == WRONG


FOREIGN = {
    "nothing": "",
    "bearer alone": "Bearer",
    "bearer and nothing": "Bearer ",
    "another token": "Bearer ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "a token's look-alike": "Bearer ikd-0123456789",
    "capitals": f"Bearer {TOKEN[:20].upper()}",
    "basic": basic("alice", "secret"),
    "basic, a name of the prefix": basic("ikd_alice", "secret"),
    "basic, no base64": "Basic !!!!",
    "basic, nothing": "Basic ",
    "digest": 'Digest username="alice", nonce="ikd_"',
    "negotiate": f"Negotiate {'Y' * 9000}",
    "a huge basic": f"Basic {'QUFB' * 20_000}",
    "a JWT of nobody's": f"Bearer {jwt({'sub': 'alice'})}",
    "a JWT of another issuer": f"Bearer {jwt({'iss': 'https://other.example.com'})}",
    "a JWT of a near issuer": f"Bearer {jwt({'iss': ISSUER + '/'})}",
    "a JWT of two issuers": f"Bearer {jwt({'iss': [ISSUER]})}",
    "a JWT that is a list": f"Bearer {jwt([ISSUER])}",
    "a JWT nested without end": f"Bearer a.{b64('[' * 5000)}.b",
    "a JWT of a number without end": f"Bearer a.{b64('9' * 5000)}.b",
    "dots": "Bearer ...",
    "bytes": "Bearer \xff\xfe",
}


@pytest.mark.parametrize("value", FOREIGN.values(), ids=FOREIGN)
def test_any_other_credential_belongs_to_the_application(value: str) -> None:
    assert read(value) is None


def test_a_request_without_the_header_has_no_credential() -> None:
    assert credential_in(RequestHeaders({})) is None


@pytest.mark.parametrize("other", ["Basic eDp5", f"Bearer {TOKEN}", ""], ids=["basic", "token", "nothing"])
def test_a_doubled_header_is_wrong_whatever_it_contains(other: str) -> None:
    joined = f"{other}, Digest x".encode()

    found = credential_in(RequestHeaders({b"authorization": joined}, frozenset((b"authorization",))))

    assert found == WRONG


def test_a_jwt_of_a_trusted_issuer_is_for_the_portal() -> None:
    token = jwt({"iss": ISSUER})

    found = read(f"Bearer {token}")

    assert found is not None
    assert (found.jwt, found.key[:1], len(found.key)) == (token.encode(), b"j", 33)


def test_a_jwt_belongs_to_the_application_if_no_issuer_is_trusted() -> None:
    assert read(f"Bearer {jwt({'iss': ISSUER})}", frozenset()) is None


def test_a_credential_does_not_show_its_secret() -> None:
    assert "eyJ" not in repr(read(f"Bearer {jwt({'iss': ISSUER})}"))


# ---- two readings never differ ----------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        "Bearer",
        "bearer",
        "Basic",
        " ",
        "  ",
        "\t",
        TOKEN,
        TOKEN[:-1],
        basic("a")[6:],
        basic("")[6:],
        ",",
        "=",
        "é",
    ]
)


@given(st.lists(PIECES, max_size=6).map("".join))
def test_a_header_with_a_token_is_accepted_in_one_spelling_and_otherwise_wrong(value: str) -> None:
    found = read(value)

    spelled = re.fullmatch(r" *(?:bearer|Bearer) +(ikd_[0-9A-Za-z]{49}) *", value)
    if spelled:
        assert found == Credential(KEY)
    elif TOKEN in value:
        assert found == WRONG


@given(st.binary(max_size=40), st.binary(max_size=8))
def test_basic_is_for_the_portal_only_if_the_password_begins_like_a_token(name: bytes, more: bytes) -> None:
    octets = name + b":ikd_" + more
    password = octets.partition(b":")[2]

    found = read(f"Basic {b64(octets)}")

    assert (found is not None) == password.startswith(b"ikd_")


@given(st.text("ABCDEFabcdef0123456789+/-_= \t\xff", max_size=60))
def test_random_text_is_never_accepted(text: str) -> None:
    for scheme in ("Bearer", "Basic"):
        found = read(f"{scheme} {text}")
        assert found is None or found == WRONG


@given(
    st.one_of(st.binary(max_size=70), st.builds(lambda text: b"Bearer ikd_" + text, st.binary(max_size=60)))
)
def test_the_fast_path_finds_the_same_key_or_none(octets: bytes) -> None:
    for value in (octets, f"Bearer {new_token()}".encode(), f"bearer {new_token()}".encode()):
        headers = RequestHeaders({b"authorization": value})
        read, key = credential_in(headers), plain_token_key(headers)
        if key is not None:
            assert read is not None
            assert read.key in (key, b"")
