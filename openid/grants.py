"""Grants, codes and tokens: giving them, and taking them once.

A grant counts while its sign-in does. Whatever ends the sign-in or disables the user ends the grant in the
same transaction, since each look-up asks for both (`openid/standing.py`).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, Model, OuterRef, Q
from django.db.models.sql import InsertQuery
from django.utils import timezone

from authgate.models import SignIn
from authgate.sign_ins import note_revocation
from openid.models import Client, Code, DeviceCode, Grant, Token
from openid.standing import CODE, DEVICE, Standing

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
    code = secrets.token_urlsafe(32)
    with transaction.atomic():
        grant = new_grant(client, sign_in, scopes, proven, address)
        Code.objects.create(
            grant=grant,
            digest=digest(code),
            redirect_uri=redirect_uri,
            challenge=challenge,
            nonce=nonce,
            expires_at=grant.created_at + CODE_AGE,
        )
    return code


def new_grant(
    client: Client, sign_in: SignIn, scopes: tuple[str, ...], proven: Authentication, address: str | None
) -> Grant:
    """Create a grant, in a transaction of the caller's. Raises TooManyGrants."""
    now = timezone.now()
    _supersede(client, sign_in, now)
    return Grant.objects.create(
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


def revoke(grant_id: int) -> bool:
    """Revoke a grant with its code and all its tokens; return whether it counted before."""
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
    """Take a code or a refresh token; of any number that race, one gets True."""
    now = timezone.now()
    if found.kind == CODE:
        return bool(Code.objects.filter(pk=found.pk, taken_at=None, expires_at__gt=now).update(taken_at=now))
    if found.kind == DEVICE:
        devices = DeviceCode.objects.filter(pk=found.pk, taken_at=None, expires_at__gt=now)
        return bool(devices.update(taken_at=now))
    return bool(Token.objects.filter(pk=found.pk, taken_at=None).update(taken_at=now))


def was_taken(found: Standing) -> bool:
    """Return whether a code or token was used, and has not merely expired."""
    models: dict[str, Any] = {CODE: Code, DEVICE: DeviceCode}
    rows = models.get(found.kind, Token).objects
    return found.is_taken or bool(rows.filter(pk=found.pk).exclude(taken_at=None).exists())


@dataclass(frozen=True, slots=True)
class Issued:
    """New tokens. `access_seconds` is the lifetime of the access token; `refresh` is empty where none is."""

    access: str
    access_seconds: int
    refresh: str


def issue(found: Standing, scopes: tuple[str, ...], sequence: int) -> Issued:
    """Create an access token for `scopes`, and a refresh token for all of the grant's. One query.

    Call it before `take`: after a crash in between nobody has these tokens, and the client's own is good.
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
    _insert(
        [
            Token(
                grant_id=found.grant_id,
                kind=kind,
                digest=digest(text),
                sequence=sequence,
                scopes=" ".join(told),
                expires_at=datetime.fromtimestamp(until, tz=UTC),
            )
            for kind, text, told, until in rows
        ]
    )
    return Issued(access, int(access_ends - now), refresh)


def _insert(tokens: list[Model]) -> None:
    """Insert rows by one statement. `bulk_create` would open a transaction for it."""
    query = InsertQuery(Token)
    fields = [field for field in Token._meta.local_concrete_fields if not field.primary_key]
    query.insert_values(fields, tokens)
    query.get_compiler(connection=connection).execute_sql()


def withdraw(issued: Issued) -> None:
    """Delete tokens that nobody was told of: another request was faster."""
    Token.objects.filter(digest__in=[digest(issued.access), digest(issued.refresh)]).delete()
