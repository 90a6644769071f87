"""Permissions to undo a change. Only administrators who could make the same change by hand may undo it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.utils.translation import gettext as _

from authgate.admin.applications import may_move
from authgate.admin.audited import ReadOnlyAdmin
from authgate.journal.undo import Step
from authgate.models import Application, Rule

USERS, GROUPS, APPLICATIONS = "accounts_user", "auth_group", "authgate_application"
RIGHTS = ("is_active", "is_staff", "is_superuser")
OF_SUPERUSERS = {
    "auth_group_permissions": (),
    "accounts_user_user_permissions": (),
    "accounts_strictgroup": (),
    USERS: ("is_staff", "is_superuser"),
    APPLICATIONS: ("access_token", "id_token"),
}
"""Columns of each table that only superusers change by hand, or the whole table."""

FIXED = ("uuid", "date_joined", "created_at")
"""Columns that no form changes."""


def with_allowed_rights(request: HttpRequest, steps: Iterable[Step]) -> list[Step]:
    """Return the steps. Users who come back are disabled, unless the requester may enable users."""
    may_enable = _may(request, USERS, "change")
    return [
        replace(step, then={**step.then, "is_active": False})
        if step.table.name == USERS and step.now is None and step.then and not may_enable
        else step
        for step in steps
    ]


def refusals(request: HttpRequest, steps: list[Step]) -> list[str]:
    """Return the reasons why the requester may not write the steps, as sentences; empty if allowed."""
    judge = _Permissions(request, steps)
    return list(dict.fromkeys(said for step in steps if (said := judge.refusal(step))))


class _Permissions:
    def __init__(self, request: HttpRequest, steps: list[Step]) -> None:
        self._request = request
        self._created = {(step.table.name, step.key): step for step in steps if step.now is None}

    def refusal(self, step: Step) -> str:
        if self._is_for_superusers(step) and not self._is_superuser:
            return _("Only superusers can take this change back, because it is about administration rights.")
        if self._is_about_requester(step):
            return _("This change is about your own rights. Ask another administrator to take it back.")
        if not self._may_by_hand(step):
            return _("You lack the permissions to make this change by hand.")
        return ""

    @property
    def _is_superuser(self) -> bool:
        return self._request.user.is_superuser

    def _is_for_superusers(self, step: Step) -> bool:
        if step.table.name == "accounts_user_groups":
            # A new member of a group with permissions gains them. A user who leaves one was privileged.
            groups = [step.then["group_id"]] if step.then else []
            return Group.objects.filter(pk__in=groups, permissions__isnull=False).exists()
        if step.table.name not in OF_SUPERUSERS:
            return False
        columns = OF_SUPERUSERS[step.table.name]
        if step.now and step.then and any(name in FIXED for name, *_values in step.columns):
            return True
        return not columns or any(name in columns and (now or then) for name, now, then in step.columns)

    def _is_about_requester(self, step: Step) -> bool:
        if step.table.name != USERS or step.key != self._request.user.pk:
            return False
        return step.then is None or any(name in RIGHTS for name, *_values in step.columns)

    # ---- as by hand ----

    def _may_by_hand(self, step: Step) -> bool:
        name, act = step.table.name, _act(step)
        row: dict[str, Any] = {**(step.now or {}), **(step.then or {})}
        changes_address = name == USERS and act == "change" and "email" in {each for each, *_ in step.columns}
        if changes_address and not self._request.user.has_perm("account.change_emailaddress"):
            return False
        if name in (USERS, GROUPS, APPLICATIONS):
            # A row that comes back needs the permission to add it.
            return self._may_object(name, act, step.key)
        if name == "accounts_user_groups":
            may = self._may_object(USERS, "change", row["user_id"])
            # The user's page changes the end, but only for administrators who may change the group.
            return may and (act != "change" or self._may_object(GROUPS, "change", row["group_id"]))
        if name == "account_emailaddress":
            may = self._request.user.has_perm(f"account.{act}_emailaddress")
            return may and all(self._may_object(USERS, "change", key) for key in _both(step, "user_id"))
        if name.startswith("authgate_application_"):
            return all(self._may_object(APPLICATIONS, "change", key) for key in _both(step, "application_id"))
        if name == "authgate_origin":
            return self._may_part("origin", act, _both(step, "application_id"), moves=True)
        if name == "authgate_rule":
            return self._may_part("rule", act, _both(step, "application_id"))
        if name in ("authgate_rule_groups", "authgate_rule_users"):
            return self._may_part("rule", "change", self._applications_of(_both(step, "rule_id")))
        return self._is_superuser

    def _may_object(self, table: str, act: str, key: int) -> bool:
        if (table, key) in self._created:  # it comes back with this undo, so it has no row yet
            return _may(self._request, table, "add")
        row = _model(table)._base_manager.filter(pk=key).first()
        return row is not None and _may(self._request, table, act, row)

    def _may_part(self, model: str, act: str, applications: set[int], *, moves: bool = False) -> bool:
        if not self._request.user.has_perm(f"authgate.{act}_{model}") or not applications:
            return False
        found = {row.pk: row for row in Application.objects.filter(pk__in=applications)}
        return all(
            self._may_object(APPLICATIONS, "change", key)
            and (not moves or may_move(self._request, found.get(key)))
            for key in applications
        )

    def _applications_of(self, rules: set[int]) -> set[int]:
        back = (self._created.get(("authgate_rule", key)) for key in rules)
        owners = {step.then["application_id"] for step in back if step and step.then}
        return owners | set(Rule.objects.filter(pk__in=rules).values_list("application_id", flat=True))


def _act(step: Step) -> str:
    if step.now is None:
        return "add"
    return "delete" if step.then is None else "change"


def _both(step: Step, column: str) -> set[int]:
    return {row[column] for row in (step.now, step.then) if row}


def _model(table: str) -> Any:
    return {USERS: get_user_model(), GROUPS: Group, APPLICATIONS: Application}[table]


def _may(request: HttpRequest, table: str, act: str, row: Any = None) -> bool:
    """Return whether the admin page of the object allows the requester to change it by hand."""
    pages = admin.site._registry.items()
    page = next(
        page for model, page in pages if model._meta.db_table == table and not isinstance(page, ReadOnlyAdmin)
    )
    if act == "add":
        return bool(page.has_add_permission(request))
    asked = page.has_delete_permission if act == "delete" else page.has_change_permission
    return bool(asked(request, row))
