"""The endpoints that clients call: token, userinfo, introspection and revocation."""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from authgate.audit import record
from authgate.peer import client_address
from openid import client_notes, grants, keys, policy, standing, token_feed, usage
from openid.claims import Authentication, claims_of, id_token_claims
from openid.client_requests import (
    answer,
    authenticated_client,
    authorization_of,
    call_of,
    for_clients,
    query_octets,
)
from openid.cross_origin import from_clients_pages
from openid.device_views import note_poll
from openid.grants import Issued
from openid.models import ClientTrouble, Token
from openid.policy import Ruling
from openid.protocol import bearer, device, parameters, pkce, signed
from openid.protocol import token as token_requests
from openid.protocol.errors import ProtocolError
from openid.protocol.parameters import Parameters
from openid.protocol.token import CodeRequest, DeviceRequest, RefreshRequest
from openid.standing import ClientFacts, Standing


def invalid_grant(description: str) -> ProtocolError:
    return ProtocolError("invalid_grant", description)


@from_clients_pages
@for_clients("POST")
def token(request: HttpRequest) -> HttpResponse:
    """Exchange a code or a refresh token (RFC 6749, section 3.2)."""
    call = call_of(request)
    form = call.form
    found = _named_in(form)
    client = authenticated_client(call, found.client if found else None)
    asked = token_requests.parse(form)
    mine = found if found is not None and found.client.pk == client.pk else None
    if isinstance(asked, CodeRequest):
        return _exchange_code(request, mine, asked)
    if isinstance(asked, DeviceRequest):
        return _exchange_device_code(request, client, mine, asked)
    return _refresh(request, mine, asked)


def _named_in(form: Parameters) -> Standing | None:
    """Return the code or token that a request wants to exchange, loaded with its client. One query."""
    kind = form.get("grant_type")
    if kind == "authorization_code" and form.get("code"):
        return standing.code(grants.digest(form.get("code")))
    if kind == "refresh_token" and form.get("refresh_token"):
        return standing.token(grants.digest(form.get("refresh_token")))
    if kind == device.GRANT_TYPE and form.get("device_code"):
        return standing.device(grants.digest(form.get("device_code")))
    return None


def _exchange_code(request: HttpRequest, code: Standing | None, asked: CodeRequest) -> HttpResponse:
    if code is None or code.redirect_uri != asked.redirect_uri:
        raise invalid_grant("the code is unknown")
    # Check the verifier before the code counts as used. An attacker who reads logs has no verifier, and could
    # otherwise end the user's tokens.
    if not pkce.matches(asked.verifier, code.challenge):
        wrong = "the code verifier is missing or wrong"
        client_notes.note_trouble(code.client.pk, ClientTrouble.Kind.REQUEST, wrong)
        raise invalid_grant(wrong)
    if code.is_taken:
        _note_reuse(request, code, "a code was used twice")
    ruling = _ruling(request, code)
    if code.is_taken or ruling is None:
        raise invalid_grant("the code has expired, or its sign-in has ended")
    issued = _issued(request, code, code.grant_scopes, 0, "a code was used twice")
    return _token_answer(code, ruling, issued, code.grant_scopes)


def _exchange_device_code(
    request: HttpRequest, client: ClientFacts, found: Standing | None, asked: DeviceRequest
) -> HttpResponse:
    """Answer a device that polls (RFC 8628, section 3.5)."""
    if found is None:
        raise note_poll(asked.device_code, client.pk)
    reason = "the code of a device was used twice"
    if found.is_taken:
        _note_reuse(request, found, reason)
    ruling = _ruling(request, found)
    if found.is_taken or ruling is None:
        raise invalid_grant("the code was used or has expired, or its sign-in has ended")
    issued = _issued(request, found, found.grant_scopes, 0, reason)
    return _token_answer(found, ruling, issued, found.grant_scopes)


def _refresh(request: HttpRequest, found: Standing | None, asked: RefreshRequest) -> HttpResponse:
    if found is None or found.kind != Token.Kind.REFRESH or time.time() >= found.ends_at:
        raise invalid_grant("the refresh token is unknown or expired")
    if found.sequence >= grants.LONGEST_FAMILY:
        raise invalid_grant("the refresh token is unknown or expired")
    scopes = token_requests.narrowed(asked.scopes, found.scopes)
    is_reused = found.is_taken and not grants.may_race(found)
    if is_reused:
        _note_reuse(request, found, "a refresh token was used twice")
    # The rules may admit the user again tomorrow, so a token that they refuse now is not marked as used.
    ruling = _ruling(request, found)
    if is_reused or ruling is None:
        raise invalid_grant("the sign-in has ended, or the user has no access any more")
    issued = _issued(request, found, scopes, found.sequence + 1, "a refresh token was used twice")
    usage.count(ruling)
    return _token_answer(found, ruling, issued, scopes)


def _issued(
    request: HttpRequest, found: Standing, scopes: tuple[str, ...], sequence: int, reason: str
) -> Issued:
    """Return new tokens and mark the code or refresh token as used. Raises ProtocolError."""
    issued = grants.issue(found, scopes, sequence)
    if not grants.take(found) and not (grants.may_race(found) and grants.was_taken(found)):
        grants.withdraw(issued)
        _note_reuse(request, found, reason)
        raise invalid_grant("the code or token was used by another request")
    return issued


def _ruling(request: HttpRequest, found: Standing) -> Ruling | None:
    """Return the decision if the grant is valid and the rules admit its user, otherwise None.

    A public client runs on the user's machine, so its own address decides. A server calls for the user, so
    the user's address at the sign-in decides. Raises ProtocolError under maintenance: the grant stays, and
    clients try again.
    """
    if not found.counts_by_rows or not found.is_live(time.time()):
        return None
    address = client_address(request) if found.client.is_public else found.address
    application = token_feed.application(found.client.application_id)
    ruling = policy.ruling_of(application, found.subject, address)
    if ruling.maintenance is not None:
        retry = ruling.maintenance.retry_after
        text = "the application is under maintenance"
        raise ProtocolError("temporarily_unavailable", text, status=503, retry_after=retry)
    return ruling if ruling.is_allowed else None


def _note_reuse(request: HttpRequest, found: Standing, reason: str) -> None:
    """Revoke the grant of a code or token that was used twice (RFC 9700, section 4.14.2).

    A thief may have sent one of the two requests.
    """
    if grants.was_taken(found) and grants.revoke(found.grant_id):
        record(
            "openid_reuse",
            subject=found.subject.username,
            application=found.client.application,
            reason=reason,
            address=client_address(request),
            details={"client": found.client.client_id},
        )


def _token_answer(found: Standing, ruling: Ruling, issued: Issued, scopes: tuple[str, ...]) -> HttpResponse:
    body: dict[str, Any] = {
        "access_token": issued.access,
        "token_type": "Bearer",
        "expires_in": issued.access_seconds,
        "scope": " ".join(scopes),
    }
    if "openid" in scopes:
        body["id_token"] = _id_token(found, ruling, issued.access, scopes)
        # As a broker, Keycloak finds the session that a logout token names by this value, not by the ID
        # token.
        body["session_state"] = found.sid
    return answer(body | ({"refresh_token": issued.refresh} if issued.refresh else {}))


def _id_token(found: Standing, ruling: Ruling, access: str, scopes: tuple[str, ...]) -> str:
    authentication = Authentication(
        issuer=settings.IKD_PORTAL_ORIGIN,
        client_id=found.client.client_id,
        subject=found.grant_subject,
        auth_time=found.auth_time,
        acr=found.acr,
        amr=found.amr,
        sid=found.sid,
        nonce=found.nonce,
    )
    access_hash, now = signed.access_token_hash(access), int(time.time())
    claims = id_token_claims(ruling.subject, scopes, ruling.application, authentication, access_hash, now)
    return keys.sign(claims, signed.ID_TOKEN, token_feed.signing_keys())


# ---- about a token ----------------------------------------------------------------------------------------


@from_clients_pages
@for_clients("GET", "POST")
def userinfo(request: HttpRequest) -> HttpResponse:
    """Return the claims of an access token's scopes (Core, section 5.3)."""
    access = bearer.token_in(authorization_of(request), parameters.parse(query_octets(request)))
    found = token_feed.token(grants.digest(access))
    ruling = _ruling(request, found) if found is not None and found.kind == Token.Kind.ACCESS else None
    if found is None or ruling is None:
        raise bearer.invalid_token()
    if "openid" not in found.scopes:
        raise bearer.refused("insufficient_scope", "the token lacks the scope openid", status=403)
    return answer(claims_of(ruling.subject, found.scopes, ruling.application))


@for_clients("POST")
def introspect(request: HttpRequest) -> HttpResponse:
    """Return whether a token of the calling client is valid (RFC 7662). Others' tokens are inactive."""
    call = call_of(request)
    form = call.form
    named = form.get("token")
    found = standing.token(grants.digest(named)) if named else None
    client = authenticated_client(call, found.client if found else None)
    if client.is_public:
        raise ProtocolError("unauthorized_client", "public clients may not introspect", status=403)
    token_requests.token_named(form)
    if found is None or found.is_taken or found.client.pk != client.pk or _ruling(request, found) is None:
        return answer({"active": False})
    body = {
        "active": True,
        "scope": " ".join(found.scopes),
        "client_id": client.client_id,
        "username": found.subject.username,
        "sub": found.grant_subject,
        "aud": client.client_id,
        "iss": settings.IKD_PORTAL_ORIGIN,
        "exp": int(found.ends_at),
    }
    return answer(body | ({"token_type": "Bearer"} if found.kind == Token.Kind.ACCESS else {}))


@from_clients_pages
@for_clients("POST")
def revoke(request: HttpRequest) -> HttpResponse:
    """Revoke a token of the calling client (RFC 7009). A refresh token takes all tokens of its grant with it.

    The answer is the same for unknown tokens and for other clients' tokens, which stay valid.
    """
    call = call_of(request)
    form = call.form
    named = form.get("token")
    found = standing.token(grants.digest(named)) if named else None
    client = authenticated_client(call, found.client if found else None)
    token_requests.token_named(form)
    if found is not None and found.client.pk == client.pk:
        if found.kind == Token.Kind.REFRESH:
            grants.revoke(found.grant_id)
        else:
            grants.revoke_access(found.pk)
    return answer({})
