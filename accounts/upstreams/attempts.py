"""One attempt to sign in by a provider: what its `state` says, and the cookie that binds it to a browser.

Nothing is stored when an attempt begins, so beginning many costs the portal nothing. The state is signed
and travels by the provider; the nonce and the PKCE verifier come from the cookie's secret, which does not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
import zlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

from accounts.upstreams.models import Upstream
from accounts.upstreams.trouble import Blame, Trouble
from authgate.redirects import LONGEST

AGE_LIMIT = 600
"""Seconds from leaving for the provider to coming back."""

AT_ONCE = 20
"""Attempts of one browser, in as many tabs; the oldest is forgotten for one more."""

LONGEST_IN_STATE = 1500
LONGEST_IN_COOKIE = 3900
"""Characters of the page to return to: a longer one travels packed in the cookie, which browsers limit."""

SALT = "ikd upstream attempt"
COOKIE = "ikd_attempt_"


class Purpose(StrEnum):
    SIGN_IN = "sign_in"
    LINK = "link"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Attempt:
    """`sign_in` is the one that links an identity or confirms itself; 0 for signing in."""

    id: str
    upstream: int
    purpose: Purpose
    began_at: int
    browser: str
    next: str = ""
    sign_in: int = 0


@dataclass(frozen=True, slots=True)
class Own:
    """What only this browser and the portal know of an attempt."""

    secret: str

    @property
    def nonce(self) -> str:
        return hashlib.sha256(f"nonce:{self.secret}".encode("latin-1", "replace")).hexdigest()

    @property
    def verifier(self) -> str:
        """PKCE's code verifier (RFC 7636, section 4.1)."""
        return _text(hashlib.sha256(f"verifier:{self.secret}".encode("latin-1", "replace")).digest())

    @property
    def challenge(self) -> str:
        return _text(hashlib.sha256(self.verifier.encode()).digest())

    @property
    def browser(self) -> str:
        return hashlib.sha256(f"browser:{self.secret}".encode("latin-1", "replace")).hexdigest()[:32]


def begin(
    upstream: Upstream, purpose: Purpose, target: str | None, sign_in: int = 0
) -> tuple[str, Own, tuple[str, str]]:
    """Give the state of a new attempt, its own secrets, and the cookie to be set."""
    own, now = Own(secrets.token_urlsafe(32)), int(time.time())
    target = target or ""
    in_state = target if len(target) <= LONGEST_IN_STATE else ""
    packed = "" if in_state else _text(zlib.compress(target.encode("ascii", "replace")))
    in_cookie = packed if len(packed) <= LONGEST_IN_COOKIE else ""
    # Names sort by time: the oldest are forgotten first.
    id = f"{now:x}{secrets.token_hex(8)}"
    attempt = Attempt(id, upstream.pk, purpose, now, own.browser, in_state, sign_in)
    return signing.dumps(asdict(attempt), salt=SALT), own, (id, f"{own.secret}.{in_cookie}")


def set_cookie(request: HttpRequest, response: HttpResponse, cookie: tuple[str, str]) -> None:
    id, value = cookie
    held = sorted(name for name in request.COOKIES if name.startswith(_cookie()))
    for name in held[: max(0, len(held) - AT_ONCE + 1)]:
        _delete_cookie(response, name)
    response.set_cookie(
        _cookie(id),
        value,
        max_age=AGE_LIMIT,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _cookie(id: str = "") -> str:
    return f"{settings.COOKIE_PREFIX}{COOKIE}{id}"


def forget_cookie(response: HttpResponse, attempt: Attempt) -> None:
    _delete_cookie(response, _cookie(attempt.id))


def _delete_cookie(response: HttpResponse, name: str) -> None:
    response.set_cookie(
        name, "", max_age=0, secure=settings.SESSION_COOKIE_SECURE, httponly=True, samesite="Lax"
    )


def read(request: HttpRequest, upstream: Upstream, state: str) -> tuple[Attempt, Own, str]:
    """Give the attempt that a browser comes back from, its secrets, and the page to return to.

    Raises Trouble for a state that is not the portal's, is of another provider or browser, or is too old.
    """
    try:
        said: dict[str, Any] = signing.loads(state, salt=SALT, max_age=AGE_LIMIT)
        attempt = Attempt(**{**said, "purpose": Purpose(said["purpose"])})
    except (signing.BadSignature, ValueError, TypeError, KeyError):
        raise Trouble("the state is not of this portal, or too old", Blame.STALE) from None
    if attempt.upstream != upstream.pk:
        raise Trouble("the state is of another provider", Blame.STALE)
    secret, _, in_cookie = request.COOKIES.get(_cookie(attempt.id), "").partition(".")
    own = Own(secret)
    if not secret or not hmac.compare_digest(own.browser, attempt.browser):
        raise Trouble("the attempt began in another browser, or its cookie is gone", Blame.STALE)
    return attempt, own, attempt.next or _unpacked(in_cookie)


def take(attempt: Attempt) -> None:
    """Use an attempt up: of any number that race, one wins. Raises Trouble for the others."""
    try:
        first = cache.add(f"upstream-attempt:{attempt.id}", 1, AGE_LIMIT + 60)
    except Exception:
        raise Trouble("attempts cannot be counted: is the cache reachable?", Blame.UNAVAILABLE) from None
    if not first:
        raise Trouble("the attempt was used already", Blame.STALE)


def _unpacked(text: str) -> str:
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return zlib.decompressobj().decompress(packed, LONGEST).decode("ascii")
    except (ValueError, zlib.error):
        return ""


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
