"""Roles for staff: named sets of permissions, which superusers assign to users and groups.

Only Django's permissions are stored, so every check of a permission works as usual. A user or group has a
role if it has all of its permissions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


def _of(app: str, acts: str, *models: str) -> frozenset[str]:
    return frozenset(f"{app}.{act}_{model}" for act in acts.split() for model in models)


@dataclass(frozen=True, slots=True)
class Role:
    key: str
    name: Any
    sentence: Any
    permissions: frozenset[str]


ROLES = (
    Role(
        "people",
        _("People"),
        _(
            "Can add, change and delete users, groups and invitations, except users with administration "
            "rights."
        ),
        _of("accounts", "view add change delete", "user", "group")
        | _of("account", "view add change delete", "emailaddress")
        | _of("accounts", "view add delete", "invitation")
        | _of("accounts", "view delete", "identity"),
    ),
    Role(
        "applications",
        _("Applications"),
        _("Can add, change and delete applications and their rules, and view the errors of proxies."),
        _of("authgate", "view add change delete", "application", "origin", "rule")
        | _of("openid", "view add change delete", "client")
        | _of("authgate", "view delete", "configurationevent")
        | _of("accounts", "view", "user", "group"),
    ),
    Role(
        "sessions",
        _("Sessions"),
        _("Can see who is signed in from where, and end sign-ins and API tokens."),
        _of("authgate", "view change", "signin")
        | _of("authgate", "view", "gatesession")
        | _of("accounts", "view change", "apitoken"),
    ),
    Role(
        "audit",
        pgettext_lazy("role", "Audit"),
        _("Can view the audit trail and the configuration events. Cannot change anything."),
        _of("authgate", "view", "auditevent", "configurationevent"),
    ),
)
"""No role covers providers, the brand or roles themselves. Only superusers manage those."""


def held_roles(permissions: Iterable[Permission]) -> list[Role]:
    names = {f"{each.content_type.app_label}.{each.codename}" for each in permissions}
    return [role for role in ROLES if role.permissions <= names]


def permissions_of(keys: Collection[str]) -> QuerySet[Permission]:
    names = {name.partition(".")[::2] for role in ROLES if role.key in keys for name in role.permissions}
    wanted = Q(pk__in=[])
    for app, codename in names:
        wanted |= Q(content_type__app_label=app, codename=codename)
    return Permission.objects.filter(wanted)
