"""Reauthentication: a new proof of identity before sensitive actions.

It protects a user who leaves their browser open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from allauth.account import app_settings, decorators
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts.destinations import with_next
from accounts.models import Upstream
from accounts.requests import Request, SignedInRequest, login_required

P = ParamSpec("P")
R = TypeVar("R", bound=HttpResponseBase)


class ProvenRequest(SignedInRequest):
    """A request with a proof of identity that allauth does not know."""

    is_proven_without_allauth: bool


def reauthentication_required(
    view: Callable[Concatenate[SignedInRequest, P], R],
) -> Callable[Concatenate[Request, P], R | HttpResponse]:
    """Ask for a new proof of identity unless the user gave one recently.

    The proof is a second factor or the password. A user with neither proves their identity at a provider.
    """
    by_allauth = decorators.reauthentication_required(view)

    @login_required
    @wraps(view)
    def inner(request: SignedInRequest, /, *args: P.args, **kwargs: P.kwargs) -> R | HttpResponse:
        if get_reauthentication_flows(request.user):
            response: R | HttpResponse = by_allauth(request, *args, **kwargs)
            return response
        if _is_fresh(request):
            cast(ProvenRequest, request).is_proven_without_allauth = True
            return view(request, *args, **kwargs)
        if Upstream.objects.filter(enabled=True, identities__user=request.user).exists():
            return redirect(with_next(reverse("upstream_confirm"), request.get_full_path()))
        return render(request, "accounts/token_sign_in_again.html", status=403)

    return inner


def is_proven_without_allauth(request: HttpRequest) -> bool:
    """Return whether the user of this request proved their identity by a provider.

    Such a user has neither a password nor a factor. allauth knows only these proofs, and would refuse the
    user.
    """
    return getattr(request, "is_proven_without_allauth", False)


def _is_fresh(request: SignedInRequest) -> bool:
    """Return whether a user without a password signed in recently, or a provider confirmed the user."""
    if is_freshly_confirmed(request):
        return True
    age = time.time() - request.sign_in.started_at.timestamp()
    return bool(age < app_settings.REAUTHENTICATION_TIMEOUT)


CONFIRMED_FOR = 300
"""Seconds for which a proof of identity counts."""


def is_freshly_confirmed(request: SignedInRequest) -> bool:
    """Return whether the user proved their identity within the last minutes."""
    records: list[dict[str, Any]] = get_authentication_records(request, request.user)
    return any(0 <= time.time() - float(entry.get("at", 0)) < CONFIRMED_FOR for entry in records)
