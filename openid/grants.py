"""Grants, codes and tokens: giving them, taking them once, and whether they still count.

A grant counts while its sign-in does. Whatever ends the sign-in or disables the user ends the grant in the
same transaction, since each look-up asks for both.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from authgate.factor_policy import in_strict_group, owes
from authgate.models import SignIn
from authgate.sign_ins import is_idle
from openid.models import Client, Code, Grant, Token

CODE_AGE = timedelta(seconds=60)

GRANTS_AN_HOUR = 200
"""Grants that one sign-in gives one client within an hour."""

LONGEST_FAMILY = 20_000
"""Refreshes of one grant: each leaves a row, by which a second use of its token is noticed."""


class TooManyGrants(Exception):
    """A browser asks for codes without end."""


def digest(secret: str) -> bytes:
    """Return what the database keeps of a code, token or client secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


@dataclass(frozen=True, slots=True)
class Authentication:
    """How and when the user of a grant proved who they are."""

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
    """Create a grant and return its code, which is good once, for a minute. Raises TooManyGrants."""
    now, code = timezone.now(), secrets.token_urlsafe(32)
    with transaction.atomic():
        _supersede(client, sign_in, now)
        grant = Grant.objects.create(
            client=client,
            sign_in=sign_in,
            sid=_sid(client, sign_in),
            subject=str(sign_in.user.uuid),
            scopes=" ".join(scopes),
            auth_time=datetime.fromtimestamp(int(proven.at), tz=now.tzinfo),
            amr=proven.amr,
            acr=proven.acr,
            address=address or None,
            offline="offline_access" in scopes,
            created_at=now,
        )
        Code.objects.create(
            grant=grant,
            digest=digest(code),
            redirect_uri=redirect_uri,
            challenge=challenge,
            nonce=nonce,
            expires_at=now + CODE_AGE,
        )
    return code


def _sid(client: Client, sign_in: SignIn) -> str:
    """Return the name of the client's session: that of an earlier grant, or a new one."""
    earlier = Grant.objects.filter(client=client, sign_in=sign_in, ended_at=None).values_list(
        "sid", flat=True
    )
    return earlier.first() or secrets.token_urlsafe(24)


def _supersede(client: Client, sign_in: SignIn, now: datetime) -> None:
    """Delete earlier grants of the same session of which nothing can be used any more.

    Their code stays known for an hour, so that its second use is noticed. The newest stays: it has the sid.
    """
    usable = Token.objects.filter(grant=OuterRef("pk"), expires_at__gt=now, taken_at=None)
    earlier = Grant.objects.filter(client=client, sign_in=sign_in, ended_at=None).order_by("-pk")
    if earlier.filter(created_at__gt=now - timedelta(hours=1)).count() >= GRANTS_AN_HOUR:
        raise TooManyGrants
    newest = earlier.values_list("pk", flat=True).first() or 0
    spent = earlier.filter(created_at__lt=now - timedelta(hours=1)).exclude(pk=newest)
    spent = spent.filter(~Q(revoked_at=None) | ~Exists(usable))
    found = list(spent.values_list("pk", flat=True)[:100])
    if found:
        Grant.objects.filter(pk__in=found).update(superseded=True)
        Grant.objects.filter(pk__in=found).delete()


# ---- whether a grant counts -------------------------------------------------------------------------------


def live(grants: QuerySet[Grant]) -> QuerySet[Grant]:
    """Return those that count by their rows; `is_live` asks for what time and second factors add."""
    return (
        grants.filter(revoked_at=None, ended_at=None, superseded=False, client__enabled=True)
        .filter(sign_in__ended_at=None, sign_in__user__is_active=True)
        .select_related("client", "sign_in__user")
        .annotate(in_strict_group=in_strict_group("sign_in__user"))
    )


def is_live(grant: Grant) -> bool:
    """Return whether a grant of `live` counts now. Offline grants outlive expiry and idleness only."""
    sign_in = grant.sign_in
    sign_in.in_strict_group = grant.in_strict_group  # type: ignore[attr-defined]
    if owes(sign_in):
        return False
    return grant.offline or (timezone.now() < sign_in.expires_at and not is_idle(sign_in))


def live_grant(pk: int) -> Grant | None:
    """Return the grant if it counts. One query."""
    found = live(Grant.objects.filter(pk=pk)).first()
    return found if found is not None and is_live(found) else None


def revoke(grant_id: int) -> bool:
    """Revoke a grant with its code and all its tokens; return whether it counted before."""
    return bool(Grant.objects.filter(pk=grant_id, revoked_at=None).update(revoked_at=timezone.now()))


# ---- codes and tokens -------------------------------------------------------------------------------------


def code_named(code: str, client: Client) -> Code | None:
    """Return a client's own code, taken or not."""
    found = Code.objects.filter(digest=digest(code), grant__client=client)
    return found.select_related("grant").first()


def take_code(code: Code) -> bool:
    """Take a code; of any number that race, one gets True."""
    now = timezone.now()
    return bool(Code.objects.filter(pk=code.pk, taken_at=None, expires_at__gt=now).update(taken_at=now))


def token_named(token: str, kind: Token.Kind | None = None) -> Token | None:
    """Return a token that has not expired, whatever has become of its grant."""
    found = Token.objects.filter(digest=digest(token), expires_at__gt=timezone.now())
    found = found.filter(kind=kind) if kind else found
    return found.select_related("grant").first()


def take_refresh(token: Token) -> bool:
    """Take a refresh token; of any number that race, one gets True."""
    return bool(Token.objects.filter(pk=token.pk, taken_at=None).update(taken_at=timezone.now()))


@dataclass(frozen=True, slots=True)
class Issued:
    """New tokens. `access_seconds` is the lifetime of the access token; `refresh` is empty where none is."""

    access: str
    access_seconds: int
    refresh: str


def issue(grant: Grant, scopes: tuple[str, ...], sequence: int) -> Issued:
    """Create an access token for `scopes`, and a refresh token for all of the grant's.

    Expired access tokens of the grant are deleted. Refresh tokens stay, so that a second use is noticed.
    """
    now = timezone.now()
    access_ends = now + timedelta(seconds=grant.client.access_lifetime)
    refresh_ends = grant.created_at + timedelta(seconds=grant.client.refresh_lifetime)
    if not grant.offline:
        access_ends = min(access_ends, grant.sign_in.expires_at)
        refresh_ends = min(refresh_ends, grant.sign_in.expires_at)
    access = f"oat_{secrets.token_urlsafe(32)}"
    refresh = f"ort_{secrets.token_urlsafe(32)}" if refresh_ends > now else ""
    rows = [(Token.Kind.ACCESS, access, " ".join(scopes), access_ends)]
    if refresh:
        rows.append((Token.Kind.REFRESH, refresh, grant.scopes, refresh_ends))
    grant.tokens.filter(kind=Token.Kind.ACCESS, expires_at__lte=now).delete()
    Token.objects.bulk_create(
        Token(grant=grant, kind=kind, digest=digest(text), sequence=sequence, scopes=told, expires_at=until)
        for kind, text, told, until in rows
    )
    return Issued(access, int((access_ends - now).total_seconds()), refresh)
