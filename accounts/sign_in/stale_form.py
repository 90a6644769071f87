"""The page for a form with a missing or stale CSRF token: the input, and a button to send it again.

Only forms from the portal's own pages get it. If another site sent the form, the user sees a plain error
page. So an attacker cannot make users send the attacker's input. The portal sends nothing again by itself:
only the user's click sends the new token.
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


# This is a list of denied names, not of allowed ones. The admin's forms have hundreds of names, which change.
# A list of allowed names would become outdated unnoticed, and users would lose their input. A missing entry
# here does little harm. The page shows the value only to the user who has just typed it on a page of the
# portal, in a hidden field, and no cache stores it. Names that only sound secret count as secret, and a test
# checks every form for password fields.
RETYPED_FIELDS = {
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
"""Fields that the user must fill in again, if they had a value."""

USERNAME_FIELDS = {"login": _("Username or e-mail address"), "username": _("Username")}
"""Shown beside an empty password field, so that password managers know the user."""

_SOUNDS_SECRET = re.compile(r"pass|secret|token|code|credential|key|otp|pin\b", re.IGNORECASE)
NOT_SECRET = frozenset(
    ("access_token", "id_token", "passkey", "passwordless", "remove_secret", "usable_password")
)
"""Names that sound secret, but hold only a choice."""


class NotRepeatable(Exception):
    """The page must not repeat a field of the form, and the user cannot type it again here."""


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


def is_from_portal(request: HttpRequest) -> bool:
    """Return whether the browser says that a page of the portal's own origin sent the request."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if origin is not None and origin != settings.IKD_PORTAL_ORIGIN:
        return False
    return site == "same-origin" if site is not None else origin is not None


def _fields_of(request: HttpRequest) -> Iterator[Field]:
    """Yield all fields of a form. A part of them could be saved with another meaning.

    Raises NotRepeatable, and Django's own errors for a form that Django cannot parse either.
    """
    if request.method != "POST" or request.content_type not in FORM_TYPES or not is_from_portal(request):
        raise NotRepeatable
    typed = [(name, value) for name, values in request.POST.lists() for value in values if name != TOKEN]
    files = list(request.FILES)
    size = sum(len(name) + len(value) for name, value in typed)
    if len(typed) + len(files) > MOST_FIELDS or size > LONGEST:
        raise NotRepeatable
    yield from _fields_with_values(typed)
    for name in files:
        yield _retyped_field(name, "file")


def _fields_with_values(typed: Iterable[tuple[str, str]]) -> Iterator[Field]:
    for name, value in typed:
        if "\0" in name + value:  # HTML cannot contain it
            raise NotRepeatable
        if value and is_secret(name):
            yield _retyped_field(name, "password", "text")
        elif name in USERNAME_FIELDS:
            yield Field(name, value, USERNAME_FIELDS[name], "text", "username")
        else:
            yield Field(name, value)


def is_secret(name: str) -> bool:
    if name.rpartition("-")[2] in NOT_SECRET:  # without the prefix of a row, as in `rules-0-passkey`
        return False
    return name in RETYPED_FIELDS or _SOUNDS_SECRET.search(name) is not None


def _retyped_field(name: str, *kinds: str) -> Field:
    field = RETYPED_FIELDS.get(name)
    if field is None or field.kind not in kinds:
        raise NotRepeatable
    return field
