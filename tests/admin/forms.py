"""Forms of admin pages, filled in as a browser would send them, with the changes of a test."""

from __future__ import annotations

from typing import Any

from django.test import Client


def form_on(client: Client, url: str) -> dict[str, Any]:
    """Return the fields of the form at `url` with their values."""
    return fields_on(client.get(url))


def fields_on(page: Any) -> dict[str, Any]:
    """Return the fields of the form on a page with their values."""
    context = page.context
    fields: dict[str, Any] = {}
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    for form in forms:
        for bound in form:
            value = bound.value()
            if value is None or value is False:
                continue
            name = form.add_prefix(bound.name)
            fields[name] = [getattr(each, "pk", each) for each in value] if isinstance(value, list) else value
    return fields


def save(client: Client, url: str, **changes: Any) -> Any:
    """Send the form at `url` with these changes, and confirm its effect. None omits a field."""
    return confirm(client, send(client, url, **changes))


def send(client: Client, url: str, **changes: Any) -> Any:
    """Send the form at `url` with these changes. None omits a field."""
    fields = {**form_on(client, url), **changes}
    return client.post(url, {name: value for name, value in fields.items() if value is not None})


def confirm(client: Client, response: Any, **answer: str) -> Any:
    """Confirm the effect of a change if the response shows one. Otherwise return the response."""
    if response.context is None or "carried" not in response.context:
        return response
    fields = {"_carried": response.context["carried"], "_sure": "yes", **answer}
    path, query = response.request["PATH_INFO"], response.request["QUERY_STRING"]
    return client.post(f"{path}?{query}" if query else path, fields)


def errors_in(response: Any) -> str:
    """Return all errors of a form that is shown again, or an empty text if it was saved."""
    if response.context is None or "errors" not in response.context:
        return ""
    lists = response.context["errors"]
    return " ".join(" ".join(map(str, [each] if isinstance(each, str) else each)) for each in lists)


def messages_in(client: Client, url: str = "/admin/") -> str:
    """Return the pending messages of a browser."""
    return " ".join(map(str, client.get(url).context["messages"]))
