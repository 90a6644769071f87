"""The renewal of a sign-in's tokens at its provider by the refresh token (OpenID Connect Core, section 12).

A provider may issue a new refresh token each time and revoke the old one. So only the process that has the
row's lease asks the provider. It writes the response only while it still has the lease.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import UpstreamSession
from accounts.upstreams.concurrency import provider_slots
from accounts.upstreams.errors import ErrorPage, ProviderError
from accounts.upstreams.groups import update_groups, updates_groups_on_recheck
from accounts.upstreams.http_client import Answer
from accounts.upstreams.logout_requests import end_session
from accounts.upstreams.oidc.flow import (
    bearer_tokens_in,
    expiry_in,
    fetch_userinfo,
    merge_claims,
    request_tokens,
    token_in,
)
from accounts.upstreams.oidc.metadata import Source, metadata_of, verify_token
from accounts.upstreams.oidc.signed_tokens import ID_TOKEN, validate_client
from authgate.encryption import Undecryptable

LEASE = timedelta(seconds=60)
"""Longer than a request can take. During this time no other process asks, even after a failure."""


class Outcome(Enum):
    FRESH = auto()
    ENDED = auto()
    FAILED = auto()
    BUSY = auto()


class _SignInEnded(Exception):
    """The provider no longer knows the sign-in. The exception's text is the reason."""


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Outcome
    reason: str = ""


def free_of_lease(now: datetime) -> Q:
    """Return the condition for rows without a lease. Ignore a lease in the future: some clock was wrong."""
    return Q(tried_at=None) | Q(tried_at__lt=now - LEASE) | Q(tried_at__gt=now + LEASE)


def refresh(session_id: int) -> Result:
    """Ask the provider, and store its response. If the provider no longer knows the sign-in, end it."""
    lease = timezone.now()
    # Only columns of this row: if two processes race, PostgreSQL evaluates only these again for the second.
    if not UpstreamSession.objects.filter(free_of_lease(lease), pk=session_id).update(tried_at=lease):
        return Result(Outcome.BUSY)
    live = UpstreamSession.objects.filter(pk=session_id, sign_in__ended_at=None)
    session = live.exclude(refresh_token="").select_related("upstream", "sign_in__user").order_by().first()
    if session is None or not session.upstream.enabled:
        return Result(Outcome.BUSY)
    try:
        with provider_slots.hold(session.upstream_id):
            fresh, claims = _request_renewal(session)
    except _SignInEnded as over:
        end_session(session, str(over))
        return Result(Outcome.ENDED, str(over))
    except ProviderError as error:
        return Result(Outcome.FAILED, error.reason)
    held = UpstreamSession.objects.filter(pk=session.pk, tried_at=lease).exclude(refresh_token="")
    if not held.update(**fresh, checked_at=timezone.now(), tried_at=None):
        return Result(Outcome.FRESH)
    # Only after the update: the provider may have revoked the old refresh token, so store the new one first.
    return Result(Outcome.FRESH, _follow_groups(session, fresh["access_token"], claims))


def _follow_groups(session: UpstreamSession, access_token: str, id_token: Mapping[str, Any] | None) -> str:
    """Update the user's groups if the provider's settings say so. Return the reason if it failed."""
    upstream = session.upstream
    if not updates_groups_on_recheck(upstream):
        return ""
    userinfo: dict[str, Any] = {}
    reason = ""
    try:
        with provider_slots.hold(upstream.pk):
            userinfo = fetch_userinfo(upstream, metadata_of(upstream), access_token, session.subject)
    except ProviderError as error:
        reason = error.reason
    with transaction.atomic():
        is_all = id_token is not None and not reason
        update_groups(upstream, session.sign_in.user, merge_claims(id_token or {}, userinfo), is_all=is_all)
    return reason


def _request_renewal(session: UpstreamSession) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the row's new values, and the claims of a new ID token, or None without one.

    Raises _SignInEnded if the provider ended the sign-in, and ProviderError for any other failure.
    """
    upstream, metadata = session.upstream, metadata_of(session.upstream)
    try:
        form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token.reveal()}
    except Undecryptable as error:
        raise ProviderError(str(error), ErrorPage.UNAVAILABLE) from None
    answer = request_tokens(upstream, metadata, form)
    if answer.status != 200:
        raise _refusal(answer)
    found = bearer_tokens_in(answer)
    fresh: dict[str, Any] = {
        "access_token": token_in(found, "access_token"),
        "expires_at": expiry_in(found.get("expires_in")),
    }
    if newer := token_in(found, "refresh_token"):
        fresh["refresh_token"] = newer
    claims = None
    if found.get("id_token"):
        claims = _verified_claims(session, found["id_token"])
        fresh["id_token"] = found["id_token"]
    return fresh, claims


def _refusal(answer: Answer) -> Exception:
    """Return _SignInEnded if the provider ended the sign-in, and ProviderError for any other error."""
    if answer.status in (400, 401):
        try:
            error = answer.json().get("error")
        except ProviderError:
            error = None
        if error == "invalid_grant":
            return _SignInEnded("the provider no longer knows the sign-in")
    return ProviderError(f"the token endpoint answered with status {answer.status}", ErrorPage.UNAVAILABLE)


def _verified_claims(session: UpstreamSession, token: Any) -> dict[str, Any]:
    """Return the claims of a new ID token (section 12.2).

    Raises ProviderError if the token is invalid, and _SignInEnded if its subject is another one.
    """
    upstream = session.upstream
    claims, _ = verify_token(upstream, token, ID_TOKEN, Source.PROVIDER)
    if not hmac.compare_digest(claims["sub"].encode(), session.subject.encode()):
        raise _SignInEnded("the provider answered for somebody else")
    validate_client(claims, upstream.client_id)
    return claims
