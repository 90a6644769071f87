"""The applications that owners manage, and the changes that owners may make.

An owner may close the application for maintenance, write its texts, and remove groups and users from its
rules. An owner may add to a rule only groups that a superuser made shareable, and members of these groups.
Owners cannot create or delete a rule, or change its path: without the rule, the one for a shorter path would
decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from authgate.audit import record
from authgate.models import Application, Rule
from authgate.sign_ins import note_revocation

TEXT_FIELDS = ("maintenance", "maintenance_text", "maintenance_minutes", "refusal_text")
"""The fields of an application that owners may change."""


def owned_by(owner: User) -> QuerySet[Application]:
    """Return the applications that a user owns, directly or by a group, ordered by name."""
    by_group = Application.owner_groups.through.objects.filter(group__user=owner).values("application")
    named = Application.owners.through.objects.filter(user=owner).values("application")
    return Application.objects.filter(Q(pk__in=named) | Q(pk__in=by_group)).order_by("name")


@transaction.atomic
def change_texts(
    application: Application, values: Mapping[str, Any], *, owner: User, address: str | None
) -> bool:
    """Save the texts and the maintenance switch. Return whether anything changed.

    Raises Application.DoesNotExist if the user no longer owns the application.
    """
    application = _locked(application, owner)
    before = {name: getattr(application, name) for name in TEXT_FIELDS}
    changed = [name for name in TEXT_FIELDS if before[name] != values[name]]
    if not changed:
        return False
    for name in changed:
        setattr(application, name, values[name])
    if "maintenance" in changed:
        note_revocation()
    application.save(update_fields=changed)
    changes = {
        "before": {name: before[name] for name in changed},
        "after": {name: values[name] for name in changed},
    }
    _record("application_changed", application, owner, address, changes)
    return True


def may_be_shared(rule: Rule) -> bool:
    """Return whether owners may add groups and users to a rule. A granted request is for one user."""
    return rule.who == Rule.Who.CHOSEN and not hasattr(rule, "access_request")


@transaction.atomic
def add_group(rule: Rule, key: int, *, owner: User, address: str | None) -> Group:
    """Add a shareable group to a rule.

    Raises ValidationError if owners may not add the group, and DoesNotExist if the user does not own the
    rule.
    """
    application, rule = _locked_rule(rule, owner)
    group = application.shareable_groups.filter(pk=key).first()
    if group is None or not may_be_shared(rule):
        raise ValidationError(_("You cannot add this group."), code="bound")
    rule.groups.add(group)
    _record_rule(rule, owner, address, added=f"group {group.name}")
    return group


@transaction.atomic
def add_user(rule: Rule, name: str, *, owner: User, address: str | None) -> User:
    """Add a member of a shareable group to a rule, by username. Raises the same as `add_group`."""
    application, rule = _locked_rule(rule, owner)
    within = User.objects.filter(groups__in=application.shareable_groups.all(), is_active=True).distinct()
    user = within.filter(username__iexact=name).first()
    if user is None or not may_be_shared(rule):
        raise ValidationError(
            _("No active member of the groups that you may share with has this name."), code="bound"
        )
    rule.users.add(user)
    _record_rule(rule, owner, address, subject=user.username, added=f"user {user.username}")
    return user


@transaction.atomic
def remove(rule: Rule, kind: str, key: int, *, owner: User, address: str | None) -> str:
    """Remove a group or a user from a rule, and return the name.

    Raises ValidationError if the rule does not have it, and DoesNotExist if the user does not own the rule.
    """
    _application, rule = _locked_rule(rule, owner)
    rows: QuerySet[Any] = rule.groups.all() if kind == "group" else rule.users.all()
    found = rows.filter(pk=key).first()
    if found is None:
        raise ValidationError(_("The rule does not contain it."), code="unknown")
    note_revocation()
    (rule.groups if kind == "group" else rule.users).remove(found)
    name = found.name if kind == "group" else found.username
    subject = "" if kind == "group" else name
    _record_rule(rule, owner, address, subject=subject, removed=f"{kind} {name}")
    return str(name)


def _locked(application: Application, owner: User) -> Application:
    """Lock and return the application, if the user still owns it.

    Superusers may do the same as owners, because they can answer reviews in their place.
    """
    locked = Application.objects.select_for_update().get(pk=application.pk)
    if not User.objects.filter(pk=owner.pk, is_active=True, is_superuser=True).exists():
        owned_by(owner).get(pk=locked.pk)
    return locked


def _locked_rule(rule: Rule, owner: User) -> tuple[Application, Rule]:
    application = _locked(rule.application, owner)
    return application, Rule.objects.get(pk=rule.pk, application=application, only_watch=False)


def _record(
    kind: str,
    application: Application,
    owner: User,
    address: str | None,
    details: dict[str, Any],
    subject: str = "",
) -> None:
    record(
        kind,
        actor=owner.username,
        subject=subject,
        application=application.name,
        address=address,
        details=details,
    )


def _record_rule(rule: Rule, owner: User, address: str | None, *, subject: str = "", **change: str) -> None:
    details = {"rule": rule.pk, "path": rule.path, **change}
    _record("rule_shared", rule.application, owner, address, details, subject)
