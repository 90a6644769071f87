"""The pages of the user's own account: name, addresses, sessions and recent events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from allauth.account import views as allauth_views
from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Case, QuerySet, When
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import User
from accounts.own_events import record_own
from accounts.reauthentication import reauthentication_required
from accounts.requests import SignedInRequest, login_required
from accounts.sign_in.devices import browser_named
from accounts.sign_in.forms import DisplayNameMixin
from authgate.event_words import label_of, reason_words
from authgate.models import AuditEvent, GateSession, SignIn
from authgate.sign_ins import end_sign_ins, live_sign_ins, without_idle

PAGE = 25
ORIGINS_SHOWN = 12
EVENTS_SHOWN = 200

OWN_KINDS = (
    "sign_in",
    "sign_out",
    "sign_in_failed",
    "second_factor_failed",
    "recovery_code_used",
    "recovery_codes_made",
    "password_changed",
    "factor_added",
    "factor_removed",
    "factors_reset",
    "address_added",
    "address_removed",
    "address_changed",
    "token_made",
    "token_ended",
    "identity_linked",
    "identity_unlinked",
    "session_ended",
    "account_locked",
    "locked_down",
    "lockdown_lifted",
    "device_remembered",
    "device_forgotten",
    "openid_consent",
    "openid_access_ended",
)
"""The kinds of events that users see about themselves."""

OWN_REASONS = frozenset(("by a link in a mail", "wrong password", "wrong code"))
"""Reasons that users see. Only administrators can act on other reasons."""


class ProfileForm(DisplayNameMixin, forms.ModelForm):
    class Meta:
        model = User
        fields = ("display_name",)
        widgets = {"display_name": forms.TextInput(attrs={"autocomplete": "name", "autofocus": True})}
        help_texts = {"display_name": _("The name that other people see. Default: your username.")}


@never_cache
@login_required
@require_safe
def account(request: SignedInRequest) -> HttpResponse:
    return render(request, "accounts/account.html")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: SignedInRequest) -> HttpResponse:
    person = User.objects.get(pk=request.user.pk)  # the page's header must not show an invalid name
    form = ProfileForm(request.POST or None, instance=person)
    if request.method != "POST" or not form.is_valid():
        return render(request, "accounts/profile.html", {"form": form})
    person.save(update_fields=["display_name"])
    messages.success(request, gettext("Your name was changed."))
    return redirect("account")


# ---- sessions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionRow:
    sign_in: SignIn
    browser: str
    is_this: bool
    origins: list[str]
    more: int


def _own(request: SignedInRequest) -> QuerySet[SignIn]:
    return live_sign_ins().filter(user=request.user)


@never_cache
@login_required
@require_safe
def sessions(request: SignedInRequest) -> HttpResponse:
    """Show the live sessions: this one first, then the newest first. Five queries for any number of them."""
    this = request.sign_in.pk
    this_first = Case(When(pk=this, then=0), default=1)
    rows_in_order = without_idle(_own(request)).order_by(this_first, "-started_at", "-pk")
    page = Paginator(rows_in_order, PAGE).get_page(request.GET.get("page"))
    rows = list(page)
    gates = GateSession.objects.filter(sign_in__in=[row.pk for row in rows], ended_at=None).order_by("origin")
    origins: dict[int, list[str]] = {}
    for sign_in_id, origin in gates.values_list("sign_in_id", "origin").distinct():
        origins.setdefault(sign_in_id, []).append(origin.partition("://")[2] or origin)
    shown = [_session_row(row, row.pk == this, origins.get(row.pk, [])) for row in rows]
    return render(request, "accounts/sessions.html", {"page": page, "sessions": shown})


def _session_row(sign_in: SignIn, is_this: bool, origins: list[str]) -> SessionRow:
    more = max(0, len(origins) - ORIGINS_SHOWN)
    return SessionRow(sign_in, browser_named(sign_in.user_agent), is_this, origins[:ORIGINS_SHOWN], more)


@never_cache
@login_required
@require_POST
def end_session(request: SignedInRequest, uuid: Any) -> HttpResponse:
    row = get_object_or_404(SignIn, uuid=uuid, user=request.user)
    _end(request, SignIn.objects.filter(pk=row.pk))
    if row.pk == request.sign_in.pk:
        return redirect("account_login")
    return redirect("sessions")


@never_cache
@login_required
@require_POST
def end_other_sessions(request: SignedInRequest) -> HttpResponse:
    this = request.sign_in.pk
    _end(request, SignIn.objects.filter(user=request.user).exclude(pk=this))
    return redirect("sessions")


def _end(request: SignedInRequest, which: QuerySet[SignIn]) -> None:
    ended = end_sign_ins(which)
    if ended:
        record_own("session_ended", request, request.user, {"sign_ins": ended})
    text = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", ended)
    messages.success(request, text % {"count": ended})


# ---- events -----------------------------------------------------------------------------------------------


@never_cache
@login_required
@require_safe
def events(request: SignedInRequest) -> HttpResponse:
    """Show the newest events about the user.

    Leave out events from before the account's creation. They belong to an earlier user with the same name.
    """
    user = request.user
    found = AuditEvent.objects.filter(subject=user.username, kind__in=OWN_KINDS, at__gte=user.date_joined)
    rows = [(event, label_of(event.kind), _own_reason(event)) for event in found[:EVENTS_SHOWN]]
    return render(request, "accounts/events.html", {"events": rows})


def _own_reason(event: AuditEvent) -> str:
    return reason_words(event.reason) if event.reason in OWN_REASONS else ""


# ---- addresses --------------------------------------------------------------------------------------------


@method_decorator([never_cache, reauthentication_required], name="dispatch")
class AddressesView(allauth_views.EmailView):
    """The user's e-mail addresses.

    Users can sign in with an address, and receive links for a new password at it. So the page requires a
    recent proof of identity.
    """

    http_method_names = ["get", "head", "post"]
    template_name = "accounts/addresses.html"


@method_decorator(never_cache, name="dispatch")
class ConfirmAddressView(allauth_views.ConfirmEmailView):
    """The page of the mail's link. Only its button confirms the address, because mail scanners open links."""

    http_method_names = ["get", "head", "post"]
    template_name = "accounts/confirm_address.html"

    def get_template_names(self) -> list[str]:
        return [self.template_name]

    def get_redirect_url(self) -> str:
        return "/accounts/addresses/" if self.request.user.is_authenticated else "/accounts/login/"
