"""Loads a code or token with everything that decides whether it is valid, in one query.

A grant is valid only while its sign-in is. Each look-up reads both, with the client and the user's facts that
rules use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from authgate.check.memory import Session
from authgate.decision.rules import Subject
from authgate.factor_policy import in_strict_group, is_factor_missing, is_given, proofs_of
from authgate.memberships import GROUP_FIELDS, Groups, groups_in
from authgate.people import people
from authgate.prepared import PreparedLookup, PreparedQuery
from openid.models import Client, ClientSecret, Code, DeviceCode, Token

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """The facts about a client that its calls need. `secrets` are the digests of at most two secrets."""

    pk: int
    client_id: str
    kind: str
    is_enabled: bool
    application_id: int
    application: str
    access_lifetime: int
    refresh_lifetime: int
    jwks: str
    jwks_uri: str
    allow_private: bool
    secrets: frozenset[bytes]

    @property
    def has_keys(self) -> bool:
        """Whether the client authenticates only by assertions."""
        return bool(self.jwks or self.jwks_uri)

    @property
    def is_public(self) -> bool:
        return self.kind == Client.Kind.PUBLIC


CLIENT_FIELDS = (
    "pk",
    "client_id",
    "kind",
    "enabled",
    "application__enabled",
    "application_id",
    "application__name",
    "access_lifetime",
    "refresh_lifetime",
    "jwks",
    "jwks_uri",
    "allow_private",
)


@dataclass(slots=True, kw_only=True)
class Standing(Session):
    """A code or token with its grant, client and user. Processes cache those of access tokens.

    `counts_by_rows` is false once a row ended the grant; `is_live` also compares times. `ends_at` is when the
    code or token itself expires, `taken_at` when it was used.
    """

    pk: int
    kind: str
    ends_at: float
    taken_at: float | None
    scopes: tuple[str, ...]
    sequence: int
    redirect_uri: str
    challenge: str
    nonce: str
    grant_id: int
    sid: str
    grant_subject: str
    grant_scopes: tuple[str, ...]
    auth_time: int
    amr: list[str]
    acr: str
    address: str | None
    is_offline: bool
    granted_at: float
    sign_in_ends_at: float
    counts_by_rows: bool
    client: ClientFacts

    @property
    def is_taken(self) -> bool:
        return self.taken_at is not None


CODE, DEVICE = "code", "device"
TOKEN_FIELDS = ("kind", "scopes", "sequence")
DEVICE_FIELDS = ("created_at", "interval", "polled_at")
CODE_FIELDS = ("redirect_uri", "challenge", "nonce")
SHARED_FIELDS = ("digest", "pk", "expires_at", "taken_at")
GRANT_FIELDS = (
    "pk",
    "sid",
    "subject",
    "scopes",
    "auth_time",
    "amr",
    "acr",
    "address",
    "offline",
    "created_at",
)
LIFE_FIELDS = ("revoked_at", "ended_at", "superseded", "sign_in__ended_at", "sign_in__user__is_active")
SIGN_IN_FIELDS = (
    "sign_in__passkey_at",
    "sign_in__second_factor_at",
    "sign_in__remembered_device",
    "sign_in__user__is_staff",
    "sign_in__user__is_superuser",
    "sign_in_id",
    "sign_in__expires_at",
    "sign_in__last_seen_at",
    "sign_in__idle_timeout",
)
USER_FIELDS = ("pk", "uuid", "username", "display_name", "email", *GROUP_FIELDS)


def _first_secret(client: str, order: str) -> Subquery:
    lives = Q(expires_at=None) | Q(expires_at__gt=Now())
    rows = ClientSecret.objects.filter(lives, client=OuterRef(client)).order_by(order)
    return Subquery(rows.values("digest")[:1])


def _with_everything(rows: QuerySet[Any], own: tuple[str, ...]) -> QuerySet[Any, Row]:
    found: QuerySet[Any, Row] = (
        rows.annotate(
            verified=people().has_verified_address("grant__sign_in__user"),
            in_strict_group=in_strict_group("grant__sign_in__user"),
            oldest_secret=_first_secret("grant__client", "pk"),
            newest_secret=_first_secret("grant__client", "-pk"),
        )
        .order_by("pk")
        .values_list(
            *SHARED_FIELDS,
            *own,
            *(f"grant__{field}" for field in GRANT_FIELDS),
            *(f"grant__{field}" for field in LIFE_FIELDS),
            *(f"grant__{field}" for field in SIGN_IN_FIELDS),
            "in_strict_group",
            *(f"grant__client__{field}" for field in CLIENT_FIELDS),
            "oldest_secret",
            "newest_secret",
            "verified",
            *(f"grant__sign_in__user__{field}" for field in USER_FIELDS),
        )
    )
    return found


_TOKENS = PreparedQuery(
    lambda digests: _with_everything(Token.objects.filter(digest__in=digests), TOKEN_FIELDS)
)
_CODES = PreparedQuery(lambda digests: _with_everything(Code.objects.filter(digest__in=digests), CODE_FIELDS))
_DEVICES = PreparedQuery(
    lambda digests: _with_everything(
        DeviceCode.objects.filter(digest__in=digests, grant__isnull=False), DEVICE_FIELDS
    )
)


def tokens(digests: list[bytes]) -> dict[bytes, Standing]:
    """Return tokens by their digests, whether valid or not. One query."""
    return _standings(_TOKENS, digests, _token)


def token(digest: bytes) -> Standing | None:
    return tokens([digest]).get(digest)


def code(digest: bytes) -> Standing | None:
    """Return an authorization code, used or not. One query."""
    return _standings(_CODES, [digest], _code).get(digest)


def device(digest: bytes) -> Standing | None:
    """Return a device code that a user allowed. One query."""
    return _standings(_DEVICES, [digest], _device).get(digest)


def _clients_named(client_id: str) -> QuerySet[Client, Row]:
    return (
        Client.objects.filter(client_id=client_id)
        .annotate(oldest_secret=_first_secret("pk", "pk"), newest_secret=_first_secret("pk", "-pk"))
        .values_list(*CLIENT_FIELDS, "oldest_secret", "newest_secret")
    )


_CLIENTS_NAMED = PreparedLookup(_clients_named, str)


def client_named(client_id: str) -> ClientFacts | None:
    """Return a client, enabled or not. One query."""
    rows = _CLIENTS_NAMED.rows(client_id)
    return _client(rows[0]) if rows else None


def _standings(
    query: PreparedQuery, digests: list[bytes], own: Callable[[Row], dict[str, Any]]
) -> dict[bytes, Standing]:
    now = time.time()
    by_digest = groupby(query.rows(digests), key=lambda row: bytes(row[0]))
    return {digest: _standing(list(rows), own, now) for digest, rows in by_digest}


def _token(own: Row) -> dict[str, Any]:
    kind, scopes, sequence = own
    place = dict.fromkeys(CODE_FIELDS, "")
    return {"kind": kind, "scopes": tuple(scopes.split()), "sequence": sequence, **place}


def _code(own: Row) -> dict[str, Any]:
    return {"kind": CODE, "scopes": (), "sequence": 0, **dict(zip(CODE_FIELDS, own, strict=True))}


def _device(own: Row) -> dict[str, Any]:
    return {"kind": DEVICE, "scopes": (), "sequence": 0, **dict.fromkeys(CODE_FIELDS, "")}


def _standing(rows: list[Row], own: Callable[[Row], dict[str, Any]], now: float) -> Standing:
    """Return the code or token in these rows. There is one row for each of the user's groups."""
    parts = list(rows[0])

    def take(count: int) -> list[Any]:
        taken, parts[:] = parts[:count], parts[count:]
        return taken

    _, pk, expires_at, taken_at = take(len(SHARED_FIELDS))
    kept = own(tuple(take(len(CODE_FIELDS))))
    grant = dict(zip(GRANT_FIELDS, take(len(GRANT_FIELDS)), strict=True))
    revoked, ended, is_superseded, sign_in_ended, is_active = take(len(LIFE_FIELDS))
    passkey, given, remembered, is_staff, is_superuser, sign_in_id, sign_in_ends, seen, idle = take(
        len(SIGN_IN_FIELDS)
    )
    lacks_factor = is_factor_missing(given, remembered, is_staff, is_superuser, take(1)[0])
    client = _client(tuple(take(len(CLIENT_FIELDS) + 2)))
    life = (revoked, ended, sign_in_ended)
    counts = life == (None, None, None) and is_active is True and not is_superseded and client.is_enabled
    ends, sign_in_ends_at = _unix(expires_at), _unix(sign_in_ends)
    return Standing(
        "",
        sign_in_id,
        _subject(tuple(parts), groups_in(rows, now), given, passkey, is_superuser),
        ends if grant["offline"] else min(ends, sign_in_ends_at),
        math.inf if grant["offline"] else _unix(seen) + idle,
        pk=pk,
        ends_at=ends,
        taken_at=_unix(taken_at) if taken_at else None,
        **kept,
        grant_id=grant["pk"],
        sid=grant["sid"],
        grant_subject=grant["subject"],
        grant_scopes=tuple(grant["scopes"].split()),
        auth_time=int(_unix(grant["auth_time"])),
        amr=grant["amr"],
        acr=grant["acr"],
        address=grant["address"],
        is_offline=grant["offline"],
        granted_at=_unix(grant["created_at"]),
        sign_in_ends_at=sign_in_ends_at,
        counts_by_rows=counts and not lacks_factor,
        client=client,
    )


def _client(row: Row) -> ClientFacts:
    pk, client_id, kind, enabled, application_enabled, application_id, application, *more = row
    access, refresh, jwks, jwks_uri, allow_private, oldest, newest = more
    secrets = frozenset(bytes(each) for each in (oldest, newest) if each is not None)
    return ClientFacts(
        pk=pk,
        client_id=client_id,
        kind=kind,
        is_enabled=enabled and application_enabled,
        application_id=application_id,
        application=application,
        access_lifetime=access,
        refresh_lifetime=refresh,
        jwks=jwks,
        jwks_uri=jwks_uri,
        allow_private=allow_private,
        secrets=secrets,
    )


def _subject(
    user: Row,
    member: tuple[Groups, float],
    given: datetime | None,
    passkey: datetime | None,
    is_superuser: bool,
) -> Subject:
    is_verified, pk, uuid, username, name, email, *_ = user
    groups, until = member
    address = email if is_verified else ""
    return Subject(
        pk,
        str(uuid),
        username,
        name,
        address,
        groups,
        second_factor=is_given(given),
        proofs=proofs_of(given, passkey),
        is_superuser=is_superuser,
        groups_until=until,
    )


def _unix(moment: datetime) -> float:
    return moment.timestamp()
