"""Accepting an invitation, and asking for one where everybody may."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.forms import BaseUserCreationForm, UsernameField
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import mails
from accounts.backends import account_named
from accounts.look_alikes import refuse_disguised_address
from accounts.models import LOOKS_ALIKE, User
from accounts.onboarding import invitations
from accounts.self_service.password_views import wait_page
from accounts.sign_in.forms import NamesOneself, name_new_passwords
from accounts.throttle import TooManyAttempts, count_mail
from accounts.usernames import is_misleading
from authgate.peer import client_address
from authgate.validation import refuse_hidden


class AcceptForm(NamesOneself, BaseUserCreationForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = ("username", "display_name")
        field_classes = {"username": UsernameField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_new_passwords(self, _("Password"), _("Password again"))
        self.fields["username"].help_text = _("Letters, digits and . + - _")
        self.fields["display_name"].help_text = _("Optional: how others read your name.")

    def clean_username(self) -> str:
        """Refuse a name that is taken, and one with an at sign: it could pass for somebody's address."""
        username: str = self.cleaned_data["username"]
        if "@" in username:
            raise ValidationError(_("A username has no @. Your e-mail address signs you in as well."))
        if is_misleading(username):
            raise ValidationError(_("That name could be taken for somebody else's. Choose another."))
        if account_named(username) is not None:
            raise ValidationError(_("There is a user of this name already. Choose another."), code="unique")
        if User.objects.look_alikes(username).exists():
            raise ValidationError(LOOKS_ALIKE, code="look_alike")
        return username


class RegisterForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        validators=[refuse_hidden, refuse_disguised_address],
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}),
    )


@never_cache
@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Make an account by a link. Opening it uses nothing up: mail scanners do."""
    found = invitations.invitation_of(token)
    if found is None:
        return _spent(request)
    # With the address that the person will have, which their password must not be like.
    form = AcceptForm(request.POST or None, instance=User(email=found.email))
    if request.method != "POST" or not form.is_valid():
        return render(request, "accounts/invitation.html", {"form": form, "email": found.email})
    try:
        user = invitations.accept(found, form.save(commit=False), client_address(request))
    except invitations.Spent:
        return _spent(request)
    except IntegrityError:  # another newcomer of this name was quicker
        form.add_error("username", gettext("There is a user of this name already. Choose another."))
        return render(request, "accounts/invitation.html", {"form": form, "email": found.email})
    if not user.is_active:
        return render(request, "accounts/registration_waits.html")
    messages.success(request, gettext("Your account is made. Sign in."))
    return redirect("account_login")


def _spent(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/invitation_spent.html", status=404)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    """Ask for a link by mail. The answer is the same, whether there is an account or not."""
    if settings.IKD_REGISTRATION not in ("open", "approval"):
        raise Http404
    form = RegisterForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        context = {"form": form, "domains": settings.IKD_REGISTRATION_DOMAINS}
        return render(request, "accounts/register.html", context)
    email = form.cleaned_data["email"]
    if not invitations.may_register(email):
        form.add_error("email", gettext("Addresses of this domain cannot register here."))
        context = {"form": form, "domains": settings.IKD_REGISTRATION_DOMAINS}
        return render(request, "accounts/register.html", context)
    try:
        if count_mail("register", email, client_address(request)):
            mails.later(invitations.send_own_invitation, email)
    except TooManyAttempts as error:
        return wait_page(request, error.wait)
    return render(request, "accounts/registration_sent.html")
