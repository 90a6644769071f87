"""Claims about a user that a client receives for its granted scopes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from authgate.check.admission import groups_for
from authgate.decision.rules import Application, Subject

ID_TOKEN_LIFETIME = 300
"""Seconds. Clients read an ID token once, when they receive it."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """The claims of an ID token about the sign-in rather than the user. Times are Unix times."""

    issuer: str
    client_id: str
    subject: str
    auth_time: int
    acr: str
    amr: list[str]
    sid: str
    nonce: str = ""


def id_token_claims(
    subject: Subject,
    scopes: Collection[str],
    application: Application | None,
    authentication: Authentication,
    access_hash: str,
    now: int,
) -> dict[str, Any]:
    """Return the claims of an ID token (Core, section 2). A refreshed one has no nonce (section 12.2)."""
    claims = {
        **claims_of(subject, scopes, application),
        "iss": authentication.issuer,
        "sub": authentication.subject,
        "aud": authentication.client_id,
        "iat": now,
        "exp": now + ID_TOKEN_LIFETIME,
        "auth_time": authentication.auth_time,
        "acr": authentication.acr,
        "amr": authentication.amr,
        "sid": authentication.sid,
        "at_hash": access_hash,
    }
    return claims | ({"nonce": authentication.nonce} if authentication.nonce else {})


def claims_of(subject: Subject, scopes: Collection[str], application: Application | None) -> dict[str, Any]:
    """Return `sub` and the claims of the scopes (Core, section 5.4). An e-mail address has to be verified.

    The groups are the same that the application receives in headers.
    """
    claims: dict[str, Any] = {"sub": subject.uuid}
    if "profile" in scopes:
        claims |= {"preferred_username": subject.username, "name": subject.display_name or subject.username}
    if "email" in scopes and subject.email:
        claims |= {"email": subject.email, "email_verified": True}
    if "groups" in scopes:
        claims["groups"] = groups_for(application, subject)
    return claims
