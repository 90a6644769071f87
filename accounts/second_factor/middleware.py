"""Redirects for users without a required second factor, to the pages on which they prove or set up one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.http import HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse

from accounts.destinations import with_next
from accounts.requests import Request
from authgate.factor_policy import lacks_factor

GetResponse = Callable[[Request], HttpResponse]
View = TypeVar("View", bound=Callable[..., HttpResponseBase])

OPEN_PAGES = frozenset(
    (
        "second_factor",
        "passkey_required",
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "mfa_activate_totp",
        "mfa_add_webauthn",
        "account_reauthenticate",
        "upstream_confirm",
        "upstream_callback",
        "account_logout",
        "signed_out",
        "switch_account",
        "account_reset_password",
        "account_reset_password_done",
        "account_reset_password_from_key",
        "account_reset_password_from_key_done",
        "account_confirm_email",
        "lock_account",
        "account_locked",
        "invitation",
        "key_set",
        "brand_logo",
        "brand_accent",
    )
)
"""Pages without personal data, and those that lead to a second factor."""


def asks_for_factor(view: View) -> View:
    """Let a view ask for the second factor itself, as OpenID Connect's `prompt=none` needs."""
    view.__dict__["asks_for_factor"] = True
    return view


class SecondFactorMiddleware:
    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: Request) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: Request, view: Any, args: Any, kwargs: Any
    ) -> HttpResponseRedirect | None:
        sign_in = request.sign_in
        if sign_in is None or not lacks_factor(sign_in):
            return None
        match = request.resolver_match
        if match is not None and not match.namespaces and match.url_name in OPEN_PAGES:
            return None
        if getattr(view, "asks_for_factor", False):
            return None
        asked_for = request.get_full_path() if request.method == "GET" else reverse("launcher")
        return HttpResponseRedirect(with_next(reverse("second_factor"), asked_for))
