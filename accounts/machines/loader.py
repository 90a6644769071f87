"""The data of programs' credentials: API tokens, and the providers that issue trusted JWTs."""

from __future__ import annotations

import time
from functools import cache
from itertools import groupby
from typing import Any

from django.conf import settings
from django.db.models import F, QuerySet

from accounts.email_addresses import has_verified_address
from accounts.factors import lacks_factor
from accounts.models import ApiToken, Upstream
from authgate.check.memory import Program
from authgate.decision.rules import Subject
from authgate.memberships import GROUP_FIELDS, groups_in
from authgate.prepared import PreparedQuery

TOKEN_FIELDS = (
    "pk",
    "expires_at",
    "verified",
    "user__pk",
    "user__uuid",
    "user__username",
    "user__display_name",
    "user__email",
    "user__is_superuser",
    *(f"user__{field}" for field in GROUP_FIELDS),
)


def load_tokens(digests: list[bytes]) -> dict[bytes, Program]:
    """Return the programs of API tokens by digest, as `People.load_tokens` describes. Two queries.

    This function leaves out ended tokens, not the query. For many digests, SQLite would read the whole index
    of live rows.
    """
    now = time.time()
    found = _prepared(settings.IKD_SECOND_FACTOR_FOR_STAFF).rows(digests)
    rows = [row[2:] for row in found if row[0] is None and row[1] is True]
    opened = ApiToken.applications.through._default_manager.filter(apitoken__in={row[1] for row in rows})
    applications: dict[int, set[int]] = {}
    for token_id, application_id in opened.values_list("apitoken_id", "application_id") if rows else ():
        applications.setdefault(token_id, set()).add(application_id)
    by_token = groupby(rows, key=lambda row: bytes(row[0]))
    return {digest: _program([row[1:] for row in group], applications, now) for digest, group in by_token}


def _tokens_of(digests: list[bytes]) -> QuerySet[ApiToken, Any]:
    return (
        ApiToken.objects.filter(token_digest__in=digests)
        .exclude(lacks_factor("user"))
        .annotate(verified=has_verified_address("user"))
        .order_by("pk")
        .values_list("ended_at", "user__is_active", "token_digest", *TOKEN_FIELDS)
    )


@cache
def _prepared(for_staff: bool) -> PreparedQuery:
    """Return the query for tokens. `for_staff` is IKD_SECOND_FACTOR_FOR_STAFF, on which it depends."""
    return PreparedQuery(_tokens_of)


def token_named(user_id: int, name: str) -> bytes | None:
    """Return the digest of a user's API token with a name, as `People.token_named` describes. One query."""
    named = ApiToken.objects.filter(user_id=user_id, name=name)
    newest = named.order_by(F("ended_at").desc(nulls_first=True), "-expires_at", "-pk")
    digest = newest.values_list("token_digest", flat=True).first()
    return None if digest is None else bytes(digest)


def _program(rows: list[tuple[Any, ...]], applications: dict[int, set[int]], now: float) -> Program:
    id, expires, verified, user, uuid, username, name, email, is_superuser, *_ = rows[0]
    groups, until = groups_in(rows, now)
    address = email if verified else ""
    subject = Subject(
        user, str(uuid), username, name, address, groups, is_superuser=is_superuser, groups_until=until
    )
    return Program(
        subject=subject,
        expires_at=expires.timestamp(),
        applications=frozenset(applications.get(id, ())),
        token_id=id,
    )


def trusted_upstreams() -> QuerySet[Upstream]:
    """Return the providers that issue JWTs as credentials for programs."""
    trusted = Upstream.objects.filter(enabled=True, kind=Upstream.Kind.OIDC, trusted_for_machines=True)
    usable = trusted.exclude(issuer="").exclude(machine_audience="")
    return usable.exclude(machine_audience=F("client_id")).order_by("pk")


def load_issuers() -> frozenset[str]:
    """Return the issuers of JWTs that are credentials for programs. One query."""
    return frozenset(trusted_upstreams().values_list("issuer", flat=True))
