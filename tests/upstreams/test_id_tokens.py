"""Validation of ID tokens: each point that the base library accepts wrongly or fails on, and more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from accounts.models import Upstream
from authgate.models import SignIn
from tests.accounts.conftest import PortalClient
from tests.accounts.signing_in import is_signed_in
from tests.upstreams.provider import EC_KEY, ED_KEY, OTHER_RSA_KEY, RSA_KEY, SHORT_RSA_KEY, Provider, jwk
from tests.upstreams.signing_in import reason, sign_in

Bend = Callable[[Provider], object]


def claims(**changed: Any) -> Bend:
    return lambda provider: provider.claims.update(changed)


def shifted(**seconds: int) -> Bend:
    return lambda provider: provider.claims.update(
        {name: int(time.time()) + s for name, s in seconds.items()}
    )


def signs(key: Any, algorithm: str, kid: str | None, *keys: dict[str, Any], **header: Any) -> Bend:
    def bend(provider: Provider) -> None:
        provider.key, provider.algorithm, provider.header = key, algorithm, {"kid": kid, **header}
        provider.keys = list(keys)

    return bend


def token(text: Any) -> Bend:
    return lambda provider: provider.token_answer.update(id_token=text)


SECRET = "the client's secret, as long as HS256 wants it"
ONE = jwk(RSA_KEY, "one")
REFUSED: dict[str, tuple[Bend, str]] = {
    "another audience": (claims(aud="another client"), "another client"),
    "no audience": (claims(aud=None), "lacks a claim"),
    "several audiences and no azp": (claims(aud=["portal", "other"]), "azp"),
    "several audiences and another azp": (claims(aud=["portal", "other"], azp="other"), "azp"),
    "one audience and another azp": (claims(azp="other"), "azp"),
    "another issuer": (claims(iss="https://evil.example.com"), "another issuer"),
    "no issuer": (claims(iss=None), "lacks a claim"),
    "no subject": (claims(sub=None), "lacks a claim"),
    "an empty subject": (claims(sub=""), "subject"),
    "a subject that is too long": (claims(sub="x" * 256), "subject"),
    "a subject that is a number": (claims(sub=7), "not valid"),
    "a subject with a control character": (claims(sub="a\x00b"), "subject"),
    "no expiry": (claims(exp=None), "lacks a claim"),
    "no time of issue": (claims(iat=None), "lacks a claim"),
    "expired": (shifted(exp=-61), "expired"),
    "issued in the future": (shifted(iat=120), "future"),
    "not valid yet": (shifted(nbf=120), "future"),
    "another access token (at_hash)": (claims(at_hash="AAAAAAAAAAAAAAAAAAAAAA"), "at_hash"),
    "another nonce": (claims(nonce="of another attempt"), "nonce"),
    "no nonce": (claims(nonce=None), "nonce"),
    "a wrong signature": (signs(OTHER_RSA_KEY, "RS256", "one", ONE), "signature"),
    "an unknown key id": (signs(RSA_KEY, "RS256", "two", ONE), "does not publish"),
    "a key for encryption": (
        signs(RSA_KEY, "RS256", "one", jwk(RSA_KEY, "one", use="enc")),
        "does not publish",
    ),
    "a key for another algorithm": (
        signs(RSA_KEY, "RS256", "one", jwk(RSA_KEY, "one", alg="PS256")),
        "does not publish",
    ),
    "two keys and no key id": (
        signs(RSA_KEY, "RS256", None, ONE, jwk(OTHER_RSA_KEY, "two")),
        "does not publish",
    ),
    "two keys of one id": (
        signs(RSA_KEY, "RS256", "one", ONE, jwk(OTHER_RSA_KEY, "one")),
        "does not publish",
    ),
    "a short key": (signs(SHORT_RSA_KEY, "RS256", "one", jwk(SHORT_RSA_KEY, "one")), "does not publish"),
    "HS256 with the client secret": (signs(SECRET, "HS256", "one", ONE), "not accepted"),
    "no signature": (token(jwt.encode({"sub": "x"}, None, algorithm="none")), "not accepted"),
    "RS384": (signs(RSA_KEY, "RS384", "one", ONE), "not accepted"),
    "an access token for an ID token": (signs(RSA_KEY, "RS256", "one", ONE, typ="at+jwt"), "another kind"),
    "a logout token": (signs(RSA_KEY, "RS256", "one", ONE, typ="logout+jwt"), "another kind"),
    "an extension that must be understood": (
        signs(RSA_KEY, "RS256", "one", ONE, crit=["exp"]),
        "",
    ),
    "no ID token": (token(None), "no ID token"),
    "an ID token that is a number": (token(7), "no ID token"),
    "junk": (token("junk"), "cannot be read"),
    "junk of three parts": (token("a.b.c"), "cannot be read"),
    "a huge one": (token("x" * 20_000), "absurd"),
}


@pytest.mark.parametrize(("bend", "told"), REFUSED.values(), ids=REFUSED)
def test_a_sign_in_is_refused_with(
    client: PortalClient, provider: Provider, upstream: Upstream, bend: Bend, told: str
) -> None:
    bend(provider)

    answer = sign_in(client, provider)

    assert answer.status_code == 502, answer.content.decode()
    assert told in reason()
    assert not SignIn.objects.exists()
    assert not is_signed_in(client)


ACCEPTED: dict[str, Bend] = {
    "an ordinary token": claims(),
    "a time of issue that a clock is ahead of": shifted(iat=1),
    "just expired within the leeway": shifted(exp=-30),
    "no at_hash": claims(at_hash=None),
    "azp that is us": claims(azp="portal"),
    "several audiences, made for us": claims(aud=["portal", "other"], azp="portal"),
    "no key id with one key": signs(RSA_KEY, "RS256", None, ONE),
    "no key id in one of the keys": signs(RSA_KEY, "RS256", "one", jwk(OTHER_RSA_KEY, None), ONE),
    "PS256": signs(RSA_KEY, "PS256", "one", ONE),
    "ES256": signs(EC_KEY, "ES256", "one", jwk(EC_KEY, "one")),
    "one key id for two kinds of key": signs(EC_KEY, "ES256", "one", ONE, jwk(EC_KEY, "one")),
    "keys that are none beside": signs(RSA_KEY, "RS256", "one", {"kty": "RSA"}, {"kid": "one"}, ONE),
}


@pytest.mark.parametrize("bend", ACCEPTED.values(), ids=ACCEPTED)
def test_alice_signs_in_with(
    client: PortalClient, provider: Provider, upstream: Upstream, bend: Bend
) -> None:
    bend(provider)

    answer = sign_in(client, provider)

    assert answer.status_code == 302, reason()
    assert SignIn.objects.get().upstream_session.subject == "alice-there"


def test_eddsa_is_accepted(client: PortalClient, provider: Provider, upstream: Upstream) -> None:
    signs(ED_KEY, "EdDSA", "one", jwk(ED_KEY, "one"))(provider)
    provider.claims["at_hash"] = None

    assert sign_in(client, provider).status_code == 302


def test_an_algorithm_that_the_metadata_does_not_name_is_refused(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    signs(EC_KEY, "ES256", "one", jwk(EC_KEY, "one"))(provider)
    provider.metadata["id_token_signing_alg_values_supported"] = ["RS256"]

    assert sign_in(client, provider).status_code == 502
    assert "not accepted" in reason()
