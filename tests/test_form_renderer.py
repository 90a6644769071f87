"""Parts of forms are rendered without templates, exactly as Django's templates would."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.forms.renderers import DjangoTemplates
from django.forms.utils import ErrorList
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from ikd_portal.form_renderer import INPUTS, WITHOUT_TEMPLATE, FormRenderer

MARKUP = "\"><b class='x'>&amp;\n\r"
VALUES = ("", None, "text", 0, 1234567, MARKUP, mark_safe("<b>safe</b>"), gettext_lazy("Search"))
ATTRIBUTES = {
    "id": "id_x",
    "required": True,
    "disabled": False,
    "maxlength": 1500,
    "title": MARKUP,
    "data-<x>": mark_safe("&lt;"),
    "placeholder": gettext_lazy("Search"),
}
CHOICES = [
    ("", "-"),
    (1500, MARKUP),
    (MARKUP, mark_safe("<i>safe</i>")),
    (gettext_lazy("Search"), [("a", "A"), (True, gettext_lazy("Sign out"))]),
    (MARKUP, [(None, "none")]),
]
WIDGETS: list[forms.Widget] = [
    *(forms.TextInput(), forms.NumberInput(), forms.EmailInput(), forms.URLInput(), forms.HiddenInput()),
    *(forms.PasswordInput(render_value=True), forms.DateInput(), forms.TimeInput(), forms.DateTimeInput()),
    *(forms.CheckboxInput(), forms.Textarea(), forms.Select(choices=CHOICES)),
    *(forms.SelectMultiple(choices=CHOICES), forms.NullBooleanSelect(), forms.Select()),
]


def assert_same(template: str, context: dict[str, Any]) -> None:
    assert template in WITHOUT_TEMPLATE
    assert FormRenderer().render(template, context) == DjangoTemplates().render(template, context)


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("widget", WIDGETS, ids=lambda widget: type(widget).__name__)
def test_a_widget_is_as_its_template(widget: forms.Widget, value: Any) -> None:
    chosen = [value] if isinstance(widget, forms.SelectMultiple) else value

    for attributes in ({}, ATTRIBUTES):
        assert_same(widget.template_name, widget.get_context(f"x-{MARKUP}", chosen, attributes))


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_an_input_is_as_its_template(name: str, value: Any) -> None:
    widget = {"type": "text", "name": "x", "value": value, "attrs": ATTRIBUTES}

    assert_same(f"django/forms/widgets/{name}.html", {"widget": widget})


@pytest.mark.parametrize("label", VALUES, ids=repr)
@pytest.mark.parametrize("tag", ["label", "legend"])
@pytest.mark.parametrize("attributes", [None, ATTRIBUTES], ids=["without", "with"])
def test_a_label_is_as_its_template(label: Any, tag: str, attributes: Any) -> None:
    for use_tag in (True, False):
        context = {"label": label, "tag": tag, "attrs": attributes, "use_tag": use_tag, "field": None}
        assert_same("django/forms/label.html", context)


@pytest.mark.parametrize("id", [None, "", "id_x", MARKUP])
@pytest.mark.parametrize("errors", [[], ["Wrong."], [MARKUP, gettext_lazy("Search"), mark_safe("<i>")]])
def test_errors_are_as_their_template(errors: list[Any], id: str | None) -> None:
    context = ErrorList(errors, error_class="nonfield", field_id=id).get_context()

    for template in ("default", "ul"):
        assert_same(f"django/forms/errors/list/{template}.html", context)
