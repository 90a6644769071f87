"""Grants, codes and tokens: creates them, and accepts each only once.

A grant is valid only while its sign-in is. Ending the sign-in or disabling the user ends the grant in the
same transaction, because each look-up reads both (`openid/standing.py`).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, When
from django.utils import timezone

from authgate.models import SignIn
from authgate.prepared import PreparedInsert, PreparedLookup
from authgate.sign_ins import note_revocation
from openid.models import Client, Code, DeviceCode, Grant, Token
from openid.standing import CODE, DEVICE, Standing

CODE_AGE = timedelta(seconds=60)

MAX_GRANTS_PER_HOUR = 200
"""Grants that one client gets from one sign-in within an hour at most."""

RACE = 10
"""Seconds after its first use in which a confidential client may use a refresh token again."""

EARLIER_GRANTS = 1_000
"""Earlier grants that are considered when a client gets another grant from the same sign-in."""

LONGEST_FAMILY = 20_000
"""Refreshes of one grant at most. Each leaves a row, so that a second use of its token is detected."""

_GRANTS, _CODES, _TOKENS = PreparedInsert(Grant), PreparedInsert(Code), PreparedInsert(Token)


class TooManyGrants(Exception):
    """The client got too many grants from one sign-in within an hour, probably in a redirect loop."""


def digest(secret: str) -> bytes:
    """Return the SHA-256 of a code, token or client secret, which the database stores in its place."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


@dataclass(frozen=True, slots=True)
class Authentication:
    """How and when the user of a grant authenticated. `at` is a Unix time."""

    at: float
    amr: list[str]
    acr: str


def grant_code(
    client: Client,
    sign_in: SignIn,
    scopes: tuple[str, ...],
    proven: Authentication,
    *,
    redirect_uri: str,
    challenge: str,
    nonce: str,
    address: str | None,
) -> str:
    """Create a grant and return its code, valid once and for a minute. Raises TooManyGrants."""
    code = secrets.token_urlsafe(32)
    with transaction.atomic():
        grant = new_grant(client, sign_in, scopes, proven, address)
        _CODES.insert(
            Code(
                grant=grant,
                digest=digest(code),
                redirect_uri=redirect_uri,
                challenge=challenge,
                nonce=nonce,
                expires_at=grant.created_at + CODE_AGE,
            )
        )
    return code


def new_grant(
    client: Client, sign_in: SignIn, scopes: tuple[str, ...], proven: Authentication, address: str | None
) -> Grant:
    """Create a grant in the caller's transaction. Raises TooManyGrants."""
    now = timezone.now()
    earlier = _earlier(client, sign_in, now)
    _supersede(earlier, now)
    grant = Grant(
        client=client,
        sign_in=sign_in,
        sid=earlier[-1].sid if earlier else secrets.token_urlsafe(24),
        subject=str(sign_in.user.uuid),
        scopes=" ".join(scopes),
        auth_time=datetime.fromtimestamp(int(proven.at), tz=now.tzinfo),
        amr=proven.amr,
        acr=proven.acr,
        address=address or None,
        offline="offline_access" in scopes,
        created_at=now,
    )
    _GRANTS.insert(grant)
    return grant


class EarlierGrant(NamedTuple):
    """A grant of the same sign-in to the same client. All of them share a `sid`."""

    pk: int
    sid: str
    created_at: datetime
    is_spent: bool
    """Whether the grant is older than an hour, and neither its code nor its tokens can be used any more."""


def _earlier_grants(client: int, sign_in: int, now: datetime, hour_ago: datetime) -> QuerySet[Grant, Any]:
    usable = Token.objects.filter(grant=OuterRef("pk"), expires_at__gt=now, taken_at=None)
    spent = Q(created_at__lt=hour_ago) & (Q(revoked_at__isnull=False) | ~Exists(usable))
    return (
        Grant.objects.filter(client=client, sign_in=sign_in, ended_at=None)
        .annotate(is_spent=Case(When(spent, then=True), default=False))
        .order_by("-pk")
        .values_list("pk", "sid", "created_at", "is_spent")[:EARLIER_GRANTS]
    )


_EARLIER = PreparedLookup(_earlier_grants, int, int, datetime, datetime)


def _earlier(client: Client, sign_in: SignIn, now: datetime) -> list[EarlierGrant]:
    """Return earlier grants, newest first. One query."""
    found = _EARLIER.rows(client.pk, sign_in.pk, now, now - timedelta(hours=1))
    return [EarlierGrant(pk, sid, created_at, bool(spent)) for pk, sid, created_at, spent in found]


def _supersede(earlier: list[EarlierGrant], now: datetime) -> None:
    """Delete grants that can no longer be used. Raises TooManyGrants.

    Codes stay for an hour, so that a second use is detected. The newest grant stays because it holds the sid.
    """
    if sum(grant.created_at > now - timedelta(hours=1) for grant in earlier) >= MAX_GRANTS_PER_HOUR:
        raise TooManyGrants
    spent = [grant.pk for grant in earlier[1:] if grant.is_spent][:100]
    if spent:
        Grant.objects.filter(pk__in=spent).update(superseded=True)
        Grant.objects.filter(pk__in=spent).delete()


def revoke(grant_id: int) -> bool:
    """Revoke a grant with its code and all its tokens. Return whether it was valid before."""
    is_revoked = bool(Grant.objects.filter(pk=grant_id, revoked_at=None).update(revoked_at=timezone.now()))
    if is_revoked:
        note_revocation()
    return is_revoked


def revoke_access(token_id: int) -> None:
    """Revoke an access token alone."""
    Token.objects.filter(pk=token_id).delete()
    note_revocation()


# ---- codes and tokens -------------------------------------------------------------------------------------


def take(found: Standing) -> bool:
    """Mark a code or refresh token as used. If several requests race, only one gets True."""
    now = timezone.now()
    if found.kind == CODE:
        return bool(Code.objects.filter(pk=found.pk, taken_at=None, expires_at__gt=now).update(taken_at=now))
    if found.kind == DEVICE:
        devices = DeviceCode.objects.filter(pk=found.pk, taken_at=None, expires_at__gt=now)
        return bool(devices.update(taken_at=now))
    return bool(Token.objects.filter(pk=found.pk, taken_at=None).update(taken_at=now))


def was_taken(found: Standing) -> bool:
    """Return whether a code or token was used, rather than merely expired."""
    models: dict[str, Any] = {CODE: Code, DEVICE: DeviceCode}
    rows = models.get(found.kind, Token).objects
    return found.is_taken or bool(rows.filter(pk=found.pk).exclude(taken_at=None).exists())


def may_race(found: Standing) -> bool:
    """Return whether a second use of a refresh token is a race between the client's own requests, not theft.

    Servers refresh in each request that finds an expired token, often in several at once. They authenticate,
    so a thief gains nothing from the token alone (RFC 9700, section 4.14.2). For public clients, every second
    use counts as theft.
    """
    if found.kind != Token.Kind.REFRESH or found.client.is_public:
        return False
    return found.taken_at is None or time.time() - found.taken_at < RACE


@dataclass(frozen=True, slots=True)
class Issued:
    """New tokens. `access_seconds` is the lifetime of the access token; `refresh` is "" if there is none."""

    access: str
    access_seconds: int
    refresh: str


def issue(found: Standing, scopes: tuple[str, ...], sequence: int) -> Issued:
    """Create an access token for `scopes`, and a refresh token for all scopes of the grant. One query.

    Call it before `take`. After a crash between the two, the client's own token is still valid and nobody has
    received the new ones.
    """
    now, client = time.time(), found.client
    access_ends = now + client.access_lifetime
    refresh_ends = found.granted_at + client.refresh_lifetime
    if not found.is_offline:
        access_ends = min(access_ends, found.sign_in_ends_at)
        refresh_ends = min(refresh_ends, found.sign_in_ends_at)
    access = f"oat_{secrets.token_urlsafe(32)}"
    refresh = f"ort_{secrets.token_urlsafe(32)}" if refresh_ends > now else ""
    rows = [(Token.Kind.ACCESS, access, scopes, access_ends)]
    if refresh:
        rows.append((Token.Kind.REFRESH, refresh, found.grant_scopes, refresh_ends))
    _TOKENS.insert(
        *(
            Token(
                grant_id=found.grant_id,
                kind=kind,
                digest=digest(text),
                sequence=sequence,
                scopes=" ".join(granted),
                expires_at=datetime.fromtimestamp(until, tz=UTC),
            )
            for kind, text, granted, until in rows
        )
    )
    return Issued(access, int(access_ends - now), refresh)


def withdraw(issued: Issued) -> None:
    """Delete tokens that were never sent, because another request used the code or token first."""
    Token.objects.filter(digest__in=[digest(issued.access), digest(issued.refresh)]).delete()
