"""An attempt to sign in by a provider: its `state`, and the cookie that binds it to a browser.

A browser has one small cookie for its attempts in all tabs. Tabs that begin at the same moment may each set
one of SLOTS. The provider receives the signed state, and sends it back. Nonce and PKCE verifier are derived
from the cookie's secret, which stays in the browser. The portal stores nothing, unless the page to return to
is long or has a fragment.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

from accounts.models import Upstream
from accounts.upstreams.errors import ErrorPage, ProviderError
from authgate import kept_pages
from authgate.peer import client_address
from authgate.portal_cookies import set_portal_cookie

AGE_LIMIT = 600
"""Seconds from the redirect to the provider until the browser comes back."""

RESUMED_WITHIN = 3600
"""Seconds for which a new attempt can lead to the page of a failed one."""

TRIES = 3
"""How often the portal repeats an attempt without a click, because another tab was faster."""

LONGEST_IN_STATE = 1600
"""Characters of a page's URL in the state. The database stores longer ones."""

SALT = "ikd upstream attempt"
COOKIE = "ikd_attempt_"
SLOTS = "0123456789abcdef"
_SECRET = re.compile(r"[A-Za-z0-9_-]{22}")


class Purpose(StrEnum):
    SIGN_IN = "sign_in"
    LINK = "link"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt, as read from its state.

    `sign_in` is the sign-in in which the user links or confirms an identity, or 0. `next` is the page to
    return to. If the page is stored, `kept` is its key. `tries` counts the failed attempts before this one.
    """

    id: str
    upstream: int
    purpose: Purpose
    began_at: int
    browser: str
    next: str = ""
    sign_in: int = 0
    kept: str = ""
    tries: int = 0

    @property
    def is_expired(self) -> bool:
        return not 0 <= time.time() - self.began_at <= AGE_LIMIT


@dataclass(frozen=True, slots=True)
class AttemptSecrets:
    """The secrets of an attempt, which only the portal and this browser know."""

    secret: str

    @classmethod
    def of(cls, browser_secret: str, id: str) -> AttemptSecrets:
        return cls(_base64url(hmac.digest(browser_secret.encode(), f"attempt:{id}".encode(), hashlib.sha256)))

    @property
    def nonce(self) -> str:
        return hashlib.sha256(f"nonce:{self.secret}".encode("latin-1", "replace")).hexdigest()

    @property
    def verifier(self) -> str:
        """Return PKCE's code verifier (RFC 7636, section 4.1)."""
        return _base64url(hashlib.sha256(f"verifier:{self.secret}".encode("latin-1", "replace")).digest())

    @property
    def challenge(self) -> str:
        return _base64url(hashlib.sha256(self.verifier.encode()).digest())


def begin(
    request: HttpRequest,
    upstream: Upstream,
    purpose: Purpose,
    target: str | None,
    sign_in: int = 0,
    tries: int = 0,
) -> tuple[str, AttemptSecrets, tuple[str, str]]:
    """Return the state of a new attempt, its secrets, and the browser's cookie."""
    new = (_cookie_name(secrets.choice(SLOTS)), secrets.token_urlsafe(16))
    name, browser_secret = next(iter(_browser_secrets(request).items()), new)
    id, page, kept = secrets.token_hex(16), target or "", ""
    if len(page) > LONGEST_IN_STATE or "#" in page:
        kept = kept_pages.keep(page, client_address(request)) or ""
        page = _shortened(page)
    attempt = Attempt(
        id, upstream.pk, purpose, int(time.time()), _browser(browser_secret), page, sign_in, kept, tries
    )
    return (
        signing.dumps(asdict(attempt), salt=SALT, compress=True),
        AttemptSecrets.of(browser_secret, id),
        (name, browser_secret),
    )


def _shortened(page: str) -> str:
    """Return the page's URL without its fragment, or the beginning that fits into a state."""
    page = page.partition("#")[0]
    for shorter in (page, page.partition("?")[0]):
        if len(shorter) <= LONGEST_IN_STATE:
            return shorter
    return ""


def set_cookie(response: HttpResponse, cookie: tuple[str, str]) -> None:
    set_portal_cookie(response, *cookie, max_age=RESUMED_WITHIN)


def _cookie_name(slot: str) -> str:
    return f"{settings.COOKIE_PREFIX}{COOKIE}{slot}"


def _browser_secrets(request: HttpRequest) -> dict[str, str]:
    found = {name: request.COOKIES.get(name, "") for name in map(_cookie_name, SLOTS)}
    return {name: value for name, value in found.items() if _SECRET.fullmatch(value)}


def has_attempt(request: HttpRequest) -> bool:
    """Return whether the browser has begun an attempt within the hour."""
    return bool(_browser_secrets(request))


def _browser(browser_secret: str) -> str:
    return hashlib.sha256(f"browser:{browser_secret}".encode()).hexdigest()[:32]


def read(request: HttpRequest, upstream: Upstream, state: str) -> tuple[Attempt, AttemptSecrets | None]:
    """Return the attempt of a state, and its secrets. In another browser, return None for the secrets.

    Raises ProviderError if the state is not the portal's, belongs to another provider, or is older than
    RESUMED_WITHIN.
    """
    try:
        values: dict[str, Any] = signing.loads(state, salt=SALT, max_age=RESUMED_WITHIN)
        attempt = Attempt(**{**values, "purpose": Purpose(values["purpose"])})
    except (signing.BadSignature, ValueError, TypeError, KeyError):
        raise ProviderError("the state is not of this portal, or too old", ErrorPage.STALE) from None
    if attempt.upstream != upstream.pk:
        raise ProviderError("the state is of another provider", ErrorPage.STALE)
    for browser_secret in _browser_secrets(request).values():
        if hmac.compare_digest(_browser(browser_secret), attempt.browser):
            return attempt, AttemptSecrets.of(browser_secret, attempt.id)
    return attempt, None


def page_of(request: HttpRequest, attempt: Attempt, own: AttemptSecrets | None) -> str:
    """Return the page that an attempt leads to.

    Providers see the state, and could pass it on. So another browser receives a stored page only in the
    network from which the attempt began.
    """
    client = client_address(request) if own is None else None
    found = kept_pages.kept(attempt.kept, only_of=client) if attempt.kept else None
    return found or attempt.next


def use(attempt: Attempt) -> None:
    """Use an attempt. Of several concurrent requests, all but one raise ProviderError.

    Also raises the cache's own errors, which lead to the page for an outage.
    """
    if attempt.is_expired:
        raise ProviderError("the state is too old", ErrorPage.STALE, is_retryable=True)
    if not cache.add(f"upstream-attempt:{attempt.id}", 1, AGE_LIMIT + 60):
        raise ProviderError("the attempt was used already", ErrorPage.STALE, is_retryable=True)


def may_retry(attempt: Attempt) -> bool:
    """Return whether the portal may repeat an attempt without a click, and count the repetition.

    This limits how often a provider can repeat one old answer. `Attempt.tries` limits refused new attempts.
    """
    try:
        return any(cache.add(f"upstream-again:{attempt.id}:{n}", 1, RESUMED_WITHIN) for n in range(TRIES))
    except Exception:
        return False


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
