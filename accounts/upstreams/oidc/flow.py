"""OpenID Connect: the authorization code flow of mozilla-django-oidc, with every response validated."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from accounts.models import Upstream
from accounts.upstreams.attempts import AttemptSecrets, Purpose
from accounts.upstreams.claim_texts import identifier, is_identifier
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.http_client import Answer, fetch
from accounts.upstreams.oidc.metadata import Metadata, Source, metadata_of, verify_token
from accounts.upstreams.oidc.signed_tokens import LEEWAY, USERINFO
from authgate.encryption import Undecryptable

LONGEST_TOKEN = 32 * 1024


def redirect_uri(upstream: Upstream) -> str:
    """Return the URL to register at the provider, to which it redirects users."""
    return f"{settings.IKD_PORTAL_ORIGIN}{reverse('upstream_callback', args=[upstream.slug])}"


def authorization_url(upstream: Upstream, state: str, own: AttemptSecrets, purpose: Purpose) -> str:
    """Return the provider's page on which the user signs in. Raises ProviderError."""
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
        # With max_age, the provider must send auth_time. It is never 0: Authelia would ask again after each
        # authentication. The check of auth_time in the answer has the same leeway.
        parameters |= {"prompt": "login", "max_age": str(LEEWAY)}
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def fetch_userinfo(upstream: Upstream, metadata: Metadata, access_token: str, subject: str) -> dict[str, Any]:
    """Return the claims of the userinfo endpoint (OpenID Connect Core, section 5.3), or {} without one.

    Raises ProviderError if the request fails, or if the claims are about another subject.
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


def merge_claims(id_token: Mapping[str, Any], userinfo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims of both. Those of userinfo take precedence.

    `email_verified` comes from the same source as the address. Otherwise an address that a user typed at the
    provider would count as verified because an older one was.
    """
    source = userinfo if "email" in userinfo else id_token
    found = {**id_token, **userinfo, "email_verified": source.get("email_verified")}
    # Both may name claims that the provider left out.
    left_out = [each.get("_claim_names") for each in (id_token, userinfo)]
    named = [names for names in left_out if isinstance(names, dict)]
    if named:
        found["_claim_names"] = {name: where for each in named for name, where in each.items()}
    return found


def request_tokens(upstream: Upstream, metadata: Metadata, form: dict[str, Any]) -> Answer:
    """Send a grant to the token endpoint (RFC 6749, section 3.2), and return the answer.

    Raises ProviderError.
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
    """Return the members of an answer with a bearer token. Raises ProviderError for any other answer."""
    found = answer.json()
    if str(found.get("token_type", "")).lower() != "bearer" or not token_in(found, "access_token"):
        raise ProviderError("the provider sent no bearer token")
    return found


def client_authentication(upstream: Upstream, metadata: Metadata, form: dict[str, Any]) -> dict[str, str]:
    """Return the headers that authenticate the portal, or {} after adding parameters to the form.

    Choose a method that the provider supports (OpenID Connect Core, section 9). Raises ProviderError.
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


def token_in(answer: dict[str, Any], name: str) -> str:
    """Return a token of the provider's response, or "" if it has no usable one."""
    token = answer.get(name)
    fits = isinstance(token, str) and token.isascii() and is_identifier(token, LONGEST_TOKEN)
    return token if fits and isinstance(token, str) else ""


def expiry_in(seconds: Any) -> datetime | None:
    """Return when a token with this `expires_in` expires, or None if that is no valid number of seconds."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 10**9:
        return None
    return timezone.now() + timedelta(seconds=seconds)
