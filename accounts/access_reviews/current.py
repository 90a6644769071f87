"""The reasons why people can open an application, as stored values and as texts.

A disabled application counts as enabled, because people would have the access again when it is enabled.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.utils.translation import gettext

from accounts.models import User
from authgate.decision.rules import Application as Compiled
from authgate.decision.rules import Scope
from authgate.explain import access
from authgate.explain.access import DIRECT, EVERYONE, SIGNED_IN, Directory, Reason
from authgate.explain.words import path_words
from authgate.memberships import with_end
from authgate.worker import loader

REASONS_KEPT = 20
"""Stored reasons of one person."""

Values = dict[str, Any]


def compiled(key: int) -> Compiled | None:
    """Return an application as if it were enabled, or None if it was deleted. Two queries."""
    found = loader.load_one(key)
    return found and replace(found, enabled=True)


def reasons_of(application: Compiled | None, people: Directory) -> dict[int, list[tuple[Scope, Reason]]]:
    """Return the users of a directory who can open an application, each with all reasons."""
    found: dict[int, list[tuple[Scope, Reason]]] = {}
    if application is None:
        return found
    now = time.time()
    for scope in access.scopes_of(application):
        for user, reasons in access.openers(application, scope, people, now).items():
            found.setdefault(user, []).extend((scope, reason) for reason in reasons)
    return found


def directory_of(user: User) -> Directory:
    """Return a directory with one user. Include a disabled user, who has the access again when enabled."""
    rows = list(user.memberships.values_list("group_id", "group__name", "ends_at"))
    groups = {group: name for group, name, _ends_at in rows}
    memberships = ((user.pk, group, ends_at) for group, _name, ends_at in rows)
    return access.directory({user.pk: user.username}, {user.pk: user.display_name}, groups, memberships)


def as_values(reasons: list[tuple[Scope, Reason]], people: Directory) -> list[Values]:
    """Return reasons as the database stores them, with names of groups. Only count those beyond the limit."""
    found: list[Values] = [
        {
            "path": scope.path,
            "exact": scope.exact,
            "rule": reason.rule,
            "kind": reason.kind,
            **({"group": people.groups.get(reason.group, "?")} if reason.group else {}),
            **({"until": reason.until.isoformat()} if reason.until else {}),
        }
        for scope, reason in reasons[:REASONS_KEPT]
    ]
    more = len(reasons) - len(found)
    return [*found, {"kind": "more", "count": more}] if more else found


def in_words(reasons: list[Values]) -> list[str]:
    """Return stored reasons in the reader's language."""
    return list(dict.fromkeys(map(_words, reasons)))


def _words(reason: Mapping[str, Any]) -> str:
    kind = reason["kind"]
    if kind == "more":
        return gettext("and %d more") % int(reason["count"])
    if kind == EVERYONE:
        said = gettext("everyone")
    elif kind == SIGNED_IN:
        said = gettext("any signed-in user")
    elif kind == DIRECT:
        said = gettext("named in the rule")
    else:
        until = datetime.fromisoformat(reason["until"]) if "until" in reason else None
        said = gettext("group %s") % with_end(reason.get("group", "?"), until)
    return f"{path_words(reason['path'], reason['exact'])}: {said}"
