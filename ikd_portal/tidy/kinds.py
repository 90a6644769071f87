"""The kinds of rows to delete, and how long each is kept after its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.core.cache import caches
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.access_reviews.reviews import finished_reviews
from accounts.models import (
    AccessReviewEntry,
    ApiToken,
    Invitation,
    LockLink,
    Membership,
    PortalSession,
    RememberedDevice,
)
from accounts.models.membership import clear, ended
from authgate import kept_pages
from authgate.journal import retention
from authgate.models import AuditEvent, ConfigurationEvent, GateSession, RequestCount, SignIn, TrialCount
from authgate.usage import requests
from ikd_portal.table_cache import TableCache
from openid import sweep
from openid.models import Grant

BATCH = 200
"""Rows that one transaction deletes. Each sign-in and gate session adds a row to the change feed."""

COUNTS_BATCH = 2_000

REFUSALS = ("refused", "overloaded")
SIGN_IN_EVENTS = (
    *("sign_in", "sign_out", "sign_in_failed", "sign_in_limited", "mails_limited", "openid_sign_in"),
    *("upstream_failed", "upstream_not_asked", "upstream_sign_out_failed"),
    *("backchannel_logout_failed", "openid_logout_failed"),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of row. `delete` deletes one batch of expired rows and returns their number."""

    name: str
    delete: Callable[[], int]
    batch: int = BATCH


Rows = QuerySet[Any]


def _before(setting: str) -> datetime:
    seconds: int = getattr(settings, setting)
    return timezone.now() - timedelta(seconds=seconds)


def over_sign_ins() -> QuerySet[SignIn]:
    """Return the sign-ins that ended long ago."""
    before = _before("IKD_KEEP_SESSIONS")
    return SignIn.objects.filter(Q(ended_at__lt=before) | Q(expires_at__lt=before))


def _sign_ins() -> Rows:
    """Return those without a longer-lived grant, whose client needs the sign-in's row to refresh tokens."""
    outlives = Grant.objects.filter(sign_in=OuterRef("pk"), ended_at=None, offline=True)
    return over_sign_ins().filter(~Exists(outlives))


def _ended_gate_sessions() -> Rows:
    return GateSession.objects.filter(ended_at__lt=_before("IKD_KEEP_SESSIONS"))


def _gate_sessions_of_ended_sign_ins() -> Rows:
    return GateSession.objects.filter(sign_in__in=over_sign_ins().order_by())


def _portal_sessions() -> Rows:
    return PortalSession.objects.filter(expire_date__lt=timezone.now())


def _remembered_devices() -> Rows:
    return RememberedDevice.objects.filter(expires_at__lt=timezone.now())


def _lock_links() -> Rows:
    return LockLink.objects.filter(expires_at__lt=timezone.now())


def _invitations() -> Rows:
    before = _before("IKD_KEEP_INVITATIONS")
    return Invitation.objects.filter(Q(used_at__lt=before) | Q(expires_at__lt=before))


def _api_tokens() -> Rows:
    before = _before("IKD_KEEP_API_TOKENS")
    return ApiToken.objects.filter(Q(ended_at__lt=before) | Q(expires_at__lt=before))


def _refusals() -> Rows:
    return AuditEvent.objects.filter(kind__in=REFUSALS, at__lt=_before("IKD_KEEP_REFUSALS"))


def _sign_in_events() -> Rows:
    return AuditEvent.objects.filter(kind__in=SIGN_IN_EVENTS, at__lt=_before("IKD_KEEP_SIGN_IN_EVENTS"))


def _security_events() -> Rows:
    old = AuditEvent.objects.filter(at__lt=_before("IKD_KEEP_SECURITY_EVENTS"))
    return old.exclude(kind__in=(*REFUSALS, *SIGN_IN_EVENTS))


def _changes_in_the_admin() -> Rows:
    return LogEntry.objects.filter(action_time__lt=_before("IKD_KEEP_SECURITY_EVENTS"))


def _people_in_access_reviews() -> Rows:
    over = finished_reviews(_before("IKD_KEEP_ACCESS_REVIEWS"))
    return AccessReviewEntry.objects.filter(review__in=over.order_by())


def _access_reviews() -> Rows:
    """Return those whose entries are already deleted, because a review can have thousands."""
    return finished_reviews(_before("IKD_KEEP_ACCESS_REVIEWS")).filter(entries=None)


def _configuration_events() -> Rows:
    return ConfigurationEvent.objects.filter(last_at__lt=_before("IKD_KEEP_CONFIGURATION_EVENTS"))


def _by(old: Callable[[], Rows]) -> Callable[[], int]:
    """Return a function that deletes a batch of the rows that `old` returns at that time."""

    def delete() -> int:
        keys = list(old().order_by().values_list("pk", flat=True)[:BATCH])
        if keys:
            with transaction.atomic():
                # Filter again, because an invitation may have been sent again meanwhile.
                old().filter(pk__in=keys).delete()
        return len(keys)

    return delete


def _end_memberships() -> int:
    """Delete a batch of ended memberships, which had no effect any more, and record their ends."""
    return clear(Membership.everything.filter(ended()).order_by("ends_at")[:BATCH])


def _delete_request_counts() -> int:
    """Delete a batch of old counts. No other rows refer to them, so one statement can delete many."""
    return _delete_old(RequestCount.objects.all())


def _delete_trial_counts() -> int:
    return _delete_old(TrialCount.objects.all())


def _delete_old(counts: Rows) -> int:
    old = counts.filter(day__lt=requests.first_kept_day()).order_by("day")
    keys = list(old.values_list("pk", flat=True)[:COUNTS_BATCH])
    return counts.filter(pk__in=keys).delete()[0] if keys else 0


def _delete_cache_entries() -> int:
    """Delete expired codes and limits, if tables rather than Redis store them."""
    tables = [cache for cache in map(caches.__getitem__, settings.CACHES) if isinstance(cache, TableCache)]
    return max((table.delete_expired(BATCH) for table in tables), default=0)


KINDS = (
    Kind("OpenID Connect grants that are spent", sweep.end_spent, sweep.BATCH),
    Kind("OpenID Connect grants and deliveries", sweep.delete_old, sweep.BATCH),
    Kind("memberships that ended", _end_memberships),
    Kind("gate sessions", _by(_ended_gate_sessions)),
    Kind("gate sessions of ended sign-ins", _by(_gate_sessions_of_ended_sign_ins)),
    Kind("sign-ins", _by(_sign_ins)),
    Kind("portal sessions", _by(_portal_sessions)),
    Kind("remembered devices", _by(_remembered_devices)),
    Kind("links that lock accounts", _by(_lock_links)),
    Kind("invitations", _by(_invitations)),
    Kind("API tokens", _by(_api_tokens)),
    Kind("refusals", _by(_refusals)),
    Kind("sign-in events", _by(_sign_in_events)),
    Kind("security events", _by(_security_events)),
    Kind("Django's log of the administration", _by(_changes_in_the_admin)),
    Kind("counts of requests", _delete_request_counts, COUNTS_BATCH),
    Kind("changes in the journal", lambda: retention.delete(_before("IKD_KEEP_JOURNAL"), BATCH)),
    Kind("results of rules on trial", _delete_trial_counts, COUNTS_BATCH),
    Kind("people in access reviews", _by(_people_in_access_reviews)),
    Kind("access reviews", _by(_access_reviews)),
    Kind("configuration events", _by(_configuration_events)),
    Kind("kept pages", lambda: kept_pages.remove_expired(timezone.now()), 500),
    Kind("codes and limits", _delete_cache_entries),
)
"""In this order: gate sessions before their sign-in, so that no transaction deletes many of them."""
