"""What allauth asks of this portal."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.backends import account_named
from accounts.destinations import judged
from accounts.models import User
from accounts.throttle import CountersUnavailable, TooManyAttempts, begin_attempt, give_back
from authgate.server_facts import client_address

WRONG = _("That name and password do not belong together. Check both, letter case counts in the password.")


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": WRONG,
        "email_password_mismatch": WRONG,
        "incorrect_password": _("That is not your password."),
        "enter_current_password": _("That is not your current password."),
        "counters_unavailable": _(
            "Signing in is not possible at the moment, because the portal cannot count attempts. "
            "Try again in a minute, or tell your administrator."
        ),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def is_safe_url(self, url: str) -> bool:
        return judged(url) is not None

    def is_ajax(self, request: HttpRequest) -> bool:
        """Answer everybody with pages: nothing asks for the JSON form of a sign-in page."""
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request) or ""

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("launcher")

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Authenticate within the limits. Raises ValidationError where one is reached."""
        login = credentials.get("username") or credentials.get("email") or ""
        try:
            slots = begin_attempt(login, account_named(login), client_address(request))
        except TooManyAttempts as error:
            raise _too_many(error.wait) from error
        except CountersUnavailable as error:
            raise self.validation_error("counters_unavailable") from error
        user = authenticate(request, username=login, password=credentials.get("password"))
        if user is not None:
            give_back(slots)
        return user

    def set_password(self, user: User, password: str) -> None:
        """Set a password. The person's other sign-ins end, this one stays."""
        sign_in = getattr(self.request, "sign_in", None)
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
