"""What a provider publishes of itself: its discovery document and its keys, kept for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from accounts.upstreams.fetching import Answer, fetch
from accounts.upstreams.id_tokens import ALGORITHMS, Header, matching_key
from accounts.upstreams.models import Upstream
from accounts.upstreams.trouble import Blame, Trouble

KEPT_FOR = 600.0
"""Seconds."""

AGAIN_AFTER = 10.0
"""Seconds between two readings of the keys because of a key id that is unknown."""

MOST_KEYS = 100


@dataclass(frozen=True, slots=True)
class Metadata:
    """The parts of a discovery document that are used, each of the right type."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    end_session_endpoint: str
    algorithms: tuple[str, ...]
    token_auth_methods: tuple[str, ...]
    challenge_methods: tuple[str, ...] | None
    tells_issuer: bool


@dataclass(slots=True)
class _Kept:
    at: float
    metadata: Metadata
    keys: Sequence[Mapping[str, Any]] = ()
    keys_at: float = float("-inf")


_kept: dict[tuple[str, bool], _Kept] = {}
_lock = threading.Lock()


def forget_all() -> None:
    with _lock:
        _kept.clear()


def metadata_of(upstream: Upstream) -> Metadata:
    """Give a provider's metadata, read anew after ten minutes. Raises Trouble."""
    return _entry(upstream).metadata


def key_for(upstream: Upstream, header: Header) -> jwt.PyJWK:
    """Give the key that a token asks for. Raises Trouble.

    An unknown key id has the keys read again, at most every ten seconds: providers change keys, and
    strangers invent key ids.
    """
    entry = _entry(upstream)
    now = time.monotonic()
    if now - entry.keys_at > KEPT_FOR:
        _read_keys(upstream, entry)
    key = matching_key(header, entry.keys)
    if key is None and time.monotonic() - entry.keys_at > AGAIN_AFTER:
        _read_keys(upstream, entry)
        key = matching_key(header, entry.keys)
    if key is None:
        raise Trouble("the ID token is signed with a key that the provider does not publish")
    return key


def _entry(upstream: Upstream) -> _Kept:
    name = (upstream.issuer, upstream.allow_private)
    with _lock:
        entry = _kept.get(name)
    if entry is not None and time.monotonic() - entry.at <= KEPT_FOR:
        return entry
    metadata, _ = discover(upstream)
    read = _Kept(time.monotonic(), metadata)
    if entry is not None and entry.metadata.jwks_uri == metadata.jwks_uri:
        read.keys, read.keys_at = entry.keys, entry.keys_at
    with _lock:
        _kept[name] = read
    return read


def _read_keys(upstream: Upstream, entry: _Kept) -> None:
    entry.keys = read_keys(upstream, entry.metadata)
    entry.keys_at = time.monotonic()


def discover(upstream: Upstream) -> tuple[Metadata, Answer]:
    """Read the discovery document (OpenID Connect Discovery, section 4). Raises Trouble."""
    url = f"{upstream.issuer.rstrip('/')}/.well-known/openid-configuration"
    answer = fetch(url, allow_private=upstream.allow_private, headers={"Accept": "application/json"})
    if answer.status != 200:
        raise Trouble(f"the discovery document was answered with status {answer.status}", _blame(answer))
    found = answer.json()
    if found.get("issuer") != upstream.issuer:
        raise Trouble("the discovery document is of another issuer: it must be written exactly alike")
    metadata = _metadata(found)
    if not upstream.allow_private and not metadata.authorization_endpoint.startswith("https://"):
        raise Trouble("the provider has people sign in on a page that is not encrypted")
    return metadata, answer


def read_keys(upstream: Upstream, metadata: Metadata) -> Sequence[Mapping[str, Any]]:
    """Read the provider's keys. Raises Trouble."""
    answer = fetch(metadata.jwks_uri, allow_private=upstream.allow_private)
    if answer.status != 200:
        raise Trouble(f"the provider's keys were answered with status {answer.status}", _blame(answer))
    keys = answer.json().get("keys")
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise Trouble("the provider's keys cannot be read")
    return [key for key in keys if isinstance(key, dict)]


def _blame(answer: Answer) -> Blame:
    return Blame.UNAVAILABLE if answer.status >= 500 else Blame.BROKEN


def _metadata(found: dict[str, Any]) -> Metadata:
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not _text(found, name):
            raise Trouble(f"the discovery document has no {name}")
    said = _texts(found, "id_token_signing_alg_values_supported") or ("RS256",)
    algorithms = tuple(name for name in ALGORITHMS if name in said)
    if not algorithms:
        raise Trouble("the provider signs ID tokens in no way that is accepted")
    challenge_methods = _texts(found, "code_challenge_methods_supported")
    return Metadata(
        issuer=found["issuer"],
        authorization_endpoint=_text(found, "authorization_endpoint"),
        token_endpoint=_text(found, "token_endpoint"),
        jwks_uri=_text(found, "jwks_uri"),
        userinfo_endpoint=_text(found, "userinfo_endpoint"),
        end_session_endpoint=_text(found, "end_session_endpoint"),
        algorithms=algorithms,
        token_auth_methods=_texts(found, "token_endpoint_auth_methods_supported") or ("client_secret_basic",),
        challenge_methods=challenge_methods or None,
        tells_issuer=found.get("authorization_response_iss_parameter_supported") is True,
    )


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else ""


def _texts(found: dict[str, Any], name: str) -> tuple[str, ...]:
    values = found.get(name)
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()
