"""The page for a form whose CSRF token is missing or stale: the input, with a button to send it again.

Only forms from the portal's own pages get it. A form that another site has sent gets the plain page, so no
user can be tricked into sending an attacker's input. The portal sends nothing again by itself: only the
user's click carries the new token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

MOST_FIELDS = 1_000
LONGEST = 262_144
"""Characters, of all names and values together."""

FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")
TOKEN = "csrfmiddlewaretoken"  # noqa: S105 (its name)


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    value: str = ""
    label: Any = ""
    kind: str = "hidden"
    autocomplete: str = "off"


# This list denies names; it does not allow them. The admin's forms have hundreds of names that change. A list
# of allowed names would be out of date unnoticed, and lose the user's input. A missing entry costs little:
# only the user who has just typed the value, on a page of the portal, gets it back, in a hidden field that no
# cache stores. Names that only sound secret count as secret, and a test checks every form for password
# fields.
TYPED_AGAIN = {
    field.name: field
    for field in (
        Field("password", label=_("Password"), kind="password", autocomplete="current-password"),
        Field("oldpassword", label=_("Current password"), kind="password", autocomplete="current-password"),
        Field("password1", label=_("New password"), kind="password", autocomplete="new-password"),
        Field("password2", label=_("New password again"), kind="password", autocomplete="new-password"),
        Field("client_secret", label=_("Client secret"), kind="password", autocomplete="new-password"),
        Field("code", label=_("Code"), kind="text", autocomplete="one-time-code"),
        Field("logo_file", label=_("Logo"), kind="file"),
        Field("icon_file", label=_("Icon"), kind="file"),
        Field("picture_file", label=_("Picture"), kind="file"),
    )
}
"""Fields that the user must fill in again if they had a value."""

NAMES_OF_PEOPLE = {"login": _("Username or e-mail address"), "username": _("Username")}
"""Shown beside an empty password field, so that password managers know the user."""

_SOUNDS_SECRET = re.compile(r"pass|secret|token|code|credential|key|otp|pin\b", re.IGNORECASE)
NO_SECRETS = frozenset(
    ("access_token", "id_token", "passkey", "passwordless", "remove_secret", "usable_password")
)
"""Names that sound secret, but hold only a choice."""


class NotRepeatable(Exception):
    """The form has a field that must not be repeated, and that the user cannot type again here."""


@sensitive_post_parameters()
@never_cache
def stale_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return the response to a request that CsrfViewMiddleware refused."""
    try:
        fields = list(_fields_of(request))
    except (NotRepeatable, MultiPartParserError, UnreadablePostError):
        return _page(request, "403_csrf.html", {})
    has_files = any(field.kind == "file" for field in fields)
    return _page(request, "accounts/stale_form.html", {"fields": fields, "has_files": has_files})


def _page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    response = render(request, template, context, status=403)
    # Not "no-referrer": with it, the browser would send the form without an origin, and be refused again.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def is_of_the_portal(request: HttpRequest) -> bool:
    """Return whether the browser says that a page of the portal's own origin sent the request."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if origin is not None and origin != settings.IKD_PORTAL_ORIGIN:
        return False
    return site == "same-origin" if site is not None else origin is not None


def _fields_of(request: HttpRequest) -> Iterator[Field]:
    """Return all fields of a form, or none: half a form could be saved with another meaning.

    Raise NotRepeatable, and what Django raises for a form that it does not accept either.
    """
    if request.method != "POST" or request.content_type not in FORM_TYPES or not is_of_the_portal(request):
        raise NotRepeatable
    typed = [(name, value) for name, values in request.POST.lists() for value in values if name != TOKEN]
    files = list(request.FILES)
    size = sum(len(name) + len(value) for name, value in typed)
    if len(typed) + len(files) > MOST_FIELDS or size > LONGEST:
        raise NotRepeatable
    yield from _fields_with_values(typed)
    for name in files:
        yield _field_to_type_again(name, "file")


def _fields_with_values(typed: Iterable[tuple[str, str]]) -> Iterator[Field]:
    for name, value in typed:
        if "\0" in name + value:  # no page could hold it
            raise NotRepeatable
        if value and is_secret(name):
            yield _field_to_type_again(name, "password", "text")
        elif name in NAMES_OF_PEOPLE:
            yield Field(name, value, NAMES_OF_PEOPLE[name], "text", "username")
        else:
            yield Field(name, value)


def is_secret(name: str) -> bool:
    if name.rpartition("-")[2] in NO_SECRETS:  # behind the prefix of a row: `rules-0-passkey`
        return False
    return name in TYPED_AGAIN or _SOUNDS_SECRET.search(name) is not None


def _field_to_type_again(name: str, *kinds: str) -> Field:
    field = TYPED_AGAIN.get(name)
    if field is None or field.kind not in kinds:
        raise NotRepeatable
    return field
