"""What a field on a page of the admin refuses by itself, whatever the other fields hold."""

from __future__ import annotations

import re
from typing import Any

from django.core.exceptions import ValidationError
from django.forms import BoundField, MultiWidget
from django.http import QueryDict


def fields_on(page: Any) -> dict[str, BoundField]:
    """Return the fields on a page by the name of each input. An inline's row to add has the number 0."""
    forms = [page.context["adminform"].form]
    for inline in page.context["inline_admin_formsets"]:
        forms += [inline.formset.empty_form, *inline.formset.forms]
    return {name: bound for form in forms for bound in form for name in _inputs_of(bound)}


def refuses(field: BoundField, body: str) -> bool:
    """Return whether the field's own cleaning refuses its value in the body of a request."""
    value = field.field.widget.value_from_datadict(QueryDict(body), {}, _name_of(field))
    try:
        field.field.clean(value)
    except ValidationError:
        return True
    return False


def with_errors(content: bytes) -> set[str]:
    """Return the fields at which a page names an error, as `error_of` calls them."""
    return {each.decode() for each in re.findall(rb'<ul class="errorlist[^>]* id="([^"]+_error)"', content)}


def error_of(field: BoundField) -> str:
    """Return the id of the list of errors at a field."""
    return f"id_{_name_of(field)}_error"


def _name_of(field: BoundField) -> str:
    return field.html_name.replace("__prefix__", "0")


def _inputs_of(field: BoundField) -> list[str]:
    widget = field.field.widget
    parts = widget.widgets_names if isinstance(widget, MultiWidget) else [""]
    return [_name_of(field) + part for part in parts]
