"""The forms of the sign-in pages and of the user's password and addresses."""

from __future__ import annotations

from typing import Any

from allauth.account import forms as allauth_forms
from allauth.account.adapter import get_adapter
from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from accounts.backends import LONGEST_LOGIN
from accounts.look_alikes import refuse_disguised_address
from accounts.models import User
from accounts.password_validation import LONGEST_PASSWORD
from accounts.sign_in.pending import note_password
from authgate.validation import readable, refuse_hidden


class SignInForm(allauth_forms.LoginForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        focused = "password" if self.data.get("login") else "login"
        self.fields["login"] = forms.CharField(
            label=_("Username or e-mail address"),
            max_length=LONGEST_LOGIN,
            widget=forms.TextInput(
                attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
            ),
        )
        self.fields["password"] = _password_field(_("Password"), "current-password")
        self.fields["remember"].label = _("Keep me signed in")
        self.fields[focused].widget.attrs["autofocus"] = True
        self.order_fields(["login", "password", "remember"])

    def user_credentials(self) -> dict[str, Any]:
        return {"username": self.cleaned_data["login"], "password": self.cleaned_data["password"]}

    def login(self, request: HttpRequest, redirect_url: str | None = None) -> HttpResponse:
        note_password(request, self.user)
        expiry = settings.IKD_KEEP_SIGNED_IN_LIFETIME if self.cleaned_data["remember"] else 0
        # The sign-in's lifetime depends on the expiry. allauth changes it, so it is set again below.
        request.session.set_expiry(expiry)
        response: HttpResponse = super().login(request, redirect_url)
        request.session.set_expiry(expiry)
        return response


class PasswordChangeForm(allauth_forms.ChangePasswordForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"] = _password_field(_("Current password"), "current-password")
        self.fields["oldpassword"].widget.attrs["autofocus"] = True
        name_new_passwords(self, _("New password"), _("New password again"))

    def clean_oldpassword(self) -> str:
        """Verify the current password. Its attempts count as sign-ins, because it is the same secret."""
        password: str = self.cleaned_data["oldpassword"]
        if not get_adapter().reauthenticate(self.user, password):
            raise get_adapter().validation_error("enter_current_password")
        return password


class PasswordResetKeyForm(allauth_forms.ResetPasswordKeyForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_new_passwords(self, _("New password"), _("New password again"))
        self.fields["password1"].widget.attrs["autofocus"] = True


class AddAddressForm(allauth_forms.AddEmailForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"] = forms.EmailField(
            label=_("Another e-mail address"),
            max_length=254,
            validators=[refuse_hidden, refuse_disguised_address],
            widget=forms.EmailInput(attrs={"autocomplete": "email"}),
        )


class ReauthenticateForm(allauth_forms.ReauthenticateForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"] = _password_field(_("Password"), "current-password")
        self.fields["password"].widget.attrs["autofocus"] = True


class DisplayNameMixin:
    """A form with a user's display name."""

    cleaned_data: dict[str, Any]

    def clean_display_name(self) -> str:
        return readable(self.cleaned_data["display_name"])


def name_new_passwords(form: forms.Form | forms.ModelForm[User], label: Any, again: Any) -> None:
    form.fields["password1"].label, form.fields["password2"].label = label, again
    form.fields["password1"].help_text = _("Use at least 8 characters. Avoid common passwords and your name.")
    form.fields["password2"].help_text = ""
    for name in ("password1", "password2"):
        form.fields[name].widget.attrs.pop("placeholder", None)


def _password_field(label: Any, autocomplete: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        strip=False,
        max_length=LONGEST_PASSWORD,
        widget=forms.PasswordInput(attrs={"autocomplete": autocomplete}),
    )
