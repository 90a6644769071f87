"""Second factors of users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db.models import Exists, OuterRef, Q

from accounts.models import Identity
from authgate.factor_policy import in_strict_group

if TYPE_CHECKING:
    from accounts.models import User


FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
"""The types of second factors. Recovery codes only replace one."""


def has_factor(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, type__in=FACTORS).exists())


def has_passkey(user: User) -> bool:
    return bool(Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).exists())


def lacks_factor(user: str) -> Q:
    """Return the condition for users who must have a second factor, and have none.

    A factor at the portal counts, and one at a provider that is trusted for it. `user` is the path to the
    user. Programs of such a user have no more access than the user's sign-ins.
    """
    wants = Q(in_strict_group(user))
    if settings.IKD_SECOND_FACTOR_FOR_STAFF:
        wants |= Q(**{f"{user}__is_staff": True}) | Q(**{f"{user}__is_superuser": True})
    own = Authenticator.objects.filter(user=OuterRef(user), type__in=FACTORS)
    elsewhere = Identity.objects.filter(user=OuterRef(user), upstream__enabled=True)
    return wants & ~Exists(own) & ~Exists(elsewhere.exclude(upstream__second_factor_values=""))
