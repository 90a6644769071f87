"""Remembered devices, on which a user needs no second factor.

A browser has one random token for all its remembered users. Each of them has a row with the token's digest. A
change of password or factors invalidates the user's earlier rows, because it changes the fingerprint.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from allauth.mfa.internal.flows.trust import create_config_fingerprint
from allauth.mfa.stages import AuthenticateStage as TheirAuthenticateStage
from allauth.mfa.webauthn.internal.flows import did_use_passwordless_login
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from accounts.factors import has_factor
from accounts.models import RememberedDevice, User
from accounts.own_events import record_own
from authgate.audit import printable
from authgate.models import SignIn
from authgate.peer import client_address
from authgate.portal_cookies import set_portal_cookie
from authgate.sign_ins import digest

MOST_DEVICES = 20
"""Remembered devices of one user. If there are more, the portal forgets the oldest."""


class AuthenticateStage(TheirAuthenticateStage):
    """allauth's step that asks for a factor, skipped on remembered devices."""

    def _should_handle(self, request: HttpRequest) -> bool:
        """Return whether to ask for a factor.

        Only a row counts. allauth would trust its own signed cookie, which nobody can revoke.
        """
        user = self.login.user
        if user is None or not has_factor(user) or did_use_passwordless_login(request, user):
            return False
        return not is_remembered(request, user)


def is_remembered(request: HttpRequest, user: User) -> bool:
    """Return whether the user is remembered on this browser."""
    row = _row_of(request, user)
    if row is None:
        return False
    row.last_used_at = timezone.now()
    row.save(update_fields=["last_used_at"])
    return True


def _row_of(request: HttpRequest, user: User) -> RememberedDevice | None:
    token = request.COOKIES.get(settings.IKD_REMEMBERED_DEVICE_COOKIE_NAME, "")
    if not (token and settings.IKD_REMEMBERED_DEVICE_LIFETIME):
        return None
    rows = _live_rows(user)
    row = rows.filter(token_digest=digest(token)).first()
    is_unchanged = row is not None and constant_time_compare(row.fingerprint, create_config_fingerprint(user))
    return row if is_unchanged else None


def _live_rows(user: User) -> QuerySet[RememberedDevice]:
    """Return the rows that have not expired. A shorter lifetime also applies to older rows."""
    now = timezone.now()
    since = now - timedelta(seconds=settings.IKD_REMEMBERED_DEVICE_LIFETIME)
    return RememberedDevice.objects.filter(user=user, expires_at__gt=now, created_at__gt=since)


@transaction.atomic
def remember(request: HttpRequest, user: User, response: HttpResponse) -> None:
    """Remember this browser for a user, under a new random token."""
    before = digest(request.COOKIES.get(settings.IKD_REMEMBERED_DEVICE_COOKIE_NAME, ""))
    token, now = secrets.token_urlsafe(32), timezone.now()
    RememberedDevice.objects.filter(user=user, token_digest=before).delete()
    # Other users stay remembered on this browser. The old token becomes invalid.
    RememberedDevice.objects.filter(token_digest=before).update(token_digest=digest(token))
    RememberedDevice.objects.create(
        user=user,
        token_digest=digest(token),
        fingerprint=create_config_fingerprint(user),
        user_agent=printable(request.META.get("HTTP_USER_AGENT", ""), 300),
        address=client_address(request),
        created_at=now,
        expires_at=now + timedelta(seconds=settings.IKD_REMEMBERED_DEVICE_LIFETIME),
    )
    kept = _live_rows(user).order_by("-created_at")[:MOST_DEVICES]
    RememberedDevice.objects.filter(user=user).exclude(pk__in=[row.pk for row in kept]).delete()
    name, age = settings.IKD_REMEMBERED_DEVICE_COOKIE_NAME, settings.IKD_REMEMBERED_DEVICE_LIFETIME
    set_portal_cookie(response, name, token, max_age=age)
    record_own("device_remembered", request, user)


def remembered_devices(user: User) -> list[RememberedDevice]:
    """Return the devices on which a user is remembered, the newest first."""
    rows = _live_rows(user).filter(fingerprint=create_config_fingerprint(user))
    return list(rows.order_by("-created_at"))


@transaction.atomic
def forget(request: HttpRequest, user: User, key: int | None = None) -> bool:
    """Forget one remembered device of a user, or all. Return whether there was one.

    A sign-in has no reference to its device. So every sign-in without a factor needs one again.
    """
    rows = RememberedDevice.objects.filter(user=user)
    deleted, _ = (rows if key is None else rows.filter(pk=key)).delete()
    if deleted:
        SignIn.objects.filter(user=user, ended_at=None).update(remembered_device=False)
        record_own("device_forgotten", request, user)
    return bool(deleted)
