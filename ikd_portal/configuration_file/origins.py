"""Origins of an application. Removals come first, so that an origin can move between applications."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import ValidationError

from authgate.models import Application, Origin
from authgate.validation import canonical_origin
from ikd_portal.configuration_file.changes import ADDED, CHANGED, DELETED, Change, RowChange
from ikd_portal.configuration_file.child_rows import problems_of
from ikd_portal.configuration_file.document import Entry


class OriginRows:
    """Replaces the origins of one application in two steps."""

    def __init__(
        self, entry: Entry, application: Application, change: Change, note: Callable[[int, str], None]
    ) -> None:
        self.application, self.change, self.note = application, change, note
        self.line = entry.line_of("without_https")
        self.wanted: dict[str, int] | None = None
        if "origins" in entry.rows:
            self.wanted = self._canonical([(row.values["value"], row.line) for row in entry.rows["origins"]])

    def remove_those_not_in_file(self) -> None:
        if self.wanted is None or self.change.how != CHANGED:
            return
        for origin in self.application.origins.all():
            if origin.value not in self.wanted:
                self.change.rows.append(RowChange(DELETED, Origin, origin.value))
                origin.delete()

    def add_missing(self, *, revalidates: bool) -> None:
        """Add missing origins. `revalidates`: also validate the others, which may have used http."""
        existing = set(Origin.objects.filter(application=self.application).values_list("value", flat=True))
        for value in existing if revalidates else ():
            self._validated(value, (self.wanted or {}).get(value, self.line))
        for value, line in (self.wanted or {}).items():
            if value in existing:
                continue
            origin = Origin(application=self.application, value=value)
            try:
                origin.full_clean()
            except ValidationError as error:
                for each, text in problems_of(error, {}, line):
                    self.note(each, text)
                continue
            origin.save()
            self.change.rows.append(RowChange(ADDED, Origin, origin.value))

    def _canonical(self, texts: list[tuple[str, int]]) -> dict[str, int]:
        """Return the origins of the file in canonical form, each with its line."""
        known = set()
        if self.application.pk is not None:
            known = {origin.value for origin in Origin.objects.filter(application=self.application)}
        found: dict[str, int] = {}
        for text, line in texts:
            value = text if text in known else self._validated(text, line)
            if value is not None and value in found:
                self.note(line, f"The origin {value} is here twice, first in line {found[value]}.")
            elif value is not None:
                found[value] = line
        return found

    def _validated(self, text: str, line: int) -> str | None:
        try:
            return canonical_origin(text, without_https=self.application.without_https)
        except ValidationError as error:
            self.note(line, f"{text[:100]}: {' '.join(error.messages)}")
            return None
