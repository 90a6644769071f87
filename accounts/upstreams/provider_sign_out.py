"""The sign-out at the provider after the portal's: OpenID Connect RP-Initiated Logout 1.0, and CAS.

The portal's own sign-out comes first, and needs no provider. Another page of the portal then redirects the
browser to the provider. So neither a missing ID token nor a slow provider can delay the portal's sign-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.db.models import Q
from django.http import HttpResponse
from django.urls import reverse

from accounts.models import Upstream, UpstreamSession
from accounts.upstreams.errors import ProviderError
from accounts.upstreams.oidc.metadata import metadata_of
from authgate.encryption import Undecryptable
from authgate.portal_cookies import set_portal_cookie

SALT = "ikd sign-out"
AGE_LIMIT = 60
"""Seconds from the portal's sign-out to the redirect to the provider."""

BACK_WITHIN = 600
"""Seconds until the browser comes back, including the user's answer to the provider's question."""

LONGEST_URL = 4000
"""Characters. Keycloak reads 4096 of a request line. The portal sends a longer URL without the hint."""

LONGEST_THEN = 1000

COOKIE = "ikd_signed_out"
COOKIE_AGE = 300
"""Seconds for which the sign-in page waits for the user's choice, even with a default provider."""


@dataclass(frozen=True, slots=True)
class ProviderSignOut:
    """The provider's session to end, and the allowed URL of the page after the sign-out, or ""."""

    session: int
    then: str


def sign_out_url(sign_in_id: int | None, then: str | None) -> str | None:
    """Return the URL of the portal's page that redirects to the provider's sign-out, or None.

    `then` must be an allowed target. End the sign-in before the browser requests the page.
    """
    session = UpstreamSession.objects.filter(sign_in=sign_in_id, upstream__enabled=True).order_by().first()
    if session is None:
        return None
    sealed = signing.dumps([session.pk, _carried(then)], salt=SALT)
    query = urlencode({"at": sealed})
    return f"{settings.IKD_PORTAL_ORIGIN}{reverse('sign_out_at_provider')}?{query}"


def unseal(sealed: str) -> ProviderSignOut | None:
    """Return the content of a sealed query parameter, or None if it is invalid or older than AGE_LIMIT."""
    try:
        session, then = signing.loads(sealed, salt=SALT, max_age=AGE_LIMIT)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return ProviderSignOut(session, then)


def take_id_token(session_id: int) -> tuple[Upstream, str] | None:
    """Return the provider and the ID token of an ended sign-in, and delete its tokens.

    Return None if they were already deleted.
    """
    ended = UpstreamSession.objects.filter(pk=session_id, sign_in__ended_at__isnull=False)
    session = ended.select_related("upstream").order_by().first()
    if session is None or not session.upstream.enabled:
        return None
    try:
        hint = session.id_token.reveal()
    except Undecryptable:
        hint = ""
    emptied = ended.filter(~Q(id_token="")).update(id_token="", access_token="", refresh_token="")
    if session.id_token and not emptied:
        return None
    return session.upstream, hint


def end_session_url(upstream: Upstream, hint: str, then: str) -> str | None:
    """Return the URL of the provider's sign-out page, or None if it has none. Raises ProviderError."""
    state = signing.dumps(then, salt=f"{SALT} back") if then else ""
    if not upstream.is_oidc:
        service = f"{signed_out_url()}?{urlencode({'state': state})}" if state else signed_out_url()
        return f"{upstream.server_url.rstrip('/')}/logout?{urlencode({'service': service})}"
    endpoint = metadata_of(upstream).end_session_endpoint
    if not endpoint:
        return None
    if not upstream.allow_private and not endpoint.startswith("https://"):
        raise ProviderError("the provider has people sign out on a page that is not encrypted")
    parameters = {"client_id": upstream.client_id, "post_logout_redirect_uri": signed_out_url()}
    if state:
        parameters["state"] = state
    whole = _with_query(endpoint, {"id_token_hint": hint, **parameters}) if hint else ""
    return whole if 0 < len(whole) <= LONGEST_URL else _with_query(endpoint, parameters)


def signed_out_url() -> str:
    """Return the URL to register at providers. They redirect signed-out users to it."""
    return f"{settings.IKD_PORTAL_ORIGIN}{reverse('signed_out')}"


def backchannel_url(upstream: Upstream) -> str:
    """Return the URL to which a provider sends its logout tokens."""
    return f"{settings.IKD_PORTAL_ORIGIN}{reverse('backchannel_logout', args=[upstream.slug])}"


def target_in(state: str) -> str | None:
    """Return the URL in the state that a provider sends back, or None."""
    try:
        then = signing.loads(state, salt=f"{SALT} back", max_age=BACK_WITHIN)
    except (signing.BadSignature, ValueError):
        return None
    return then if isinstance(then, str) else None


def remember_sign_out(response: HttpResponse) -> HttpResponse:
    """Set the cookie that makes the sign-in page wait for the user's choice.

    Otherwise the default provider would sign the user in again right after the sign-out.
    """
    set_portal_cookie(response, cookie_name(), "1", max_age=COOKIE_AGE)
    return response


def cookie_name() -> str:
    return f"{settings.COOKIE_PREFIX}{COOKIE}"


def _carried(then: str | None) -> str:
    return then if then and len(then) <= LONGEST_THEN else ""


def _with_query(endpoint: str, parameters: dict[str, str]) -> str:
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"
