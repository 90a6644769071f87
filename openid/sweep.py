"""Ends grants that no trigger ends: the sign-in expired or is idle, or the rules no longer admit the user.

Their tokens are refused without this. Ending the grants makes the portal notify clients, which then end their
sessions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.core.cache import cache
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.models import Membership, User
from authgate.decision.evaluation import decide
from authgate.decision.rules import Application, Subject, Verdict, without_maintenance
from authgate.decision.target import Target
from authgate.factor_policy import is_given
from authgate.models import Change, Rule, SignIn
from authgate.prepared import PreparedLookup
from authgate.worker import loader
from openid.models import DeviceCode, Grant, LogoutDelivery, Token

BATCH = 500
NEVER = 24 * 3600.0
"""Seconds until the next sweep, if no grant is known to end by time."""

SWEEP_LOCK = "openid-sweep"
"""The cache key that lets only one of several portals sweep."""

SWEEP_LOCK_SECONDS = 5
IDLE_SLACK = timedelta(seconds=60)
"""How late the last use of a sign-in may be written. Ended grants stay ended, so the sweep waits."""

KEPT_FOR = timedelta(days=1)
DEVICES_KEPT_FOR = timedelta(hours=1)
"""How long a used code stays after it expires, so that a second use is detected."""

DELIVERIES_KEPT_FOR = timedelta(days=7)


def end_overdue() -> int:
    """End the grants of expired or idle sign-ins, except offline ones. Return their number."""
    now = timezone.now()
    live = Grant.objects.filter(ended_at=None, offline=False)
    over = Q(sign_in__expires_at__lte=now)
    for timeout in SignIn.objects.order_by().values_list("idle_timeout", flat=True).distinct():
        seen_before = now - timedelta(seconds=timeout) - IDLE_SLACK
        over |= Q(sign_in__idle_timeout=timeout, sign_in__last_seen_at__lt=seen_before)
    return _end(live.filter(over).values_list("pk", flat=True)[:BATCH], now)


class Sweeps:
    """Ends grants that time or a change of the rules has ended. Only one of several portals does the work."""

    def __init__(self) -> None:
        self._changes: object = None
        self._access_ends_at: datetime | None = None

    def go(self) -> float:
        """End what is due. Return the seconds until the next known end."""
        live = live_ends()
        if not live:
            return NEVER
        now, ends = timezone.now(), [at for at in live if at is not None]
        changes, over_at = _changes(), self._access_ends_at
        is_changed = changes != self._changes or (over_at is not None and over_at <= now)
        if (is_changed or min(ends, default=now) < now) and not _claim_sweep():
            return SWEEP_LOCK_SECONDS
        if is_changed:
            self._access_ends_at = _next_end_of_access(now)
            end_unadmitted()
            self._changes = changes
        if min(ends, default=now) < now:
            end_overdue()
        ends += [self._access_ends_at] if self._access_ends_at else []
        return min(((at - now).total_seconds() for at in ends), default=NEVER)


def _next_end_of_access(now: datetime) -> datetime | None:
    """Return when the next rule or membership expires, which the change feed does not report."""
    rules = Rule.objects.filter(expires_at__gt=now).aggregate(at=Min("expires_at"))["at"]
    memberships = Membership.everything.filter(ends_at__gt=now).aggregate(at=Min("ends_at"))["at"]
    return min((at for at in (rules, memberships) if at is not None), default=None)


def live_ends() -> list[datetime | None]:
    """Return when the next sign-in with a live grant ends, for each timeout. None for offline grants."""
    return [
        None if offline else min(expires_at, seen_at + timedelta(seconds=timeout) + IDLE_SLACK)
        for offline, timeout, expires_at, seen_at in _LIVE.rows()
    ]


def _live() -> QuerySet[Grant, Any]:
    groups = Grant.objects.filter(ended_at=None).order_by().values_list("offline", "sign_in__idle_timeout")
    return groups.annotate(Min("sign_in__expires_at"), Min("sign_in__last_seen_at"))


_LIVE = PreparedLookup(_live)


def _changes() -> object:
    """Return a value that differs after every change of a user, group, application or rule.

    The newest key is not enough: on PostgreSQL, rows commit out of order.
    """
    found = Change.objects.filter(kind__in=("user", "application"))
    return found.aggregate(newest=Max("pk"), count=Count("pk"))


def _claim_sweep() -> bool:
    """Return whether this portal sweeps now. If the cache fails, every portal sweeps."""
    try:
        return cache.add(SWEEP_LOCK, 1, SWEEP_LOCK_SECONDS)
    except Exception:
        return True


def end_unadmitted() -> int:
    """End the grants that the rules refuse now. A grant that merely lacks a second factor stays."""
    ended, after, now = 0, 0, timezone.now()
    live = Grant.objects.filter(ended_at=None).select_related("sign_in", "client").order_by("pk")
    while batch := list(live.filter(pk__gt=after)[:BATCH]):
        after = batch[-1].pk
        ended += _end([grant.pk for grant in _refused(batch)], now)
    return ended


def _refused(grants: list[Grant]) -> list[Grant]:
    """Return the grants of a batch that no rule admits. The number of queries is the same for each batch."""
    wanted = {grant.client.application_id for grant in grants}
    applications = {each.id: each for each, _ in loader.load_compiled(wanted)}
    people = _people({grant.sign_in.user_id for grant in grants})
    return [
        grant
        for grant in grants
        if _is_refused(
            grant, applications.get(grant.client.application_id), people.get(grant.sign_in.user_id)
        )
    ]


def _is_refused(grant: Grant, application: Application | None, person: Subject | None) -> bool:
    """Return whether the rules refuse a grant. Maintenance is ignored, so that users can go on later."""
    if application is None or person is None:
        return True
    subject = Subject(
        person.user_id,
        person.uuid,
        person.username,
        email=person.email,
        groups=person.groups,
        second_factor=is_given(grant.sign_in.second_factor_at),
    )
    target = Target("", "GET", "/", grant.address or "")
    decision = decide(without_maintenance(application), target, subject, time.time())
    return decision.verdict is Verdict.REFUSE


def _people(ids: set[int]) -> dict[int, Subject]:
    """Return active users with the facts that rules use. Three queries."""
    groups: dict[int, list[tuple[int, str]]] = {}
    member = User.groups.through.objects.filter(user_id__in=ids)
    for user, group, name in member.values_list("user_id", "group_id", "group__name"):
        groups.setdefault(user, []).append((group, name))
    verified = EmailAddress.objects.filter(user__in=ids, verified=True, email__iexact=F("user__email"))
    addresses = dict(verified.values_list("user_id", "email"))
    users = User.objects.filter(pk__in=ids, is_active=True).values_list("pk", "uuid", "username")
    return {
        pk: Subject(pk, str(uuid), name, email=addresses.get(pk, ""), groups=tuple(groups.get(pk, ())))
        for pk, uuid, name in users
    }


def _end(which: Iterable[int] | QuerySet[Grant, int], now: datetime) -> int:
    return Grant.objects.filter(pk__in=list(which), ended_at=None).update(ended_at=now)


def end_spent() -> int:
    """End offline grants that can no longer be used after their sign-in ended. Return their number."""
    now = timezone.now()
    usable = Token.objects.filter(grant=OuterRef("pk"), expires_at__gt=now, taken_at=None)
    spent = Grant.objects.filter(ended_at=None, offline=True, created_at__lt=now - timedelta(hours=1))
    spent = spent.filter(sign_in__expires_at__lte=now).filter(~Q(revoked_at=None) | ~Exists(usable))
    return _end(spent.values_list("pk", flat=True)[:BATCH], now)


def delete_old() -> int:
    """Delete expired tokens and device codes, ended grants after a day, and deliveries after a week.

    Expired refresh tokens stay with their grant, so that a second use is detected. Deletes at most `BATCH` of
    each kind and returns the largest number.
    """
    now = timezone.now()
    tokens = Token.objects.filter(kind=Token.Kind.ACCESS, expires_at__lte=now)
    grants = Grant.objects.filter(ended_at__lt=now - KEPT_FOR)
    deliveries = LogoutDelivery.objects.filter(done_at__lt=now - DELIVERIES_KEPT_FOR)
    devices = DeviceCode.objects.filter(expires_at__lt=now - DEVICES_KEPT_FOR)
    return max(map(_delete_some, (tokens, devices, grants, deliveries)))


def _delete_some(over: QuerySet[Any]) -> int:
    keys = list(over.values_list("pk", flat=True)[:BATCH])
    over.filter(pk__in=keys).delete()
    return len(keys)
