"""allauth's adapter for accounts: the portal's limits, redirects and mails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.stagekit import clear_login
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts import mails
from accounts.backends import account_named
from accounts.destinations import redirect_target
from accounts.models import User
from accounts.reauthentication import is_proven_without_allauth
from accounts.requests import sign_in_of_request
from accounts.sign_in.pending import is_still_valid
from accounts.throttle import TooManyAttempts, count_mail, count_password_attempt, release_attempt, wait_page
from authgate.peer import client_address

WRONG = _("The username and password do not match. Check both. Passwords are case-sensitive.")


class AccountAdapter(DefaultAccountAdapter):
    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": WRONG,
        "email_password_mismatch": WRONG,
        "incorrect_password": _("The password is wrong."),
        "enter_current_password": _("The current password is wrong."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str) -> bool:
        return redirect_target(url) is not None

    def is_ajax(self, request: HttpRequest) -> bool:
        """Return False: no client of the portal asks for the JSON form of a sign-in page."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request) or ""

    def get_login_stages(self) -> list[str]:
        ours = {"allauth.mfa.stages.AuthenticateStage": "accounts.second_factor.remembered.AuthenticateStage"}
        return [ours.get(stage, stage) for stage in super().get_login_stages()]

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("launcher")

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Authenticate within the limits. Raises ValidationError if a limit is reached."""
        login = credentials.get("username") or credentials.get("email") or ""
        slots = self.count_attempt(count_password_attempt, login, account_named(login))
        user = authenticate(request, username=login, password=credentials.get("password"))
        if user is not None:
            release_attempt(slots)
        return user

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        return f"{settings.IKD_PORTAL_URL}" + reverse("account_confirm_email", args=[emailconfirmation.key])

    def send_confirmation_mail(self, request: HttpRequest, emailconfirmation: Any, signup: bool) -> None:
        """Send the link that confirms an address, within the limit for mails."""
        to = emailconfirmation.email_address.email
        try:
            is_allowed = count_mail("confirm", to, client_address(request))
        except TooManyAttempts as error:
            raise ImmediateHttpResponse(wait_page(request, error.wait)) from error
        if is_allowed:
            path = reverse("account_confirm_email", args=[emailconfirmation.key])
            facts = {"username": emailconfirmation.email_address.user.username}
            mails.queue(mails.send, "confirm_address", to, facts, path)

    def login(self, request: HttpRequest, user: User) -> None:
        """Complete a sign-in. If its first step is no longer valid, redirect to the sign-in page."""
        if not is_still_valid(request, user):
            clear_login(request)
            raise ImmediateHttpResponse(redirect("account_login"))
        super().login(request, user)

    def count_attempt(self, count: Callable[..., list[str]], *holder: Any) -> list[str]:
        """Count an attempt with `count`, a function of accounts/throttle.py, and return its slots.

        Raises ValidationError if a limit is reached.
        """
        try:
            return count(*holder, client_address(self.request))
        except TooManyAttempts as error:
            raise _too_many(error.wait) from error

    def get_reauthentication_methods(self, user: User) -> list[dict[str, Any]]:
        """Return the ways to prove an identity, the preferred one first.

        A user with a second factor must use it. Otherwise an attacker could remove the factor with the
        password alone.
        """
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        factors = [method for method in methods if method["id"] != "reauthenticate"]
        has_app = user.is_authenticated and Authenticator.objects.filter(user=user, type="totp").exists()
        return (
            sorted(factors, key=lambda method: (method["id"] == "mfa_reauthenticate") != has_app) or methods
        )

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Return whether `app` needs a new proof of identity that this request does not have yet."""
        is_required: bool = super().is_reauthentication_required(app=app, **kwargs)
        return is_required and not is_proven_without_allauth(self.request)

    def set_password(self, user: User, password: str) -> None:
        """Set a password, and end all sign-ins of the user except this one."""
        sign_in = sign_in_of_request(self.request)
        user.set_password(password)
        user.keep_sign_in(sign_in)
        user.save(update_fields=["password"])


def _too_many(wait: int) -> ValidationError:
    minutes = -(-wait // 60)
    sentence = ngettext(
        "Too many attempts. Try again in a minute.",
        "Too many attempts. Try again in %(minutes)d minutes.",
        minutes,
    )
    return ValidationError(sentence, code="too_many_attempts", params={"minutes": minutes, "wait": wait})
