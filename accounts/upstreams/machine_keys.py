"""The public keys of upstreams whose JWTs machines may use: kept for minutes, fetched rarely, whoever asks.

Anybody may send a token with any key id. So however many come, an upstream is asked twice a minute at
most, by one thread, for a bounded time and a bounded answer.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt

from accounts.upstreams.id_tokens import SMALLEST_RSA, is_for_signatures
from accounts.upstreams.metadata import discover, read_keys
from accounts.upstreams.models import Upstream
from accounts.upstreams.trouble import Trouble

log = logging.getLogger("ikd.security")

LIFESPAN = 300.0
"""Seconds after which keys are asked for again."""

COOLDOWN = 30.0
"""Seconds between two askings of one upstream, also for a key that it did not have."""

STALE_AT_MOST = 3600.0
"""Seconds for which keys are believed while their upstream does not answer."""

ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
"""By type of key. No HMAC: its key would be the one that is published."""


class Unreachable(Exception):
    """The upstream did not say what its keys are."""


@dataclass
class Known:
    """What is known of an upstream's keys; times are monotonic."""

    keys: list[jwt.PyJWK] = field(default_factory=list)
    fetched_at: float = -1e9
    asked_at: float = -1e9
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(2))
    """Who may wait for the first keys; all threads must not."""


class MachineKeys:
    """The keys that this process knows, by upstream and issuer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[tuple[int, str], Known] = {}
        self._lock = threading.Lock()

    def key_for(self, upstream: Upstream, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """Give the one key that a token with this header may be signed with.

        Raises Unreachable where none is known: there may be one, but nobody can be asked now.
        """
        with self._lock:
            known = self._known.setdefault((upstream.pk, upstream.issuer), Known())
        found = _chosen(known.keys, kid, algorithm)
        if found is None or self._clock() - known.fetched_at > LIFESPAN:
            self._ask(upstream, known)
            found = _chosen(known.keys, kid, algorithm)
        if found is None or self._clock() - known.fetched_at > STALE_AT_MOST:
            raise Unreachable
        return found

    def _ask(self, upstream: Upstream, known: Known) -> None:
        """Ask for the keys, unless that was done just now or another thread does it."""
        if self._clock() - known.asked_at < COOLDOWN and known.keys:
            return
        if not known.waiting.acquire(blocking=False):
            return
        try:
            with known.lock:
                self._ask_alone(upstream, known)
        finally:
            known.waiting.release()

    def _ask_alone(self, upstream: Upstream, known: Known) -> None:
        if self._clock() - known.asked_at < COOLDOWN:
            return
        known.asked_at = self._clock()
        try:
            known.keys, known.fetched_at = fetch_keys(upstream), self._clock()
        except Trouble as trouble:
            told = {
                "kind": "upstream_keys_unavailable",
                "upstream": upstream.slug,
                "reason": trouble.reason,
            }
            log.warning(json.dumps(told))


def _chosen(keys: list[jwt.PyJWK], kid: str | None, algorithm: str) -> jwt.PyJWK | None:
    fitting = [key for key in keys if algorithm in ALGORITHMS.get(key.key_type or "", ())]
    fitting = [key for key in fitting if kid is None or key.key_id == kid]
    return fitting[0] if len(fitting) == 1 else None


def fetch_keys(upstream: Upstream) -> list[jwt.PyJWK]:
    """Ask an upstream for its keys, by its discovery document. Raises Trouble."""
    metadata, _ = discover(upstream)
    keys = []
    for each in read_keys(upstream, metadata):
        if not is_for_signatures(each) or each.get("kty") not in ALGORITHMS:
            continue
        try:
            key = jwt.PyJWK.from_dict(dict(each))
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if key.key_type != "RSA" or key.key.key_size >= SMALLEST_RSA:
            keys.append(key)
    return keys


machine_keys = MachineKeys()
