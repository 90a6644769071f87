"""The endpoints that clients call: token, userinfo, introspection and revocation."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from authgate.audit import record
from authgate.peer import client_address
from openid import grants, keys, policy
from openid.claims import claims_of
from openid.client_requests import (
    answer,
    authenticated_client,
    authorization_of,
    for_clients,
    form_of,
    query_octets,
)
from openid.grants import Issued
from openid.models import Client, Code, Grant, Token
from openid.policy import Ruling
from openid.protocol import bearer, parameters, pkce, signed
from openid.protocol import token as token_requests
from openid.protocol.errors import ProtocolError
from openid.protocol.token import CodeRequest, RefreshRequest

ID_TOKEN_LIFETIME = 300
"""Seconds. Clients read an ID token once, when they receive it."""


def invalid_grant(description: str) -> ProtocolError:
    return ProtocolError("invalid_grant", description)


@for_clients("POST")
def token(request: HttpRequest) -> HttpResponse:
    """Exchange a code or a refresh token (RFC 6749, section 3.2)."""
    form = form_of(request)
    client = authenticated_client(request, form)
    asked = token_requests.parse(form)
    if isinstance(asked, CodeRequest):
        return _exchange_code(request, client, asked)
    return _refresh(request, client, asked)


def _exchange_code(request: HttpRequest, client: Client, asked: CodeRequest) -> HttpResponse:
    code = grants.code_named(asked.code, client)
    if code is None or code.redirect_uri != asked.redirect_uri:
        raise invalid_grant("the code is unknown")
    # Before the code counts as used: a reader of logs has no verifier, and could end the user's tokens.
    if not pkce.is_right(asked.verifier, code.challenge):
        raise invalid_grant("the code verifier is missing or wrong")
    with transaction.atomic():
        is_taken = grants.take_code(code)
        grant = grants.live_grant(code.grant_id) if is_taken else None
        ruling = _ruling(request, grant) if grant else None
        if grant and ruling:
            issued = grants.issue(grant, tuple(grant.scopes.split()), 0)
    if not is_taken:
        _note_reuse(request, client, code.grant, "a code was used twice", code)
    if not grant or not ruling:
        raise invalid_grant("the code has expired, or its sign-in has ended")
    return _token_answer(grant, ruling, issued, grant.scopes.split(), nonce=code.nonce)


def _refresh(request: HttpRequest, client: Client, asked: RefreshRequest) -> HttpResponse:
    found = grants.token_named(asked.token, Token.Kind.REFRESH)
    if found is None or found.grant.client_id != client.pk or found.sequence >= grants.LONGEST_FAMILY:
        raise invalid_grant("the refresh token is unknown or expired")
    scopes = token_requests.narrowed(asked.scopes, tuple(found.scopes.split()))
    with transaction.atomic():
        is_taken = grants.take_refresh(found)
        grant = grants.live_grant(found.grant_id) if is_taken else None
        ruling = _ruling(request, grant) if grant else None
        if grant and ruling:
            issued = grants.issue(grant, scopes, found.sequence + 1)
        elif is_taken:
            # The rules may admit the user again tomorrow: the client has this token alone.
            Token.objects.filter(pk=found.pk).update(taken_at=None)
    if not is_taken:
        _note_reuse(request, client, found.grant, "a refresh token was used twice")
    if not grant or not ruling:
        raise invalid_grant("the sign-in has ended, or the user has no access any more")
    return _token_answer(grant, ruling, issued, scopes)


def _ruling(request: HttpRequest, grant: Grant) -> Ruling | None:
    """Return the decision if the rules let the user of a grant in, None otherwise.

    A public client runs where its user is; a server asks for a user whose address it was at the sign-in.
    """
    address = client_address(request) if grant.client.is_public else grant.address
    ruling = policy.decide(grant.client, grant.sign_in.user, grant.sign_in, address)
    return ruling if ruling.is_allowed else None


def _note_reuse(
    request: HttpRequest, client: Client, grant: Grant, reason: str, code: Code | None = None
) -> None:
    """Revoke the grant of what was used twice (RFC 9700, section 4.14.2): a thief may have one of the two."""
    was_taken = code is None or Code.objects.filter(pk=code.pk).exclude(taken_at=None).exists()
    if was_taken and grants.revoke(grant.pk):
        record(
            "openid_reuse",
            subject=grant.sign_in.user.username,
            application=client.application.name,
            reason=reason,
            address=client_address(request),
            details={"client": client.client_id},
        )


def _token_answer(
    grant: Grant, ruling: Ruling, issued: Issued, scopes: list[str] | tuple[str, ...], nonce: str = ""
) -> HttpResponse:
    told: dict[str, Any] = {
        "access_token": issued.access,
        "token_type": "Bearer",
        "expires_in": issued.access_seconds,
        "scope": " ".join(scopes),
    }
    if "openid" in scopes:
        told["id_token"] = _id_token(grant, ruling, issued.access, scopes, nonce)
    return answer(told | ({"refresh_token": issued.refresh} if issued.refresh else {}))


def _id_token(grant: Grant, ruling: Ruling, access: str, scopes: Any, nonce: str) -> str:
    """Return an ID token (Core, section 2). A refreshed one has no nonce (section 12.2)."""
    now = int(time.time())
    claims = {
        **claims_of(ruling.subject, scopes, ruling.application),
        "iss": settings.IKD_PORTAL_ORIGIN,
        "sub": grant.subject,
        "aud": grant.client.client_id,
        "iat": now,
        "exp": now + ID_TOKEN_LIFETIME,
        "auth_time": int(grant.auth_time.timestamp()),
        "acr": grant.acr,
        "amr": grant.amr,
        "sid": grant.sid,
        "at_hash": signed.access_token_hash(access),
    }
    return keys.sign(claims | ({"nonce": nonce} if nonce else {}), signed.ID_TOKEN)


# ---- about a token ----------------------------------------------------------------------------------------


@for_clients("GET", "POST")
def userinfo(request: HttpRequest) -> HttpResponse:
    """Return the claims of an access token's scopes (Core, section 5.3)."""
    access = bearer.token_in(authorization_of(request), parameters.parse(query_octets(request)))
    found = grants.token_named(access, Token.Kind.ACCESS)
    grant = grants.live_grant(found.grant_id) if found else None
    ruling = _ruling(request, grant) if grant else None
    if found is None or grant is None or ruling is None:
        raise bearer.invalid_token()
    scopes = found.scopes.split()
    if "openid" not in scopes:
        raise bearer.refused("insufficient_scope", "the token lacks the scope openid", status=403)
    return answer(claims_of(ruling.subject, scopes, ruling.application))


@for_clients("POST")
def introspect(request: HttpRequest) -> HttpResponse:
    """Say whether a token of the asking client counts (RFC 7662). Of any other token nothing is told."""
    form = form_of(request)
    client = authenticated_client(request, form)
    if client.is_public:
        raise ProtocolError("unauthorized_client", "public clients may not introspect", status=403)
    found = grants.token_named(token_requests.token_named(form))
    if found is None or found.taken_at is not None or found.grant.client_id != client.pk:
        return answer({"active": False})
    grant = grants.live_grant(found.grant_id)
    if grant is None or _ruling(request, grant) is None:
        return answer({"active": False})
    told = {
        "active": True,
        "scope": found.scopes,
        "client_id": client.client_id,
        "username": grant.sign_in.user.username,
        "sub": grant.subject,
        "aud": client.client_id,
        "iss": settings.IKD_PORTAL_ORIGIN,
        "exp": int(found.expires_at.timestamp()),
    }
    return answer(told | ({"token_type": "Bearer"} if found.kind == Token.Kind.ACCESS else {}))


@for_clients("POST")
def revoke(request: HttpRequest) -> HttpResponse:
    """Revoke a token of the asking client (RFC 7009); a refresh token with all of its grant's tokens.

    The answer is the same for a token that is unknown or another client's, of which nothing is revoked.
    """
    form = form_of(request)
    client = authenticated_client(request, form)
    found = grants.token_named(token_requests.token_named(form))
    if found is not None and found.grant.client_id == client.pk:
        if found.kind == Token.Kind.REFRESH:
            grants.revoke(found.grant_id)
        else:
            found.delete()
    return answer({})
