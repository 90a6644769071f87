"""Ends grants at a lockdown, or when an administrator signs all users out of an application."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from accounts.models import User
from authgate.models import Application, SignIn
from openid.models import Grant


def end_grants(
    sender: Any, *, user: User | None, application: Application | None, kept: SignIn | None, **more: Any
) -> int:
    """End the grants of a user or at an application, and return their number. Triggers notify the clients.

    Grants with revoked tokens are included, because the client's own session may still exist.
    """
    live = Grant.objects.filter(ended_at=None, superseded=False)
    live = live.filter(sign_in__user=user) if user else live.filter(client__application=application)
    live = live.exclude(sign_in=kept) if kept else live
    return live.update(ended_at=timezone.now())
