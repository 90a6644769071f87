"""The pages 403 and 404, rendered once for each person instead of for each URL that refuses the person.

Rendering takes longer than all that decides about a request. Both pages read nothing of a URL but whether it
is one that the page's header links to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.template.backends.django import Template
from django.utils.translation import get_language

PAGES = ("403.html", "404.html")
LINKED = ("launcher", "account")
"""The pages that the header marks as the current one: see base.html."""

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="\w+"')

_render = Template.render

_Key = tuple[str, Any, Any, Any]


class Pages:
    """The pages rendered so far, by template and person. Those of `compared` are rendered each time."""

    def __init__(self) -> None:
        self.known: dict[_Key, str] = {}
        self.compared: set[Any] = set()
        """The keys of persons: each of their pages has to be the same as the first one."""

    def render(self, template: Any, context: Any = None, request: Any = None) -> Any:
        if template.template.name not in PAGES or request is None or len(get_messages(request)):
            return _render(template, context, request)
        match = request.resolver_match
        shown = match.url_name if match is not None and match.url_name in LINKED else None
        key = (template.template.name, request.user.pk, shown, get_language())
        if key in self.known and request.user.pk not in self.compared:
            return self.known[key]
        page = _render(template, context, request)
        first = self.known.setdefault(key, page)
        assert _TOKEN.sub("", page) == _TOKEN.sub("", first), (key, request.path)
        return page


@contextmanager
def rendered_once() -> Iterator[Pages]:
    """Answer with the first page of a person where the same template is rendered for that person again."""
    pages = Pages()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Template, "render", lambda *arguments, **named: pages.render(*arguments, **named))
        yield pages
