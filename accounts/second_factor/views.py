"""Pages on which users prove, set up and remove second factors."""

from __future__ import annotations

import json
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.mfa.base import views as base_views
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes import views as recovery_views
from allauth.mfa.totp import views as totp_views
from allauth.mfa.webauthn import views as webauthn_views
from allauth.mfa.webauthn.internal import auth as webauthn
from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from django.views.generic.base import ContextMixin

from accounts.destinations import destination, with_next
from accounts.factors import has_factor, has_passkey
from accounts.models import User
from accounts.reauthentication import reauthentication_required
from accounts.requests import SignedInRequest, login_required
from accounts.second_factor.codes import note_first_code
from accounts.second_factor.forms import PENDING, ActivateTotpForm
from accounts.second_factor.remembered import forget, remember, remembered_devices
from accounts.sign_in.devices import browser_named
from accounts.throttle import ThrottledFormMixin, with_status

METHODS = ["get", "head", "post"]
sensitive = method_decorator([never_cache, reauthentication_required], name="dispatch")


def _with_next(request: HttpRequest, url: str) -> str:
    return with_next(url, destination(request, "next"))


# ---- proving a factor -------------------------------------------------------------------------------------


@never_cache
@login_required
@require_safe
def second_factor(request: SignedInRequest) -> HttpResponse:
    """Ask for a factor, or have the user set one up. Then redirect to `next`."""
    user = request.user
    if has_factor(user):
        method = get_adapter().get_reauthentication_methods(user)[0]
        return HttpResponseRedirect(_with_next(request, method["url"]))
    context = {
        "totp_url": _with_next(request, reverse("mfa_activate_totp")),
        "passkey_url": _with_next(request, reverse("mfa_add_webauthn")),
    }
    return render(request, "mfa/needed.html", context)


@never_cache
@login_required
@require_safe
def passkey_required(request: SignedInRequest) -> HttpResponse:
    """Ask for a passkey, or have the user add one. Then redirect to `next`."""
    if has_passkey(request.user):
        return HttpResponseRedirect(_with_next(request, reverse("mfa_reauthenticate_webauthn")))
    context = {"passkey_url": _with_next(request, reverse("mfa_add_webauthn"))}
    return render(request, "mfa/passkey_required.html", context)


class PasskeyOptionsMixin(ContextMixin):
    """A view that passes the options for WebAuthn to its template, as JSON for the browser."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        return {**context, "passkey_options": json.dumps(context.get("js_data"))}


class AuthenticateView(PasskeyOptionsMixin, base_views.AuthenticateView):
    """The step between password and sign-in. Until it succeeds, the user is not signed in."""

    http_method_names = METHODS

    def form_invalid(self, form: forms.Form) -> HttpResponse:
        return with_status(super().form_invalid(form), form)


@method_decorator(never_cache, name="dispatch")
class TrustView(base_views.TrustView):
    http_method_names = METHODS

    def form_valid(self, form: forms.Form) -> HttpResponse:
        stage = self.request._login_stage
        response: HttpResponse = stage.exit()
        if self.request.POST.get("action") == "trust":
            remember(self.request, stage.login.user, response)
        return response


@never_cache
@login_required
@require_POST
def forget_device(request: SignedInRequest, pk: int | None = None) -> HttpResponse:
    """Forget one remembered device of the user, or all."""
    if not forget(request, request.user, pk) and pk is not None:
        raise Http404
    messages.success(request, gettext("The next sign-in there asks for your second factor again."))
    return redirect("mfa_index")


@method_decorator(never_cache, name="dispatch")
class ReauthenticateByCodeView(ThrottledFormMixin, base_views.ReauthenticateView):
    http_method_names = METHODS


@method_decorator(never_cache, name="dispatch")
class ReauthenticateWebAuthnView(PasskeyOptionsMixin, webauthn_views.ReauthenticateWebAuthnView):
    http_method_names = METHODS

    def form_invalid(self, form: forms.Form) -> HttpResponse:
        context = {**self.get_context_data(), "form": form}
        response: HttpResponse = self.render_to_response(context)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return {**context, "reauthentication_alternatives": self.get_reauthentication_alternatives()}


@method_decorator(never_cache, name="dispatch")
class PasskeySignInView(webauthn_views.LoginWebAuthnView):
    """Sign-in by passkey alone. GET returns the options for WebAuthn as JSON."""

    http_method_names = METHODS

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return JsonResponse({"request_options": webauthn.begin_authentication(user=None)})

    def form_valid(self, form: forms.Form) -> HttpResponse:
        self.request.session.set_expiry(0)
        response: HttpResponse = super().form_valid(form)
        return response

    def form_invalid(self, form: forms.Form) -> HttpResponse:
        super().form_invalid(form)
        return HttpResponseRedirect(_with_next(self.request, f"{reverse('account_login')}"))


# ---- setting up and removing factors ----------------------------------------------------------------------


@method_decorator([never_cache, login_required], name="dispatch")
class FactorsView(base_views.IndexView):
    http_method_names = ["get", "head"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: User = self.request.user
        rows = list(Authenticator.objects.filter(user=user).order_by("pk"))
        by_type = {row.type: row.wrap() for row in rows}
        codes = by_type.get(Authenticator.Type.RECOVERY_CODES)
        return {
            "totp": by_type.get(Authenticator.Type.TOTP),
            "passkeys": [row for row in rows if row.type == Authenticator.Type.WEBAUTHN],
            "recovery_codes": codes,
            "devices": [(device, browser_named(device.user_agent)) for device in remembered_devices(user)],
            "codes_left": len(codes.get_unused_codes()) if codes else 0,
        }


@sensitive
class ActivateTotpView(totp_views.ActivateTOTPView):
    http_method_names = METHODS

    def form_invalid(self, form: forms.Form) -> HttpResponse:
        return with_status(super().form_invalid(form), form)

    def form_valid(self, form: ActivateTotpForm) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        row = Authenticator.objects.get(user=self.request.user, type=Authenticator.Type.TOTP)
        note_first_code(row, form.secret, form.cleaned_data["code"])
        self.request.session.pop(PENDING, None)
        return response

    def get_success_url(self) -> str:
        return _with_next(self.request, super().get_success_url())

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        secret = context["form"].secret
        return {**context, "spaced_secret": " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))}


@sensitive
class DeactivateTotpView(totp_views.DeactivateTOTPView):
    http_method_names = METHODS


@sensitive
class AddPasskeyView(PasskeyOptionsMixin, webauthn_views.AddWebAuthnView):
    http_method_names = METHODS

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return {**context, "form": kwargs.get("form") or self.get_form()}

    def get_success_url(self) -> str:
        return _with_next(self.request, super().get_success_url())


class FactorListMixin:
    """A view that redirects to the list of all factors instead of allauth's list of passkeys."""

    def get_success_url(self) -> str:
        return reverse("mfa_index")


@sensitive
class RenamePasskeyView(FactorListMixin, webauthn_views.EditWebAuthnView):
    http_method_names = METHODS


@sensitive
class RemovePasskeyView(FactorListMixin, webauthn_views.RemoveWebAuthnView):
    http_method_names = METHODS


@sensitive
class RecoveryCodesView(recovery_views.ViewRecoveryCodesView):
    """Show the recovery codes once."""

    http_method_names = ["get"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        return {**context, "then": destination(self.request, "next")}


@sensitive
class CreateRecoveryCodesView(recovery_views.GenerateRecoveryCodesView):
    http_method_names = METHODS
