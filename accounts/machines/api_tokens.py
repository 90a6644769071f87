"""Functions that create and end API tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.models import ApiToken, User
from authgate.check.credentials import new_token
from authgate.models import Application
from authgate.sign_ins import note_revocation


class TooManyTokens(Exception):
    """The user has as many live tokens as IKD_API_TOKENS_PER_USER allows."""


def live_tokens(user: User) -> QuerySet[ApiToken]:
    return ApiToken.objects.filter(user=user, ended_at=None, expires_at__gt=timezone.now())


def make_token(
    user: User, name: str, applications: Iterable[Application], lifetime: float
) -> tuple[ApiToken, str]:
    """Create a token, and return its row and the token. `lifetime` is in seconds.

    The portal can show the token only now. Raises TooManyTokens, and ValueError for a lifetime longer than
    IKD_API_TOKEN_LIFETIME.
    """
    if not 0 < lifetime <= settings.IKD_API_TOKEN_LIFETIME:
        raise ValueError(lifetime)
    token, now = new_token(), timezone.now()
    with transaction.atomic():
        # Lock the user, so that two concurrent requests cannot both create the last allowed token.
        User.objects.select_for_update().get(pk=user.pk)
        if live_tokens(user).count() >= settings.IKD_API_TOKENS_PER_USER:
            raise TooManyTokens
        row = ApiToken.objects.create(
            user=user,
            name=name,
            token_digest=hashlib.sha256(token.encode("ascii")).digest(),
            created_at=now,
            expires_at=now + timedelta(seconds=lifetime),
        )
        row.applications.set(applications)
    return row, token


def end_tokens(which: QuerySet[ApiToken]) -> int:
    """End tokens. Return their number."""
    note_revocation()
    return which.filter(ended_at=None).update(ended_at=timezone.now())


def touch(tokens: list[int], at: datetime) -> None:
    """Store that tokens were used at a moment, unless a use in the 50 seconds before it is stored."""
    earlier = Q(last_used_at=None) | Q(last_used_at__lt=at - timedelta(seconds=50))
    ApiToken.objects.filter(earlier, pk__in=tokens).update(last_used_at=at)
