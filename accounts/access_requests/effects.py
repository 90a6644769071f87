"""The effect of granting a request for access, which the owner sees before the grant."""

from __future__ import annotations

import time
from dataclasses import replace

from django.db import transaction

from accounts.access_requests import requests
from accounts.models import AccessRequest, User
from authgate import outbox
from authgate.admin.effect_page import needs_a_tick
from authgate.decision.rules import Application, Rule, Scope, Who
from authgate.effect.comparison import Bounds, load_state, measured
from authgate.effect.differences import compare
from authgate.effect.values import Effect


class EffectDiffers(Exception):
    """The owner did not confirm the effect, or saw another one. Nothing was granted."""


def effect_of_grant(request: AccessRequest) -> Effect | None:
    """Return the effect of a grant, or None if nobody can grant the request any more. Write nothing."""
    before = load_state(_bounds_of(request))
    application = before.applications.get(request.application_id)
    granted = _with_grant(application, request) if application and request.user.is_active else None
    if granted is None:
        return None
    after = replace(before, applications={**before.applications, granted.id: granted})
    return compare(before, after, time.time())


def grant_as_shown(
    request: AccessRequest,
    owner: User,
    period: str,
    words: str,
    address: str | None,
    *,
    shown: str,
    is_sure: bool,
) -> None:
    """Grant a request if the digest of its effect is `shown`, the one on the owner's page.

    If the effect needs a ticked box, `is_sure` must be true. Raises EffectDiffers and Answered.
    """
    with outbox.hold() as held, transaction.atomic():
        _rule, effect = measured(
            lambda: requests.grant(request, owner, period, words, address), _bounds_of(request)
        )
        if digest_of(effect) != shown or not (is_sure or not needs_a_tick(effect)):
            raise EffectDiffers
    outbox.release(held)


def digest_of(effect: Effect) -> str:
    """Return a digest of what the user gains. It does not depend on the period."""
    return Effect(gained=effect.gained).digest


def _bounds_of(request: AccessRequest) -> Bounds:
    return Bounds(users={request.user_id}, applications={request.application_id})


def _with_grant(application: Application, request: AccessRequest) -> Application | None:
    """Return the application with an additional rule for the user, copied from the request's rule."""
    for scope in application.scopes.values():
        for rule in scope.rules:
            if rule.id == request.rule_id:
                return _extended(application, scope, rule, request.user_id)
    return None


def _extended(application: Application, scope: Scope, rule: Rule, user: int) -> Application:
    own = replace(rule, id=0, who=Who.CHOSEN, groups=frozenset(), users=frozenset({user}))
    extended = replace(scope, rules=(*scope.rules, own))
    scopes = {key: extended if each is scope else each for key, each in application.scopes.items()}
    return replace(application, scopes=scopes)
