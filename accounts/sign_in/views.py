"""The pages to sign in, to sign out, and to change or prove the user's password."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from allauth.account import views as allauth_views
from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.destinations import destination, redirect_target, with_next
from accounts.models import Upstream
from accounts.requests import Request, SignedInRequest, login_required
from accounts.throttle import ThrottledFormMixin
from accounts.upstreams import provider_sign_out
from accounts.upstreams.views import enabled_providers
from authgate.endpoints.portal import application_named_in


class SignInView(ThrottledFormMixin, allauth_views.LoginView):
    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the ways to sign in, or redirect to the default provider.

        After a sign-out, or with `local` in the query, show the ways to sign in.
        """
        self.upstreams = enabled_providers()
        default = next((upstream for upstream in self.upstreams if upstream.is_default), None)
        waits = "local" in request.GET or provider_sign_out.cookie_name() in request.COOKIES
        if default is None or waits or request.user.is_authenticated:
            response: HttpResponse = super().get(request, *args, **kwargs)
            return response
        return self._to_provider(request, default)

    def _to_provider(self, request: HttpRequest, upstream: Upstream) -> HttpResponse:
        """Redirect to the provider. Browsers get a page with a script that keeps the fragment."""
        start_url = f"{reverse('upstream_start', args=[upstream.slug])}{self._then()}"
        if "text/html" not in request.headers.get("Accept", ""):
            return redirect(start_url)
        page = {"local": "1"} | ({"next": target} if (target := self.get_next_url()) else {})
        context = {
            "upstream": upstream,
            "start_url": start_url,
            "local_url": f"{reverse('account_login')}?{urlencode(page)}",
        }
        response = render(request, "accounts/to_provider.html", context)
        add_never_cache_headers(response)
        return response

    def get_next_url(self) -> str | None:
        return destination(self.request, "next")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "application": application_named_in(self.get_next_url()),
            "upstreams": self.upstreams if hasattr(self, "upstreams") else enabled_providers(),
            "then": self._then(),
            "next": self.get_next_url(),
        }

    def _then(self) -> str:
        return with_next("", self.get_next_url())


@method_decorator(never_cache, name="dispatch")
class SignOutView(allauth_views.LogoutView):
    http_method_names = ["get", "head", "post"]

    def post(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """Sign out of the portal first, then at the provider."""
        sign_in = request.sign_in
        response: HttpResponse = super().post(request, *args, **kwargs)
        next_step = provider_sign_out.sign_out_url(sign_in.pk, self.get_next_url()) if sign_in else None
        return provider_sign_out.remember_sign_out(redirect(next_step) if next_step else response)

    def get_next_url(self) -> str | None:
        return destination(self.request, "rd", "next")


@method_decorator([never_cache, login_required], name="dispatch")
class PasswordChangeView(ThrottledFormMixin, allauth_views.PasswordChangeView):
    http_method_names = ["get", "head", "post"]

    def dispatch(self, request: SignedInRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.has_usable_password():
            return render(request, "accounts/no_password.html")
        response: HttpResponse = super().dispatch(request, *args, **kwargs)
        return response

    def get_next_url(self) -> str | None:
        return destination(self.request, "next")


@method_decorator([never_cache, login_required], name="dispatch")
class ReauthenticateView(ThrottledFormMixin, allauth_views.ReauthenticateView):
    http_method_names = ["get", "head", "post"]

    def get_next_url(self) -> str | None:
        return destination(self.request, "next")


@never_cache
@require_safe
def signed_out(request: HttpRequest) -> HttpResponse:
    """Show that the user is signed out, or redirect to the target in the provider's `state`."""
    target = redirect_target(provider_sign_out.target_in(request.GET.get("state", "")))
    if target and not request.user.is_authenticated:
        return provider_sign_out.remember_sign_out(redirect(target))
    response = render(request, "accounts/signed_out.html")
    return response if request.user.is_authenticated else provider_sign_out.remember_sign_out(response)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def switch_account(request: Request) -> HttpResponse:
    """Sign out, then let another user sign in, and redirect to `next`. Only POST changes anything."""
    target = destination(request, "next")
    sign_in = with_next(reverse("account_login"), target)
    if request.method == "POST":
        before = request.sign_in
        logout(request)
        next_step = (
            provider_sign_out.sign_out_url(before.pk, f"{settings.IKD_PORTAL_ORIGIN}{sign_in}")
            if before
            else None
        )
        return provider_sign_out.remember_sign_out(redirect(next_step or sign_in))
    if not request.user.is_authenticated:
        return redirect(sign_in)
    return render(request, "accounts/switch_account.html", {"target": target})
