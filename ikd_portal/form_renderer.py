"""Fields of forms, rendered without templates: an administrator's form has hundreds of small ones.

Each function returns what Django's template returns that stands beside it in WITHOUT_TEMPLATE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

from django.forms.renderers import DjangoTemplates
from django.utils.safestring import SafeData

Context = Mapping[str, Any]


class FormRenderer(DjangoTemplates):
    """Django's renderer, with a shorter way for the most frequent parts of a form."""

    def render(self, template_name: str, context: Context, request: Any = None) -> str:
        write = WITHOUT_TEMPLATE.get(template_name)
        if write is None:
            return super().render(template_name, dict(context), request)
        return write(context)


def _text(value: object) -> str:
    """Return a value as a template would: escaped, unless it is marked as safe."""
    return str(value) if isinstance(value, SafeData) else escape(str(value))


def _attributes(attributes: Mapping[str, Any] | None) -> str:
    return "".join(
        f" {_text(name)}" if value is True else f' {_text(name)}="{_text(value)}"'
        for name, value in (attributes or {}).items()
        if value is not False
    )


def _input(context: Context) -> str:
    widget = context["widget"]
    value = "" if widget["value"] is None else f' value="{_text(widget["value"])}"'
    attributes = _attributes(widget["attrs"])
    return f'<input type="{_text(widget["type"])}" name="{_text(widget["name"])}"{value}{attributes}>'


def _textarea(context: Context) -> str:
    widget = context["widget"]
    attributes = _attributes(widget["attrs"])
    return f'<textarea name="{_text(widget["name"])}"{attributes}>\n{_text(widget["value"] or "")}</textarea>'


def _select(context: Context) -> str:
    widget = context["widget"]
    parts = [f'<select name="{_text(widget["name"])}"{_attributes(widget["attrs"])}>']
    for group, options, _index in widget["optgroups"]:
        parts += [f'\n  <optgroup label="{_text(group)}">'] if group else []
        parts += [f"\n  {_option(option)}\n" for option in options]
        parts += ["\n  </optgroup>"] if group else []
    return "".join([*parts, "\n</select>"])


def _option(option: Mapping[str, Any]) -> str:
    value, attributes = _text(option["value"]), _attributes(option["attrs"])
    return f'<option value="{value}"{attributes}>{_text(option["label"])}</option>'


def _label(context: Context) -> str:
    label = _text(context["label"])
    if not context["use_tag"]:
        return label.strip()
    tag = _text(context["tag"])
    return f"<{tag}{_attributes(context['attrs'])}>{label}</{tag}>"


def _errors(context: Context) -> str:
    errors = context["errors"]
    if not errors:
        return ""
    id = f' id="{_text(errors.field_id)}_error"' if errors.field_id else ""
    lines = "".join(f"<li>{_text(error)}</li>" for error in errors)
    return f'<ul class="{_text(context["error_class"])}"{id}>{lines}</ul>'


INPUTS = (
    "checkbox",
    "date",
    "datetime",
    "email",
    "hidden",
    "input",
    "number",
    "password",
    "text",
    "time",
    "url",
)
WITHOUT_TEMPLATE: dict[str, Callable[[Context], str]] = {
    **{f"django/forms/widgets/{name}.html": _input for name in INPUTS},
    "django/forms/widgets/textarea.html": _textarea,
    "django/forms/widgets/select.html": _select,
    "django/forms/label.html": _label,
    "django/forms/errors/list/ul.html": _errors,
    "django/forms/errors/list/default.html": _errors,
}
