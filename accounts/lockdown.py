"""Lockdowns of users and applications. They end all access at once, and administrators can undo them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.dispatch import Signal
from django.utils import timezone

from accounts.machines.api_tokens import end_tokens
from accounts.models import ApiToken, User
from authgate.audit import record
from authgate.decision.target import origins_claiming
from authgate.models import Application, GateSession, Origin, SignIn
from authgate.sign_ins import end_sign_ins, note_revocation

ending = Signal()
"""The signal before sign-ins end, with `user` or `application`, and `kept`: the sign-in to keep, or None.

Receivers end the grants that no trigger in the database ends, and return their number.
"""


@dataclass(frozen=True, slots=True)
class LastEntry:
    """The last use of an application by the sessions that ended, as far as the portal knows.

    `entered_at` is the last hand-over. After `used_at`, there was no request that was not refused.
    """

    application: str
    entered_at: datetime
    used_at: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of a lockdown: how much ended at `at`. Checks refuse all of it at most a second later."""

    at: datetime
    sign_ins: int = 0
    gate_sessions: int = 0
    api_tokens: int = 0
    grants: int = 0
    entries: tuple[LastEntry, ...] = ()

    def details(self) -> dict[str, Any]:
        """Return the counts and the last entries for an audit event."""
        counts = ("sign_ins", "gate_sessions", "api_tokens", "grants")
        entries = {each.application: each.used_at.isoformat(timespec="seconds") for each in self.entries}
        return {**{name: getattr(self, name) for name in counts}, "last_used": entries}


# ---- users ------------------------------------------------------------------------------------------------


@transaction.atomic
def lock_down_user(user: User, *, by: str, address: str | None = None) -> Ended:
    """End all sign-ins, API tokens and grants of a user, and disable the user until `lift_user`.

    A user who was disabled before stays disabled afterwards.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    gates = _live_gates().filter(sign_in__user=user)
    entries, gate_sessions = _last_entries(gates), gates.count()
    grants = _end_grants(user=user)
    sign_ins = end_sign_ins(user.sign_ins.all())
    tokens = end_tokens(ApiToken.objects.filter(user=user))
    user.remembered_devices.all().delete()
    if user.is_active or user.locked_at:
        user.is_active, user.locked_down_at = False, timezone.now()
        user.save(update_fields=["is_active"])
    ended = Ended(timezone.now(), sign_ins, gate_sessions, tokens, grants, entries)
    record("locked_down", actor=by, subject=user.username, address=address, details=ended.details())
    return ended


@transaction.atomic
def lift_user(user: User, *, by: str, address: str | None = None) -> bool:
    """Undo a user's lockdown. Return False if there is none. Ended sign-ins and tokens stay ended.

    If the user also locked the account by a mail, they still need a new password.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    if user.locked_down_at is None:
        return False
    user.is_active, user.locked_down_at = user.locked_at is None, None
    user.save(update_fields=["is_active"])
    record("lockdown_lifted", actor=by, subject=user.username, address=address)
    return True


# ---- applications -----------------------------------------------------------------------------------------


@transaction.atomic
def lock_down_application(application: Application, *, by: str, address: str | None = None) -> Ended:
    """End all sessions and grants at an application, remove it from API tokens, and disable it."""
    application = Application.objects.select_for_update().get(pk=application.pk)
    opened = ApiToken.applications.through._default_manager.filter(
        application_id=application.pk, apitoken__ended_at=None
    )
    tokens = opened.count()
    ended = _end_at(application, kept=None, tokens=tokens)
    opened.delete()
    if application.enabled:
        application.enabled, application.locked_down_at = False, timezone.now()
        application.save(update_fields=["enabled", "locked_down_at"])
    _record_at("locked_down", application, by, address, ended)
    return ended


@transaction.atomic
def lift_application(application: Application, *, by: str, address: str | None = None) -> bool:
    """Undo an application's lockdown. Return False if there is none. Ended sessions stay ended."""
    application = Application.objects.select_for_update().get(pk=application.pk)
    if application.locked_down_at is None:
        return False
    application.enabled = True
    application.save(update_fields=["enabled"])
    _record_at("lockdown_lifted", application, by, address)
    return True


@transaction.atomic
def sign_out_of(
    application: Application, *, by: str, address: str | None = None, kept: SignIn | None = None
) -> Ended:
    """End all sessions and grants at an application, except those of one sign-in.

    Users who are signed in at the portal can enter again.
    """
    ended = _end_at(application, kept=kept)
    _record_at("signed_out_of_application", application, by, address, ended)
    return ended


def _end_at(application: Application, *, kept: SignIn | None, tokens: int = 0) -> Ended:
    gates = gates_at(application)
    gates = gates.exclude(sign_in=kept) if kept else gates
    entries = _last_entries(gates)
    grants = _end_grants(application=application, kept=kept)
    note_revocation()
    now = timezone.now()
    ended = GateSession.objects.filter(pk__in=list(gates.values_list("pk", flat=True)))
    return Ended(now, 0, ended.update(ended_at=now), tokens, grants, entries)


def _record_at(
    kind: str, application: Application, by: str, address: str | None, ended: Ended | None = None
) -> None:
    details = ended.details() if ended else {}
    record(kind, actor=by, application=application.name, address=address, details=details)


def gates_at(application: Application) -> QuerySet[GateSession]:
    """Return the live gate sessions at the origins of an application.

    Leave out sessions of a shared cookie domain, because they belong to several applications.
    """
    near = Q(pk__in=[])
    for origin in application.origins.values_list("value", flat=True):
        scheme, _separator, host = origin.partition("://")
        is_wildcard = host.startswith("*")
        below = Q(origin__startswith=f"{scheme}://", origin__endswith=host[1:])
        near |= below if is_wildcard else Q(origin=origin)
    found = _live_gates().filter(near)
    owners = owners_of(set(found.order_by().values_list("origin", flat=True).distinct()))
    return found.filter(origin__in=[origin for origin, (pk, _) in owners.items() if pk == application.pk])


# ---- gate sessions and grants -----------------------------------------------------------------------------


def _live_gates() -> QuerySet[GateSession]:
    return GateSession.objects.filter(ended_at=None, sign_in__ended_at=None).order_by()


def _end_grants(
    *, user: User | None = None, application: Application | None = None, kept: SignIn | None = None
) -> int:
    counts = ending.send(sender=None, user=user, application=application, kept=kept)
    return sum(int(count or 0) for _receiver, count in counts)


def _last_entries(gates: QuerySet[GateSession]) -> tuple[LastEntry, ...]:
    """Return the last use of each application by these sessions, the latest first."""
    rows = gates.values_list("origin").annotate(Max("created_at"), Max("sign_in__last_seen_at"))
    found = list(rows)
    owners = owners_of({origin for origin, *_ in found})
    latest: dict[str, tuple[datetime, datetime]] = {}
    for origin, entered, seen in found:
        name = owners[origin][1]
        before = latest.get(name, (entered, seen))
        latest[name] = (max(before[0], entered), max(before[1], seen, entered))
    entries = [LastEntry(name, *moments) for name, moments in latest.items()]
    return tuple(sorted(entries, key=lambda entry: entry.used_at, reverse=True))


def owners_of(origins: set[str]) -> dict[str, tuple[int, str]]:
    """Return id and name of each origin's application. Without an application, return 0 and the origin."""
    claims = {origin: origins_claiming(origin) for origin in origins}
    rows = Origin.objects.filter(value__in={claim for each in claims.values() for claim in each})
    owners = {
        value: (pk, name) for value, pk, name in rows.values_list("value", "application", "application__name")
    }
    nearest = {
        origin: next((each for each in found if each in owners), "") for origin, found in claims.items()
    }
    return {origin: owners.get(claim, (0, origin)) for origin, claim in nearest.items()}
