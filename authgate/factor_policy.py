"""The policy for second factors: whether a sign-in has what a rule, a group or the installation requires."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Exists, OuterRef
from django.urls import reverse
from django.utils import timezone

from authgate.models import SignIn

if TYPE_CHECKING:
    from authgate.decision.rules import Decision

ANY_FACTOR, PASSKEY = "recent second factor", "passkey"
"""Kinds of proofs that rules require. Each is also the reason of a decision that lacks this proof."""


def proof_of(minutes: int | None, passkey: bool) -> tuple[str, float] | None:
    """Return the proof that a rule requires and the seconds for which it counts; None if it requires none."""
    if minutes is None and not passkey:
        return None
    longest = settings.IKD_SECOND_FACTOR_LIFETIME or math.inf
    return PASSKEY if passkey else ANY_FACTOR, longest if minutes is None else min(minutes * 60.0, longest)


def proofs_of(second_factor_at: datetime | None, passkey_at: datetime | None) -> dict[str, float]:
    """Return the Unix time at which a sign-in last gave each kind of proof."""
    given = {}
    if second_factor_at is not None:
        given[ANY_FACTOR] = second_factor_at.timestamp()
    if passkey_at is not None:
        given[PASSKEY] = passkey_at.timestamp()
    return given


def step_up_page(decision: Decision) -> str:
    """Return the path of the page that asks for the proof that a decision lacks."""
    return reverse("passkey_required" if decision.reason == PASSKEY else "second_factor")


def in_strict_group(user: str) -> Exists:
    """Return the condition "is in a group that requires a second factor". `user` is the path to the user."""
    return Exists(
        get_user_model().groups.through.objects.filter(
            user_id=OuterRef(user), group__strict_group__isnull=False
        )
    )


def is_given(at: datetime | None) -> bool:
    """Return whether a factor given at `at` still counts for a rule that requires a second factor."""
    if at is None:
        return False
    lifetime: int = settings.IKD_SECOND_FACTOR_LIFETIME
    return not lifetime or timezone.now() - at < timedelta(seconds=lifetime)


def is_factor_missing(
    at: datetime | None, remembered_device: bool, is_staff: bool, is_superuser: bool, in_strict_group: bool
) -> bool:
    """Return whether a sign-in grants no access yet because its user must give a second factor.

    `at` is when the sign-in gave a factor. A remembered device is enough here, but not for a rule that
    requires a second factor.
    """
    if at is not None or remembered_device:
        return False
    return in_strict_group or ((is_staff or is_superuser) and settings.IKD_SECOND_FACTOR_FOR_STAFF)


def lacks_factor(sign_in: SignIn) -> bool:
    """Return `is_factor_missing` for a page's sign-in. The sign-in must come from `sign_in_of`."""
    user = sign_in.user
    strict: bool = getattr(sign_in, "in_strict_group")  # noqa: B009  (an annotation)
    return is_factor_missing(
        sign_in.second_factor_at, sign_in.remembered_device, user.is_staff, user.is_superuser, strict
    )
