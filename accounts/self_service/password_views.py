"""The pages to reset a forgotten password."""

from __future__ import annotations

from typing import Any

from allauth.account import views as allauth_views
from django import forms
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from accounts.throttle import TooManyAttempts, wait_page


@method_decorator(never_cache, name="dispatch")
class PasswordResetView(allauth_views.PasswordResetView):
    http_method_names = ["get", "head", "post"]

    def form_valid(self, form: forms.Form) -> HttpResponse:
        try:
            response: HttpResponse = super().form_valid(form)
        except TooManyAttempts as error:
            return wait_page(self.request, error.wait)
        return response


@method_decorator(never_cache, name="dispatch")
class PasswordResetDoneView(allauth_views.PasswordResetDoneView):
    http_method_names = ["get", "head"]


@method_decorator([never_cache, sensitive_post_parameters("password1", "password2")], name="dispatch")
class PasswordResetFromKeyView(allauth_views.PasswordResetFromKeyView):
    """The page of the mail's link. Its key moves from the URL into the session at once."""

    # Not "no-referrer": with it, browsers send forms without an origin, and the portal refuses them.
    http_method_names = ["get", "head", "post"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add the user who resets the password, so that password managers save it under the right name."""
        context: dict[str, Any] = super().get_context_data(**kwargs)
        person = getattr(self, "reset_user", None)
        return {**context, "person": person}


@method_decorator(never_cache, name="dispatch")
class PasswordResetFromKeyDoneView(allauth_views.PasswordResetFromKeyDoneView):
    http_method_names = ["get", "head"]
