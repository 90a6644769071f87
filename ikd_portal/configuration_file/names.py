"""Groups and users that a file names."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import Group

from accounts.models import User
from ikd_portal.configuration_file.schema import Shape


class Names:
    """Looks up the keys of groups and users. An unknown name is a problem of its line."""

    def __init__(self, note: Callable[[int, str], None]) -> None:
        self._note = note
        self._groups = {group.name: group for group in Group.objects.all()}
        self._users: dict[str, int | None] = {}
        self.groups_found: dict[str, int] = {}
        """Groups that the file refers to, each with the first line that names it."""

    def find(self, shape: Shape, names: list[str], line: int) -> list[int] | None:
        """Return the keys of groups or users, or None if one is unknown."""
        found = [self._user(name) if shape is Shape.USERS else self._group(name, line) for name in names]
        for name, key in zip(names, found, strict=True):
            if key is None:
                what = "user" if shape is Shape.USERS else "group"
                self._note(line, f"There is no {what} {name!r}.")
        keys = [key for key in found if key is not None]
        return keys if len(keys) == len(found) else None

    def group(self, name: str) -> Group:
        return self._groups[name]

    def _group(self, name: str, line: int) -> int | None:
        group = self._groups.get(name)
        if group is not None:
            self.groups_found.setdefault(name, line)
        return group.pk if group else None

    def _user(self, name: str) -> int | None:
        if name not in self._users:
            self._users[name] = User.objects.filter(username=name).values_list("pk", flat=True).first()
        return self._users[name]
