"""Changes by owners and group managers. The portal saves them after they confirmed the effect on access.

The page shows the same as the admin's, but without names of applications that the user does not own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _

from accounts.delegation import applications
from accounts.requests import SignedInRequest
from authgate import outbox
from authgate.admin import carried_form
from authgate.admin.carried_form import Answer, NoLongerCarried, answer_to
from authgate.admin.effect_page import (
    NAMES_OF_FIELDS,
    as_csv,
    is_confirmed,
    needs_a_tick,
    parts_of,
    problem_of,
)
from authgate.effect.comparison import Bounds, measured
from authgate.effect.real_requests import real_requests
from authgate.effect.values import Effect

P = ParamSpec("P")
View = Callable[Concatenate[SignedInRequest, P], HttpResponse]


def confirmable(view: View[P]) -> View[P]:
    """Before a view, restore the form that the page of its effect carried."""

    @wraps(view)
    def restored(request: SignedInRequest, /, *arguments: P.args, **named: P.kwargs) -> HttpResponse:
        if request.method == "POST":
            try:
                carried_form.restore(request)
            except NoLongerCarried:
                text = _("This page was too old, or belongs to another form. Nothing was saved.")
                messages.error(request, text)
                return redirect(request.get_full_path())
        return view(request, *arguments, **named)

    return restored


def confirm_first(
    request: SignedInRequest, act: Callable[[], str], bounds: Bounds, *, is_form: bool = False
) -> HttpResponse | None:
    """Make a change if it affects nobody or the user confirmed it. Otherwise return the page that asks.

    `act` makes the change, and returns a message for the user. Raises the errors of `act`. If the change is
    from a form (`is_form`), the page has a link back to the form.
    """
    answer = answer_to(request)
    with outbox.hold() as held, transaction.atomic():
        words, effect = measured(act, bounds)
        stays = is_confirmed(effect, answer)
        if not stays:
            transaction.set_rollback(True)
            held.clear()
    outbox.release(held)
    if not stays:
        return _page(request, effect, answer, is_form)
    if words:
        messages.success(request, words)
    return None


def _page(request: SignedInRequest, effect: Effect, answer: Answer, is_form: bool) -> HttpResponse:
    own = set(applications.owned_by(request.user).values_list("pk", flat=True))
    seen = _restricted_to(effect, own)
    if answer.wants_csv:
        return as_csv(seen)
    context = {
        "problem": problem_of(effect, answer),
        "effect": seen,
        "parts": parts_of(effect),
        "detailed": parts_of(seen),
        "hides_applications": seen != effect,
        "may_see_people": True,
        "real": real_requests(seen) if seen else None,
        "needs_a_tick": needs_a_tick(effect),
        "is_form": is_form,
        "names": NAMES_OF_FIELDS,
        "carried": carried_form.seal(request, effect.digest),
    }
    return render(request, "accounts/effect.html", context)


def _restricted_to(effect: Effect, own: set[int]) -> Effect:
    """Return the part of an effect that is about the user's own applications."""
    parts = {each.name: getattr(effect, each.name) for each in fields(Effect)}
    return Effect(
        **{name: tuple(each for each in part if each.application in own) for name, part in parts.items()}
    )
