"""The groups that group managers manage, and how they add and remove members."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext_lazy as _

from accounts.models import Membership, StrictGroup, User
from accounts.privilege import privileged
from authgate.audit import record
from authgate.models import Application
from authgate.sign_ins import note_revocation


def harmless_groups() -> QuerySet[Group]:
    """Return the groups that users who are not staff may manage.

    These groups have no permission, require no second factor, and own no application.
    """
    own = Group.permissions.through.objects.filter(group=OuterRef("pk"))
    owning = Application.owner_groups.through.objects.filter(group=OuterRef("pk"))
    strict = StrictGroup.objects.filter(group=OuterRef("pk"))
    return Group.objects.filter(~Exists(own), ~Exists(owning), ~Exists(strict))


def managed_by(manager: User) -> QuerySet[Group]:
    """Return the groups that a user manages now, ordered by name."""
    return harmless_groups().filter(managed_group__managers=manager).order_by("name")


@transaction.atomic
def add_member(
    group: Group, name: str, *, until: datetime | None = None, manager: User, address: str | None
) -> User:
    """Add the active user with a username to a group. Raises ValidationError and Group.DoesNotExist."""
    group = _locked(group, manager)
    user = User.objects.filter(username__iexact=name, is_active=True).first()
    if user is None:
        raise ValidationError(_("There is no active user with this name."), code="unknown")
    _require_reach(user)
    if group.user_set.filter(pk=user.pk).exists():
        raise ValidationError(_("The user is already a member."), code="member")
    group.user_set.add(user, through_defaults={"ends_at": until})
    _record("group_member_added", group, user, manager, address, **({"until": until} if until else {}))
    return user


@transaction.atomic
def remove_member(group: Group, key: int, *, manager: User, address: str | None) -> User:
    """Remove a member from a group. Raises ValidationError and Group.DoesNotExist."""
    group = _locked(group, manager)
    user = _member(group, key)
    note_revocation()
    group.user_set.remove(user)
    _record("group_member_removed", group, user, manager, address)
    return user


@transaction.atomic
def set_end(group: Group, key: int, until: datetime | None, *, manager: User, address: str | None) -> User:
    """Set or remove the end of a membership. Raises ValidationError and Group.DoesNotExist."""
    group = _locked(group, manager)
    user = _member(group, key)
    note_revocation()
    Membership.objects.filter(group=group, user=user).update(ends_at=until)
    _record("group_member_end_changed", group, user, manager, address, until=until)
    return user


def _member(group: Group, key: int) -> User:
    """Return a member. Raises ValidationError if group managers may not change the user."""
    user = group.user_set.filter(pk=key).first()
    if not isinstance(user, User):
        raise ValidationError(_("The user is not a member."), code="unknown")
    _require_reach(user)
    return user


def _locked(group: Group, manager: User) -> Group:
    """Lock and return the group, if the user still manages it."""
    locked = Group.objects.select_for_update().get(pk=group.pk)
    managed_by(manager).get(pk=locked.pk)
    return locked


def _require_reach(user: User) -> None:
    """Raise ValidationError for a user with administration rights: only superusers change their groups."""
    if privileged(User.objects.filter(pk=user.pk)).exists():
        raise ValidationError(_("Only superusers can change the groups of this user."), code="privilege")


def _record(
    kind: str, group: Group, user: User, manager: User, address: str | None, **until: datetime | None
) -> None:
    ends = {name: moment and moment.isoformat() for name, moment in until.items()}
    details = {"group": group.name, **ends}
    record(kind, actor=manager.username, subject=user.username, address=address, details=details)
