"""Protection of users that only superusers may change, and of the last superusers."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest

from accounts.models import User


def privileged(users: QuerySet[User]) -> QuerySet[User]:
    """Return the users with power in the admin.

    They are staff, superusers, and users with a permission of their own or of a group.
    """
    own = User.user_permissions.through.objects.filter(user=OuterRef("pk"))
    by_group = User.groups.through.objects.filter(
        user=OuterRef("pk"), group__in=Group.objects.filter(permissions__isnull=False)
    )
    return users.filter(Q(is_staff=True) | Q(is_superuser=True) | Exists(own) | Exists(by_group))


def may_change(requester: User, user: User) -> bool:
    return requester.is_superuser or not privileged(User.objects.filter(pk=user.pk)).exists()


def protected_names(requester: User, users: QuerySet[User]) -> list[str]:
    """Return the names of the users that the requester may not change, because only superusers may."""
    if requester.is_superuser:
        return []
    return [user.username for user in privileged(users).order_by("username")]


def are_the_last_superusers(users: QuerySet[User]) -> bool:
    """Return whether no active superuser would remain without `users`.

    Within a transaction, lock all superusers first. If two of them disable each other at the same moment,
    only one succeeds.
    """
    able = User.objects.filter(is_active=True, is_staff=True, is_superuser=True).order_by("pk")
    if transaction.get_connection().in_atomic_block:
        able = able.select_for_update()
    keys = {user.pk for user in able}
    lost = set(users.filter(pk__in=keys).values_list("pk", flat=True))
    return bool(lost) and lost == keys


def requester_of(request: HttpRequest) -> User:
    """Return the user behind a request to the admin. No anonymous visitor reaches the admin."""
    return cast(User, request.user)
