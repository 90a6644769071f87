"""Lockdowns in the admin: actions for users and applications, and their messages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts import lockdown
from accounts.requests import sign_in_of_request
from authgate.admin.applications import ApplicationAdmin
from authgate.admin.audited import AuditedAdmin, confirmed
from authgate.models import Application
from authgate.peer import client_address

MOST_ENTRIES_SHOWN = 20
PROOF_PERMISSIONS = ("authgate.view_signin", "openid.view_client")
"""The permissions to see the proof of a sign-out."""


def end_each(
    model_admin: AuditedAdmin,
    request: HttpRequest,
    rows: QuerySet[Any],
    act: Callable[..., lockdown.Ended],
    proof_page: str = "",
) -> None:
    """Call a function of `accounts.lockdown` for each row, and show a message about what has ended.

    `proof_page` is the name of the URL that shows the proof for a row, if there is one.
    """
    by, address = request.user.get_username(), client_address(request)
    for row in rows:
        ended = act(row, by=by, address=address)
        text = _counts(str(row), ended)
        if proof_page and request.user.has_perms(PROOF_PERMISSIONS):
            text = format_html(
                '{} <a href="{}">{}</a>',
                text,
                reverse(proof_page, args=[row.pk]),
                gettext("Proof of sign-out"),
            )
        model_admin.message_user(request, text, messages.SUCCESS)
        for entry in ended.entries[:MOST_ENTRIES_SHOWN]:
            model_admin.message_user(request, _proof(entry, ended), messages.INFO)


def lift_each(
    model_admin: AuditedAdmin, request: HttpRequest, rows: QuerySet[Any], act: Callable[..., bool]
) -> None:
    """Undo the lockdown of each row."""
    by, address = request.user.get_username(), client_address(request)
    for row in rows:
        if act(row, by=by, address=address):
            text = gettext("%(name)s is no longer locked down. Ended sessions and tokens stay ended.")
            model_admin.message_user(request, text % {"name": row}, messages.SUCCESS)
        else:
            text = gettext("%(name)s is not locked down. Nothing was changed.")
            model_admin.message_user(request, text % {"name": row}, messages.WARNING)


def _counts(name: str, ended: lockdown.Ended) -> str:
    text = gettext(
        "%(name)s. Ended: sign-ins %(sign_ins)d, gate sessions %(gate_sessions)d, API tokens "
        "%(api_tokens)d, grants %(grants)d."
    )
    return text % {"name": name, **ended.details()}


def _proof(entry: lockdown.LastEntry, ended: lockdown.Ended) -> str:
    text = gettext("%(application)s: last hand-over %(entered)s, last used %(used)s, closed since %(since)s.")
    moments = {"entered": entry.entered_at, "used": entry.used_at, "since": ended.at}
    to_the_second = gettext("j F Y, H:i:s e")
    shown = {name: date_format(timezone.localtime(at), to_the_second) for name, at in moments.items()}
    return text % {"application": entry.application, **shown}


@admin.action(permissions=["change"], description=_("Lock down the selected applications"))
@confirmed(
    _(
        "Lock down these applications? All their sessions and grants end, API tokens no longer open them, "
        "and nobody can open them until you undo this."
    ),
    _("Lock down"),
    unless=(),
)
def lock_down_applications(
    model_admin: ApplicationAdmin, request: HttpRequest, queryset: QuerySet[Application]
) -> None:
    end_each(model_admin, request, queryset, lockdown.lock_down_application)


@admin.action(permissions=["change"], description=_("Undo the lockdown of the selected applications"))
@confirmed(_("Let users open these applications again?"), _("Undo the lockdown"), unless=())
def lift_applications(
    model_admin: ApplicationAdmin, request: HttpRequest, queryset: QuerySet[Application]
) -> None:
    lift_each(model_admin, request, queryset, lockdown.lift_application)


END_SESSIONS = _(
    "End all sessions and grants of these applications? Users who are still signed in at the portal get "
    "new ones automatically."
)


@admin.action(permissions=["change"], description=_("Sign all users out of the selected applications"))
@confirmed(END_SESSIONS, _("End"), unless=())
def sign_everybody_out(
    model_admin: ApplicationAdmin, request: HttpRequest, queryset: QuerySet[Application]
) -> None:
    end_each(model_admin, request, queryset, lockdown.sign_out_of)


@admin.action(
    permissions=["change"], description=_("Sign all users except you out of the selected applications")
)
@confirmed(END_SESSIONS, _("End"), unless=())
def sign_others_out(
    model_admin: ApplicationAdmin, request: HttpRequest, queryset: QuerySet[Application]
) -> None:
    act = partial(lockdown.sign_out_of, kept=sign_in_of_request(request))
    end_each(model_admin, request, queryset, act)


ApplicationAdmin.extend(lock_down_applications, lift_applications, sign_everybody_out, sign_others_out)
