"""Cells of the admin's lists: times, names as chips, and shortened texts. Hovering shows the full text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from unicodedata import east_asian_width

from django.contrib import admin
from django.db.models import DateTimeField, Model
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

ROOM = 26
"""Width of the chips in one cell, in Latin characters. A Chinese character counts as two."""

MOST_CHIPS = 3
MOST_HIDDEN = 200
"""Names, at most, in the list behind "+4". A list of thousands would be too long for it."""


def moment(at: datetime | None) -> SafeString | None:
    """Return a date and time as one unbroken line, or None. Earlier years have no time of day."""
    if at is None:
        return None
    local, now = timezone.localtime(at), timezone.localtime()
    # Translators: formats of Django's "date" filter for a narrow column: this year, and earlier years.
    short = date_format(local, _("j M, H:i") if local.year == now.year else _("j M Y"))
    # Translators: format of Django's "date" filter, with seconds and time zone.
    whole = date_format(local, _("j F Y, H:i:s e"))
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), whole, short)


def moment_column(field: DateTimeField[Any, Any]) -> Callable[[Model], SafeString | None]:
    """Return a column of a list that shows a model's field as `moment` does."""

    @admin.display(description=field.verbose_name, ordering=field.name)
    def column(row: Model) -> SafeString | None:
        return moment(getattr(row, field.name))

    column.__name__ = field.name
    return column


NOTHING = mark_safe("-")
"""The text for an empty value, in lists and on pages."""


def cut(text: str, css_class: str = "cut") -> SafeString:
    """Return a text that the style sheet shortens to the width of its column."""
    if not text:
        return NOTHING
    return format_html('<bdi class="{}" title="{}">{}</bdi>', css_class, text, text)


def chips(names: Iterable[str]) -> SafeString:
    """Return names as chips. As many as fit into one line are shown, the others are behind "+4"."""
    all_names = list(names)
    if not all_names:
        return NOTHING
    fitting = _how_many_fit(all_names)
    shown, hidden = all_names[:fitting], all_names[fitting:]
    if not hidden:
        return format_html('<span class="chips">{}</span>', _as_chips(shown))
    listed = hidden[:MOST_HIDDEN]
    more = ngettext("%d more", "%d more", len(hidden)) % len(hidden)
    return format_html(
        '<span class="chips">{}<details class="more"><summary title="{}" aria-label="{}">+{}</summary>'
        '<span class="chips">{}{}</span></details></span>',
        _as_chips(shown),
        "\n".join(listed),
        more,
        len(hidden),
        _as_chips(listed),
        " …" if len(hidden) > MOST_HIDDEN else "",
    )


def _how_many_fit(names: list[str]) -> int:
    taken = 0
    for number, name in enumerate(names[:MOST_CHIPS]):
        taken += _width(name) + 3
        if number and taken > ROOM:
            return number
    return min(len(names), MOST_CHIPS)


def _width(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _as_chips(names: list[str]) -> SafeString:
    return format_html_join("", '<bdi class="chip" title="{}">{}</bdi>', ((name, name) for name in names))


def machine_name(name: str) -> SafeString:
    """Return the machine name to show beside the text, because logs and searches use it."""
    return format_html('<code class="machine">{}</code>', name)
