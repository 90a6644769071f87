"""The pages to accept an invitation, to register, and to create the first administrator."""

from __future__ import annotations

from allauth.account.internal.flows.login import record_authentication
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import mails
from accounts.models import User
from accounts.onboarding import first_administrator, invitations
from accounts.onboarding.forms import AcceptForm, FirstAdministratorForm, RegisterForm
from accounts.own_events import record_own
from accounts.throttle import TooManyAttempts, count_mail, wait_page
from authgate.peer import client_address


@never_cache
@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Create an account by a link. Only the form uses the link, because mail scanners open links."""
    found = invitations.invitation_of(token)
    if found is None:
        return _used(request)
    # The form needs the user's future address, because the password must not resemble it.
    form = AcceptForm(request.POST or None, instance=User(email=found.email))
    if request.method != "POST" or not form.is_valid():
        return render(request, "accounts/invitation.html", {"form": form, "email": found.email})
    try:
        user = invitations.accept(found, form.save(commit=False), client_address(request))
    except invitations.InvitationUsed:
        return _used(request)
    except IntegrityError:  # a concurrent request created a user with this name
        form.add_error("username", gettext("A user with this name already exists. Choose a different name."))
        return render(request, "accounts/invitation.html", {"form": form, "email": found.email})
    if not user.is_active:
        return render(request, "accounts/registration_waits.html")
    messages.success(request, gettext("Your account was created. Sign in."))
    return redirect("account_login")


def _used(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/invitation_spent.html", status=404)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    """Send a link by mail. The response does not reveal whether an account exists."""
    if settings.IKD_REGISTRATION not in ("open", "approval"):
        raise Http404
    form = RegisterForm(request.POST or None)
    if request.method != "POST" or not form.is_valid():
        context = {"form": form, "domains": settings.IKD_REGISTRATION_DOMAINS}
        return render(request, "accounts/register.html", context)
    email = form.cleaned_data["email"]
    if not invitations.may_register(email):
        form.add_error("email", gettext("E-mail addresses of this domain cannot be used to register."))
        context = {"form": form, "domains": settings.IKD_REGISTRATION_DOMAINS}
        return render(request, "accounts/register.html", context)
    try:
        if count_mail("register", email, client_address(request)):
            mails.queue(invitations.send_own_invitation, email)
    except TooManyAttempts as error:
        return wait_page(request, error.wait)
    return render(request, "accounts/registration_sent.html")


@never_cache
@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "HEAD", "POST"])
def create_first_administrator(request: HttpRequest, token: str) -> HttpResponse:
    form = FirstAdministratorForm(request.POST or None)
    if not first_administrator.is_valid(token):
        return render(request, "accounts/first_administrator_too_late.html", status=404)
    if request.method != "POST" or not form.is_valid():
        return render(request, "accounts/first_administrator.html", {"form": form})
    if not first_administrator.use(token):
        return render(request, "accounts/first_administrator_too_late.html", status=404)
    user = form.save()
    record_own("first_administrator_made", request, user)
    record_authentication(request, user, method="password", username=user.username)
    login(request, user)
    return redirect("launcher")
