"""Proof of who one is, asked for anew before anything that a finder of an open browser must not do."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast
from urllib.parse import urlencode

from allauth.account import app_settings
from allauth.account.decorators import reauthentication_required
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts.models import Upstream, User

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def freshly_proven(view: View[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Let in only whoever gave their second factor or password lately, or was confirmed by their provider."""
    proven = reauthentication_required(view)

    @login_required
    @wraps(view)
    def inner(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        user = cast(User, request.user)
        if get_reauthentication_flows(user):
            return cast(HttpResponse, proven(request, *args, **kwargs))
        if _is_fresh(request):
            request.is_vouched_for = True  # type: ignore[attr-defined]
            return cast(HttpResponse, view(request, *args, **kwargs))
        if Upstream.objects.filter(enabled=True, identities__user=user).exists():
            query = urlencode({"next": request.get_full_path()})
            return redirect(f"{reverse('upstream_confirm')}?{query}")
        return render(request, "accounts/token_sign_in_again.html", status=403)

    return cast(Callable[Concatenate[HttpRequest, P], HttpResponse], inner)


def is_vouched_for(request: HttpRequest) -> bool:
    """Return whether the user has neither a password nor a factor, and has proved who they are without.

    allauth would refuse every such user: it knows no other proof.
    """
    return getattr(request, "is_vouched_for", False)


def _is_fresh(request: HttpRequest) -> bool:
    """Return whether a user without a password signed in minutes ago, or was confirmed by their provider."""
    if is_freshly_confirmed(request):
        return True
    sign_in = getattr(request, "sign_in", None)
    if sign_in is None:
        return False
    age: float = time.time() - sign_in.started_at.timestamp()
    return bool(age < app_settings.REAUTHENTICATION_TIMEOUT)


CONFIRMED_FOR = 300
"""Seconds that a proof of who one is counts as fresh."""


def is_freshly_confirmed(request: HttpRequest) -> bool:
    """Tell whether the person proved who they are within the last minutes."""
    records: list[dict[str, Any]] = get_authentication_records(request, cast(User, request.user))
    return any(0 <= time.time() - float(entry.get("at", 0)) < CONFIRMED_FOR for entry in records)
