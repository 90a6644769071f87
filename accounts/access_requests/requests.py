"""Requests for access and their answers. A grant is a rule for one user."""

from __future__ import annotations

import time
from datetime import timedelta
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import mails
from accounts.models import AccessRequest, User
from authgate.audit import record
from authgate.decision.evaluation import decide
from authgate.decision.rules import Verdict
from authgate.decision.target import Target
from authgate.models import Application, Rule, SignIn
from authgate.worker import loader

PERIODS = {
    "hour": (_("for an hour"), timedelta(hours=1)),
    "day": (_("for a day"), timedelta(days=1)),
    "month": (_("for 30 days"), timedelta(days=30)),
    "forever": (_("permanently"), None),
}
OPEN_LIMIT = 10
"""Requests of one user that can be open at the same time."""


class CannotAsk(Exception):
    """The user cannot ask for access: no rule would grant it, or no owner could answer."""


class Answered(Exception):
    """Another owner has answered the request, or an administrator deleted its rule."""


def rule_to_request(page: str, sign_in: SignIn, address: str) -> Rule:
    """Return the rule by which the user could open a page if it named them.

    `page` is an allowed URL. Raises CannotAsk if the user lacks more than the group.
    """
    parts = urlsplit(page)
    origin = f"{parts.scheme}://{parts.netloc}"
    compiled = loader.load_application(origin)
    if compiled is None or not compiled.enabled:
        raise CannotAsk
    target = Target(origin, "GET", page.removeprefix(origin) or "/", address)
    decision = decide(compiled, target, loader.subject_of(sign_in.user, sign_in), time.time())
    lacking = [rule for rule, criterion in decision.failed if criterion == "group"]
    if decision.verdict is not Verdict.REFUSE or not lacking:
        raise CannotAsk
    rule = Rule.objects.select_related("application").filter(pk=lacking[0]).first()
    if rule is None or not owners_of(rule.application).exclude(pk=sign_in.user.pk).exists():
        raise CannotAsk
    return rule


def owners_of(application: Application) -> QuerySet[User]:
    """Return the active users who answer requests for an application."""
    by_group = Q(groups__in=application.owner_groups.all())
    named = Q(pk__in=application.owners.values("pk"))
    return User.objects.filter(named | by_group, is_active=True).distinct()


def ask(rule: Rule, user: User, *, page: str, words: str, address: str | None) -> bool:
    """Create a request, and notify the owners.

    Return False if the user already has an open request for the application, or too many for others.
    """
    if AccessRequest.objects.filter(user=user, answered_at=None).count() >= OPEN_LIMIT:
        return False
    application = rule.application
    try:
        with transaction.atomic():
            request = AccessRequest.objects.create(
                application=application,
                user=user,
                rule=rule,
                path=urlsplit(page).path[:500] or "/",
                words=words,
                asked_at=timezone.now(),
            )
            record(
                "access_requested",
                actor=user.username,
                subject=user.username,
                application=application.name,
                address=address,
            )
    except IntegrityError:
        return False
    for owner in owners_of(application).exclude(pk=user.pk):
        if owner.email:
            facts = {"username": user.username, "application": application.name, "words": words}
            path = reverse("access_request", args=[request.pk])
            mails.queue(mails.send, "access_requested", owner.email, facts, path, language=owner.language)
    return True


def may_answer(owner: User, request: AccessRequest) -> bool:
    """Return whether a user may answer a request. Superusers and owners may, but not their own request."""
    if owner.pk == request.user_id:
        return False
    return owner.is_superuser or owners_of(request.application).filter(pk=owner.pk).exists()


@transaction.atomic
def grant(request: AccessRequest, owner: User, period: str, words: str, address: str | None) -> Rule:
    """Grant the user the access of the request's rule, for a period, but not longer than that rule.

    The user's own rule is a copy with all other restrictions. Raises Answered.
    """
    _take(request, owner, AccessRequest.Answer.GRANTED, words)
    # A rule that only watches grants nothing. Its copy would grant nothing either.
    rule = Rule.objects.select_for_update().filter(pk=request.rule_id or 0, only_watch=False).first()
    if rule is None or not request.user.is_active:
        raise Answered
    length = PERIODS[period][1]
    ends = [at for at in (rule.expires_at, length and timezone.now() + length) if at]
    rule.pk, rule.who, rule.expires_at = None, Rule.Who.CHOSEN, min(ends, default=None)
    rule.note = f"{request.user.username}: granted by {owner.username}"[:200]
    rule._state.adding = True
    rule.save(force_insert=True)
    rule.users.set([request.user])
    AccessRequest.objects.filter(pk=request.pk).update(grant=rule, until=rule.expires_at)
    _record("access_granted", request, owner, address, until=rule.expires_at and rule.expires_at.isoformat())
    return rule


@transaction.atomic
def decline(request: AccessRequest, owner: User, words: str, address: str | None) -> None:
    """Decline a request. Raises Answered."""
    _take(request, owner, AccessRequest.Answer.DECLINED, words)
    _record("access_declined", request, owner, address)


def notify_user(request: AccessRequest) -> None:
    """Send the user a mail with the answer."""
    request.refresh_from_db()
    kind = f"access_{request.answer}"
    facts = {
        "username": request.user.username,
        "application": request.application.name,
        "words": request.answer_words,
        "until": request.until,
    }
    if request.user.email:
        mails.queue(mails.send, kind, request.user.email, facts, language=request.user.language)


def _take(request: AccessRequest, owner: User, answer: str, words: str) -> None:
    """Save the answer to a request. Raises Answered if another owner was faster, even by a moment."""
    open_one = AccessRequest.objects.filter(pk=request.pk, answered_at=None)
    facts = {"answer": answer, "answered_by": owner.username, "answer_words": words}
    if not open_one.update(answered_at=timezone.now(), **facts):
        raise Answered


def _record(kind: str, request: AccessRequest, owner: User, address: str | None, **details: object) -> None:
    record(
        kind,
        actor=owner.username,
        subject=request.user.username,
        application=request.application.name,
        address=address,
        details=details,
    )
