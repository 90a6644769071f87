"""A provider's discovery document and keys, cached for minutes.

Attackers may send any number of tokens with any key id and signature. Because of all these tokens, the portal
fetches the provider's keys at most once in ten seconds. Few threads wait for the response. Tokens that the
portal fetched from the provider itself have a limit of their own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from accounts.models import Upstream
from accounts.upstreams.claim_texts import web_address
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.http_client import Answer, fetch
from accounts.upstreams.oidc.signed_tokens import (
    ALGORITHMS,
    ID_TOKEN,
    LOGOUT_TOKEN,
    USERINFO,
    Header,
    TokenKind,
    UnknownKey,
    header_of,
    verify_claims,
)
from accounts.upstreams.provider_threads import waiting

log = logging.getLogger("ikd.security")

KEPT_FOR = 600.0
"""Seconds for which a discovery document is cached."""

KEYS_KEPT_FOR = 300.0
"""Seconds after which the portal fetches keys again."""

AGAIN_AFTER = 10.0
"""Seconds between two requests for the keys because of an unknown key id or signature."""

STALE_AT_MOST = 3600.0
"""Seconds for which the portal uses old keys while their provider does not answer."""

MOST_KEYS = 100
CLIENT_TOKENS_WAITING = 2
"""Threads that may wait for keys because of a token that any client can send."""

clock = time.monotonic


class Source(Enum):
    """The origin of a token: the provider's own endpoint, or a request that any client can send."""

    PROVIDER = auto()
    CLIENT = auto()


@dataclass(frozen=True, slots=True)
class Metadata:
    """The validated parts of a discovery document that the portal uses."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    end_session_endpoint: str
    algorithms: tuple[str, ...]
    token_auth_methods: tuple[str, ...]
    challenge_methods: tuple[str, ...] | None
    sends_issuer: bool


@dataclass(slots=True)
class _Keys:
    """The keys of one provider. All times are values of `clock`."""

    keys: Sequence[Mapping[str, Any]] = ()
    read_at: float = float("-inf")
    tries: int = 0
    tried_at: dict[Source, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    client_slots: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(CLIENT_TOKENS_WAITING)
    )

    def is_older_than(self, seconds: float) -> bool:
        return clock() - self.read_at > seconds

    def was_tried(self, source: Source) -> bool:
        return clock() - self.tried_at.get(source, float("-inf")) < AGAIN_AFTER


@dataclass(slots=True)
class _Document:
    """The discovery document of one provider, or the error of the last request for it."""

    metadata: Metadata | None = None
    read_at: float = float("-inf")
    tries: int = 0
    failure: tuple[str, ErrorPage] = ("", ErrorPage.UNAVAILABLE)
    lock: threading.Lock = field(default_factory=threading.Lock)


_documents: dict[tuple[str, bool], _Document] = {}
_keys: dict[tuple[str, bool], _Keys] = {}
_lock = threading.Lock()


def forget_all() -> None:
    with _lock:
        _documents.clear()
        _keys.clear()


def metadata_of(upstream: Upstream) -> Metadata:
    """Return a provider's metadata, at most ten minutes old. Raises ProviderError."""
    with _lock:
        document = _documents.setdefault((upstream.issuer, upstream.allow_private), _Document())
    if document.metadata is not None and clock() - document.read_at <= KEPT_FOR:
        return document.metadata
    with waiting():
        return _read_document(upstream, document)


def _read_document(upstream: Upstream, document: _Document) -> Metadata:
    """Fetch the discovery document once for all threads that wait for it. Raises ProviderError."""
    tries = document.tries
    with document.lock:
        if document.metadata is not None and clock() - document.read_at <= KEPT_FOR:
            return document.metadata
        if document.tries != tries:  # another thread has just failed: do not wait for a second failure
            raise ProviderError(*document.failure)
        document.tries += 1
        try:
            document.metadata, _ = discover(upstream)
        except ProviderError as error:
            document.failure = error.reason, error.page
            raise
        document.read_at = clock()
        return document.metadata


def verify_token(
    upstream: Upstream, token: Any, kind: TokenKind, source: Source
) -> tuple[dict[str, Any], Header]:
    """Return the claims of a token of this kind that the provider signed, and its header.

    If the signature is from no known key, fetch the keys again: providers replace keys, sometimes under the
    same key id. Raises ProviderError.
    """
    of_provider = kind in (ID_TOKEN, USERINFO, LOGOUT_TOKEN)
    algorithms = metadata_of(upstream).algorithms if of_provider else kind.algorithms
    header = header_of(token, algorithms, kind)
    audience = upstream.client_id if of_provider else upstream.machine_audience
    entry = _entry(upstream)
    _reload_if_old(upstream, entry, source)
    read_at = entry.read_at
    try:
        claims = verify_claims(token, header, entry.keys, kind, issuer=upstream.issuer, audience=audience)
    except UnknownKey:
        if not _reload(upstream, entry, source, read_at):
            raise
        claims = verify_claims(token, header, entry.keys, kind, issuer=upstream.issuer, audience=audience)
    return claims, header


def _entry(upstream: Upstream) -> _Keys:
    with _lock:
        return _keys.setdefault((upstream.issuer, upstream.allow_private), _Keys())


def _reload_if_old(upstream: Upstream, entry: _Keys, source: Source) -> None:
    """Fetch the keys if there are none, or if they are old. Raises ProviderError if there are still none."""
    if not entry.is_older_than(KEYS_KEPT_FOR):
        return
    if entry.is_older_than(STALE_AT_MOST):
        if not _reload(upstream, entry, source, entry.read_at):
            raise ProviderError("the provider's keys are not known", ErrorPage.UNAVAILABLE)
    elif entry.lock.acquire(blocking=False):  # Meanwhile, other threads use the old keys.
        try:
            if entry.is_older_than(KEYS_KEPT_FOR) and not entry.was_tried(source):
                _read(upstream, entry, source)
        except ProviderError as error:
            log.warning("upstream_keys_unavailable", extra={"event": _log_details(upstream, error)})
        finally:
            entry.lock.release()


def _log_details(upstream: Upstream, error: ProviderError) -> dict[str, str]:
    return {"upstream": upstream.slug, "reason": error.reason}


def _reload(upstream: Upstream, entry: _Keys, source: Source, read_at: float) -> bool:
    """Fetch the keys, unless a request has just failed. Return whether they are newer than `read_at`.

    Raises ProviderError.
    """
    is_from_client, tries = source is Source.CLIENT, entry.tries
    if is_from_client and not entry.client_slots.acquire(blocking=False):
        return False
    try:
        with waiting(), entry.lock:
            if entry.read_at > read_at:
                return True  # another thread has fetched them meanwhile
            if entry.tries != tries:
                return False  # another thread has just failed: do not wait for a second failure
            has_none = entry.is_older_than(STALE_AT_MOST)
            if entry.was_tried(source) and (is_from_client or not has_none):
                return False
            _read(upstream, entry, source)
            return True
    finally:
        if is_from_client:
            entry.client_slots.release()


def _read(upstream: Upstream, entry: _Keys, source: Source) -> None:
    entry.tries += 1
    entry.tried_at[source] = clock()
    entry.keys = read_keys(upstream, metadata_of(upstream))
    entry.read_at = clock()


def discover(upstream: Upstream) -> tuple[Metadata, Answer]:
    """Fetch the discovery document (OpenID Connect Discovery, section 4). Raises ProviderError."""
    url = f"{upstream.issuer.rstrip('/')}/.well-known/openid-configuration"
    answer = fetch(url, allow_private=upstream.allow_private, headers={"Accept": "application/json"})
    if answer.status != 200:
        raise ProviderError(
            f"the discovery document was answered with status {answer.status}", answer.error_page
        )
    found = answer.json()
    if found.get("issuer") != upstream.issuer:
        raise ProviderError("the discovery document is of another issuer: it must be written exactly alike")
    metadata = _metadata(found)
    if not upstream.allow_private and not metadata.authorization_endpoint.startswith("https://"):
        raise ProviderError("the provider has people sign in on a page that is not encrypted")
    return metadata, answer


def read_keys(upstream: Upstream, metadata: Metadata) -> Sequence[Mapping[str, Any]]:
    """Fetch the provider's keys. Raises ProviderError."""
    answer = fetch(metadata.jwks_uri, allow_private=upstream.allow_private)
    if answer.status != 200:
        raise ProviderError(
            f"the provider's keys were answered with status {answer.status}", answer.error_page
        )
    keys = answer.json().get("keys")
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise ProviderError("the provider's keys cannot be read")
    return [key for key in keys if isinstance(key, dict)]


def _metadata(found: dict[str, Any]) -> Metadata:
    said = _texts(found, "id_token_signing_alg_values_supported") or ("RS256",)
    algorithms = tuple(name for name in ALGORITHMS if name in said)
    if not algorithms:
        raise ProviderError("the provider signs ID tokens in no way that is accepted")
    challenge_methods = _texts(found, "code_challenge_methods_supported")
    return Metadata(
        issuer=found["issuer"],
        authorization_endpoint=_address(found, "authorization_endpoint"),
        token_endpoint=_address(found, "token_endpoint"),
        jwks_uri=_address(found, "jwks_uri"),
        userinfo_endpoint=_optional_address(found, "userinfo_endpoint"),
        end_session_endpoint=_optional_address(found, "end_session_endpoint"),
        algorithms=algorithms,
        token_auth_methods=_texts(found, "token_endpoint_auth_methods_supported") or ("client_secret_basic",),
        challenge_methods=challenge_methods or None,
        sends_issuer=found.get("authorization_response_iss_parameter_supported") is True,
    )


def _address(found: dict[str, Any], name: str) -> str:
    if not found.get(name):
        raise ProviderError(f"the discovery document has no {name}")
    return web_address(found[name], name)


def _optional_address(found: dict[str, Any], name: str) -> str:
    """Return a URL, or "" if the document has none. Raises ProviderError for an unusable one.

    If the portal ignored an unusable userinfo endpoint, it would treat all groups named there as removed.
    """
    return _address(found, name) if found.get(name) else ""


def _texts(found: dict[str, Any], name: str) -> tuple[str, ...]:
    values = found.get(name)
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()
