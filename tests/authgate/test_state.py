"""The sealed state: only the portal can create it, and it expires after a day."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from authgate.check.state import AGE_LIMIT, State, is_forged, new_code, nonce_hash, seal, unseal
from authgate.worker import loader

KEY, OTHER = b"k" * 32, b"o" * 32
NOW = 1_800_000_000
STATE = State("https://wiki.example.com", "/page?a=b", nonce_hash("nonce"), "/authgate", NOW, 1)


def test_a_state_is_unsealed_unchanged() -> None:
    assert unseal(seal(STATE, KEY), (KEY,), NOW) == STATE


def test_a_sealed_state_needs_no_escaping_in_a_url() -> None:
    assert set(seal(STATE, KEY)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


def test_a_state_contains_no_secret() -> None:
    payload = seal(STATE, KEY).partition(".")[0]

    assert "nonce" not in base64.urlsafe_b64decode(payload + "===").decode().replace(STATE.nonce_hash, "")


@pytest.mark.parametrize(
    ("age", "good"), [(0, True), (AGE_LIMIT, True), (AGE_LIMIT + 1, False), (10 * AGE_LIMIT, False)]
)
def test_a_state_lasts_for_a_day(age: int, good: bool) -> None:
    assert (unseal(seal(STATE, KEY), (KEY,), NOW + age) is not None) is good


def test_another_key_does_not_unseal_a_state() -> None:
    assert unseal(seal(STATE, KEY), (OTHER,), NOW) is None
    assert unseal(seal(STATE, KEY), (), NOW) is None


def test_an_earlier_key_still_unseals_a_state() -> None:
    assert unseal(seal(STATE, KEY), (OTHER, KEY), NOW) == STATE


def test_the_fallbacks_of_the_secret_key_are_earlier_keys(settings: Settings) -> None:
    sealed = seal(STATE, loader.gate_settings().state_keys[0])
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a new one", [settings.SECRET_KEY]
    rotated = loader.gate_settings().state_keys
    settings.SECRET_KEY_FALLBACKS = []
    later = loader.gate_settings().state_keys

    assert unseal(sealed, rotated, NOW) == STATE
    assert unseal(sealed, later, NOW) is None


def test_another_value_signed_with_the_secret_key_is_not_a_state(settings: Settings) -> None:
    from django.core.signing import Signer

    signed = Signer(sep=".").sign(seal(STATE, settings.SECRET_KEY.encode()).partition(".")[0])

    assert unseal(signed, loader.gate_settings().state_keys, NOW) is None
    assert unseal(seal(STATE, settings.SECRET_KEY.encode()), loader.gate_settings().state_keys, NOW) is None


@pytest.mark.parametrize(
    "sealed",
    ["", ".", "..", "a", "a.b", "a.b.c", "é.é", "\x00.\x00", "=.=", "A" * 10_000, "W10.W10", "null.null"],
)
def test_a_malformed_state_is_refused(sealed: str) -> None:
    assert unseal(sealed, (KEY,), NOW) is None


@given(st.integers(0, 300), st.integers(1, 255))
def test_a_state_with_a_changed_byte_is_refused(where: int, by: int) -> None:
    payload, mac = (base64.urlsafe_b64decode(f"{part}===") for part in seal(STATE, KEY).split("."))
    octets = bytearray(payload + mac)
    octets[where % len(octets)] ^= by
    parts = (bytes(octets[: len(payload)]), bytes(octets[len(payload) :]))
    forged = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)

    assert unseal(forged, (KEY,), NOW) is None


@pytest.mark.parametrize("origin", ["https://evil.example", "https://wiki.example.com:8443"])
def test_a_state_with_another_origin_is_refused(origin: str) -> None:
    mac = seal(STATE, KEY).partition(".")[2]
    payload = json.dumps([origin, "/", STATE.nonce_hash, "", NOW, 0], separators=(",", ":")).encode()
    forged = f"{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.{mac}"

    assert unseal(forged, (KEY,), NOW) is None


@given(st.text(max_size=200))
def test_random_text_is_not_a_state(text: str) -> None:
    assert unseal(text, (KEY,), NOW) is None


def test_only_a_holder_of_a_key_creates_a_code() -> None:
    code = new_code(b"r" * 24, KEY)

    assert len(code) == 43
    assert not is_forged(code, (KEY,))
    assert not is_forged(code, (OTHER, KEY))
    assert is_forged(code, (OTHER,))
    assert is_forged(code, ())


@given(st.binary(min_size=32, max_size=32))
def test_a_random_code_counts_as_forged(octets: bytes) -> None:
    assert is_forged(base64.urlsafe_b64encode(octets).rstrip(b"=").decode(), (KEY,))


def test_a_code_with_a_changed_character_counts_as_forged() -> None:
    code = new_code(b"r" * 24, KEY)

    assert all(is_forged(f"{code[:place]}-{code[place + 1 :]}", (KEY,)) for place in range(42))
