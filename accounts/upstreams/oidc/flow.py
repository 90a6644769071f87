"""OpenID Connect: the authorization code flow of mozilla-django-oidc, with every response validated."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from accounts.models import Upstream
from accounts.upstreams.attempts import Attempt, AttemptSecrets, Purpose
from accounts.upstreams.claim_texts import identifier, is_identifier, optional_identifier
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.http_client import Answer, fetch
from accounts.upstreams.linking import Assertion
from accounts.upstreams.oidc.metadata import Metadata, Source, metadata_of, verify_token
from accounts.upstreams.oidc.signed_tokens import ID_TOKEN, LEEWAY, USERINFO, validate_for_sign_in
from authgate.encryption import Undecryptable

LONGEST_TOKEN = 32 * 1024

KNOWN_AUTHORIZATION_ERRORS = frozenset(
    (
        "access_denied",
        "account_selection_required",
        "consent_required",
        "interaction_required",
        "invalid_request",
        "invalid_scope",
        "login_required",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_response_type",
    )
)
"""Of RFC 6749, section 4.1.2.1, and OpenID Connect Core, section 3.1.2.6."""


def redirect_uri(upstream: Upstream) -> str:
    """Return the URL to register at the provider, to which it redirects users."""
    return f"{settings.IKD_PORTAL_ORIGIN}{reverse('upstream_callback', args=[upstream.slug])}"


def authorization_url(upstream: Upstream, state: str, own: AttemptSecrets, purpose: Purpose) -> str:
    """Return the provider's page on which the user signs in. Raise ProviderError."""
    endpoint = metadata_of(upstream).authorization_endpoint
    parameters = {
        "response_type": "code",
        "client_id": upstream.client_id,
        "redirect_uri": redirect_uri(upstream),
        "scope": " ".join(upstream.scopes.split()),
        "state": state,
        "nonce": own.nonce,
        "code_challenge": own.challenge,
        "code_challenge_method": "S256",
    }
    if purpose is Purpose.CONFIRM:
        # max_age makes auth_time required. It is never 0: Authelia would ask again and again, also after the
        # user has authenticated. The same leeway applies to auth_time in the answer.
        parameters |= {"prompt": "login", "max_age": str(LEEWAY)}
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def redeem_code(request: HttpRequest, upstream: Upstream, attempt: Attempt, own: AttemptSecrets) -> Assertion:
    """Return the provider's assertion for the code in a request. Raise ProviderError."""
    _validate_answer(request, upstream)
    return Redemption(upstream, attempt, own).redeem(request)


def _validate_answer(request: HttpRequest, upstream: Upstream) -> None:
    """Validate the parameters besides the state (RFC 6749, section 4.1.2; RFC 9207). Raise ProviderError."""
    doubled = [name for name in ("code", "state", "iss", "error") if len(request.GET.getlist(name)) > 1]
    if doubled:
        raise ProviderError(f"the answer has {doubled[0]} twice")
    issuer = request.GET.get("iss")
    if (issuer is None and metadata_of(upstream).tells_issuer) or issuer not in (None, upstream.issuer):
        raise ProviderError("the answer comes from another issuer (iss)")
    error = request.GET.get("error")
    if error is not None:
        named = error if error in KNOWN_AUTHORIZATION_ERRORS else "no known reason"
        down = error in ("server_error", "temporarily_unavailable")
        raise ProviderError(
            f"the provider refused: {named}", ErrorPage.UNAVAILABLE if down else ErrorPage.REFUSED
        )


class Redemption(OIDCAuthenticationBackend):
    """The exchange of one code at one provider.

    It is in no list of Django's backends, where Django would also ask it about every password.
    """

    def __init__(self, upstream: Upstream, attempt: Attempt, own: AttemptSecrets) -> None:
        # Not super().__init__(), which reads a single provider from the settings.
        self.upstream, self.attempt, self.own = upstream, attempt, own
        self.metadata: Metadata = metadata_of(upstream)
        self.OIDC_RP_CLIENT_ID = upstream.client_id
        self.OIDC_RP_CLIENT_SECRET = None
        self._answer: dict[str, Any] = {}

    def get_settings(self, attr: str, *args: Any) -> Any:
        """Return the value of a setting for the base class. None is read from the portal's settings."""
        return {"OIDC_AUTHENTICATION_CALLBACK_URL": "launcher"}.get(attr, args[0] if args else None)

    def redeem(self, request: HttpRequest) -> Assertion:
        """Return the provider's assertion for the request's code. Raise ProviderError."""
        assertion: Assertion | None = self.authenticate(
            request, nonce=self.own.nonce, code_verifier=self.own.verifier
        )
        if assertion is None:
            raise ProviderError("the provider sent the browser back without a code")
        return assertion

    # ---- what the base class calls, in this order ----

    def get_token(self, payload: dict[str, Any]) -> dict[str, Any]:
        form = {name: payload[name] for name in ("grant_type", "code", "code_verifier")}
        form["redirect_uri"] = redirect_uri(self.upstream)
        answer = request_tokens(self.upstream, self.metadata, form)
        if answer.status >= 500:
            raise ProviderError(
                f"the token endpoint answered with status {answer.status}", ErrorPage.UNAVAILABLE
            )
        if answer.status != 200:
            error = _error_named(answer.body)
            # Servers may keep one code for each user: of several tabs that come back, one has it.
            page = ErrorPage.STALE if error == "invalid_grant" else ErrorPage.BROKEN
            reason = f"the provider refused the code ({error})"
            raise ProviderError(reason, page, is_retryable=error == "invalid_grant")
        self._answer = bearer_tokens_in(answer)
        return self._answer

    def verify_token(self, token: Any, **kwargs: Any) -> dict[str, Any]:
        claims, header = verify_token(self.upstream, token, ID_TOKEN, Source.PROVIDER)
        confirms = self.attempt.purpose is Purpose.CONFIRM
        validate_for_sign_in(
            claims,
            header,
            client_id=self.upstream.client_id,
            nonce=self.own.nonce,
            access_token=token_in(self._answer, "access_token"),
            authenticated_since=self.attempt.began_at if confirms else None,
        )
        return claims

    def store_tokens(self, access_token: str, id_token: str) -> None:
        """Store no tokens in the session. They go to the sign-in's own row, encrypted."""

    def get_or_create_user(self, access_token: str, id_token: str, payload: dict[str, Any]) -> Assertion:
        """Return the assertion. `linking` finds its user, for every kind of provider."""
        claims = {**self.get_userinfo(access_token, id_token, payload), **_protocol_claims(payload)}
        return Assertion(
            subject=payload["sub"],
            claims=claims,
            sid=optional_identifier(payload.get("sid"), "sid"),
            id_token=id_token,
            access_token=access_token,
            refresh_token=token_in(self._answer, "refresh_token"),
            expires_at=expiry_in(self._answer.get("expires_in")),
            methods=tuple(identifier(method, "amr", 100) for method in _list(payload.get("amr"))[:20]),
            context=_context(payload.get("acr")),
        )

    def get_userinfo(self, access_token: str, id_token: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the ID token's claims with those of the userinfo endpoint, if there is one."""
        return merge_claims(
            payload, fetch_userinfo(self.upstream, self.metadata, access_token, payload["sub"])
        )


def fetch_userinfo(upstream: Upstream, metadata: Metadata, access_token: str, subject: str) -> dict[str, Any]:
    """Return the claims of the userinfo endpoint (OpenID Connect Core, section 5.3), {} without one.

    Raise ProviderError, also if the claims are of another subject.
    """
    if not metadata.userinfo_endpoint:
        return {}
    answer = fetch(
        metadata.userinfo_endpoint,
        allow_private=upstream.allow_private,
        headers={"Authorization": f"Bearer {access_token}", "Accept": "application/json"},
    )
    if answer.status != 200:
        raise ProviderError(f"the userinfo endpoint answered with status {answer.status}", answer.error_page)
    if answer.headers.get("content-type", "").lower().startswith("application/jwt"):
        token = answer.body.decode("ascii", "replace").strip()
        found, _ = verify_token(upstream, token, USERINFO, Source.PROVIDER)
    else:
        found = answer.json()
    sub = identifier(found.get("sub"), "sub")
    if not hmac.compare_digest(sub.encode(), subject.encode()):
        raise ProviderError("the userinfo endpoint tells of somebody else (sub)")
    return found


def merge_claims(id_token: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims of both. Those of userinfo take precedence.

    `email_verified` comes from the same source as the address. Otherwise an address that a user typed at the
    provider would count as verified because an older one was.
    """
    source = told if "email" in told else id_token
    found = {**id_token, **told, "email_verified": source.get("email_verified")}
    # Either may list claims that are elsewhere.
    named = [each["_claim_names"] for each in (id_token, told) if isinstance(each.get("_claim_names"), dict)]
    if named:
        found["_claim_names"] = {name: where for each in named for name, where in each.items()}
    return found


def request_tokens(upstream: Upstream, metadata: Metadata, form: dict[str, Any]) -> Answer:
    """Send a grant to the token endpoint (RFC 6749, section 3.2), and return the answer.

    Raise ProviderError.
    """
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    headers |= client_authentication(upstream, metadata, form)
    return fetch(
        metadata.token_endpoint,
        allow_private=upstream.allow_private,
        method="POST",
        body=urlencode(form).encode(),
        headers=headers,
    )


def bearer_tokens_in(answer: Answer) -> dict[str, Any]:
    """Return the members of an answer with a bearer token. Raise ProviderError for any other."""
    found = answer.json()
    if str(found.get("token_type", "")).lower() != "bearer" or not token_in(found, "access_token"):
        raise ProviderError("the provider sent no bearer token")
    return found


def client_authentication(upstream: Upstream, metadata: Metadata, form: dict[str, Any]) -> dict[str, str]:
    """Authenticate the portal in a way that the provider supports (OpenID Connect Core, section 9).

    Return headers, or add to the form. Raise ProviderError.
    """
    try:
        secret = upstream.client_secret.reveal()
    except Undecryptable as error:
        raise ProviderError(str(error), ErrorPage.UNAVAILABLE) from None
    if secret and "client_secret_basic" in metadata.token_auth_methods:
        pair = f"{quote_plus(upstream.client_id)}:{quote_plus(secret)}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    form["client_id"] = upstream.client_id
    if secret:
        form["client_secret"] = secret
    return {}


def _protocol_claims(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the signed claims that userinfo must not override."""
    return {
        name: payload[name] for name in ("iss", "sub", "aud", "amr", "acr", "auth_time") if name in payload
    }


def token_in(answer: dict[str, Any], name: str) -> str:
    """Return a token of the provider's response, "" if it has no usable one."""
    token = answer.get(name)
    fits = isinstance(token, str) and token.isascii() and is_identifier(token, LONGEST_TOKEN)
    return token if fits and isinstance(token, str) else ""


def expiry_in(seconds: Any) -> datetime | None:
    """Return the moment that `expires_in` means, or None."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 10**9:
        return None
    return timezone.now() + timedelta(seconds=seconds)


def _context(acr: Any) -> str:
    """Return acr as text: some providers send their level as a number. Raise ProviderError."""
    is_number = isinstance(acr, int) and not isinstance(acr, bool)
    return str(acr) if is_number and abs(acr) < 10**9 else optional_identifier(acr, "acr")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


KNOWN_ERRORS = frozenset(
    ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type")
)
"""Of RFC 6749, section 5.2. Other texts are not repeated, because they may contain the code."""


def _error_named(body: bytes) -> str:
    return next((name for name in sorted(KNOWN_ERRORS) if f'"{name}"'.encode() in body), "no known reason")
