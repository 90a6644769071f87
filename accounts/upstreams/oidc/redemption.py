"""The exchange of a code for an assertion, with mozilla-django-oidc.

It imports a large HTTP library. So `protocols` imports this module only when the first user comes back from a
provider.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from accounts.models import Upstream
from accounts.upstreams.attempts import Attempt, AttemptSecrets, Purpose
from accounts.upstreams.claim_texts import identifier, optional_identifier
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.linking import Assertion
from accounts.upstreams.oidc.flow import (
    bearer_tokens_in,
    expiry_in,
    fetch_userinfo,
    merge_claims,
    redirect_uri,
    request_tokens,
    token_in,
)
from accounts.upstreams.oidc.metadata import Metadata, Source, metadata_of, verify_token
from accounts.upstreams.oidc.signed_tokens import ID_TOKEN, validate_for_sign_in

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
"""Error codes of RFC 6749, section 4.1.2.1, and OpenID Connect Core, section 3.1.2.6."""


def redeem_code(request: HttpRequest, upstream: Upstream, attempt: Attempt, own: AttemptSecrets) -> Assertion:
    """Return the provider's assertion for the code in a request. Raises ProviderError."""
    _validate_answer(request, upstream)
    return Redemption(upstream, attempt, own).redeem(request)


def _validate_answer(request: HttpRequest, upstream: Upstream) -> None:
    """Validate the parameters besides the state (RFC 6749, section 4.1.2; RFC 9207). Raises ProviderError."""
    doubled = [name for name in ("code", "state", "iss", "error") if len(request.GET.getlist(name)) > 1]
    if doubled:
        raise ProviderError(f"the answer has {doubled[0]} twice")
    issuer = request.GET.get("iss")
    if (issuer is None and metadata_of(upstream).sends_issuer) or issuer not in (None, upstream.issuer):
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

    AUTHENTICATION_BACKENDS does not list it. Otherwise Django would also ask it about every password.
    """

    def __init__(self, upstream: Upstream, attempt: Attempt, own: AttemptSecrets) -> None:
        # Not super().__init__(), which reads a single provider from the settings.
        self.upstream, self.attempt, self.own = upstream, attempt, own
        self.metadata: Metadata = metadata_of(upstream)
        self.OIDC_RP_CLIENT_ID = upstream.client_id
        self.OIDC_RP_CLIENT_SECRET = None
        self._answer: dict[str, Any] = {}

    def get_settings(self, attr: str, *args: Any) -> Any:
        """Return the value of a setting for the base class, never one of the portal's settings."""
        return {"OIDC_AUTHENTICATION_CALLBACK_URL": "launcher"}.get(attr, args[0] if args else None)

    def redeem(self, request: HttpRequest) -> Assertion:
        """Return the provider's assertion for the request's code. Raises ProviderError."""
        assertion: Assertion | None = self.authenticate(
            request, nonce=self.own.nonce, code_verifier=self.own.verifier
        )
        if assertion is None:
            raise ProviderError("the provider sent the browser back without a code")
        return assertion

    # ---- hooks of the base class, in the order of its calls ----

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
            # Servers may store one code for each user. If several tabs come back, only one code is valid.
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
        """Store no tokens in the session. The sign-in's own row stores them, encrypted."""

    def get_or_create_user(self, access_token: str, id_token: str, payload: dict[str, Any]) -> Assertion:
        """Return the assertion instead of a user. `linking` finds the user, for every kind of provider."""
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


def _protocol_claims(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the claims of the signed ID token that userinfo must not override."""
    return {
        name: payload[name] for name in ("iss", "sub", "aud", "amr", "acr", "auth_time") if name in payload
    }


def _context(acr: Any) -> str:
    """Return acr as text, because some providers send their level as a number. Raises ProviderError."""
    is_number = isinstance(acr, int) and not isinstance(acr, bool)
    return str(acr) if is_number and abs(acr) < 10**9 else optional_identifier(acr, "acr")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


KNOWN_ERRORS = frozenset(
    ("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type")
)
"""Error codes of RFC 6749, section 5.2. Other texts may contain the code, so events omit them."""


def _error_named(body: bytes) -> str:
    return next((name for name in sorted(KNOWN_ERRORS) if f'"{name}"'.encode() in body), "no known reason")
