"""allauth's forms for second factors, with the portal's limits and error messages."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from typing import Any

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.core import context
from allauth.mfa.base import forms as base_forms
from allauth.mfa.models import Authenticator
from allauth.mfa.totp import forms as totp_forms
from allauth.mfa.totp.internal.auth import generate_totp_secret
from allauth.mfa.webauthn import forms as webauthn_forms
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.second_factor.adapter import FactorAdapter
from accounts.second_factor.codes import LONGEST_CODE, counter_of, digits_of, use_code
from accounts.throttle import count_code_attempt, release_attempt
from authgate.encryption import Secret, Undecryptable
from authgate.validation import readable

log = logging.getLogger("ikd.security")

PENDING = "pending_totp"
LONGEST_CREDENTIAL = 16_384
LONGEST_NAME = 60


def _code_field(label: Any) -> forms.CharField:
    attrs = {
        "autocomplete": "one-time-code",
        "inputmode": "numeric",
        "autofocus": True,
        "spellcheck": "false",
    }
    return forms.CharField(label=label, max_length=LONGEST_CODE, widget=forms.TextInput(attrs=attrs))


def _count_attempt(user: User) -> list[str]:
    """Count an attempt at a user's codes. Raises ValidationError if a limit is reached."""
    slots: list[str] = get_account_adapter().count_attempt(count_code_attempt, user)
    return slots


class CodeFormMixin:
    """A form with a code.

    Its attempts count apart from those at passwords, but the limit per address is the same.
    """

    user: User
    cleaned_data: dict[str, Any]
    _emit_authentication_failed: Callable[[Authenticator | None], None]

    def clean_code(self) -> str:
        slots = _count_attempt(self.user)
        found = use_code(self.user, self.cleaned_data["code"])
        if found is None:
            self._emit_authentication_failed(_main_factor(self.user))
            raise FactorAdapter().validation_error("incorrect_code")
        release_attempt(slots)
        found.user = self.user
        self.authenticator = found
        return ""


def _main_factor(user: User) -> Authenticator | None:
    return Authenticator.objects.filter(user=user).order_by("-type").first()


class AuthenticateForm(CodeFormMixin, base_forms.AuthenticateForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"] = _code_field(_("Code"))


class ReauthenticateForm(CodeFormMixin, base_forms.ReauthenticateForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["code"] = _code_field(_("Code"))


class ActivateTotpForm(totp_forms.ActivateTOTPForm):
    """The form that sets up an app. Until the first code, the session has the encrypted secret."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.user = kwargs.pop("user")
        forms.Form.__init__(self, *args, **kwargs)
        self.fields["code"] = _code_field(_("Code shown in the app"))
        self.secret = _pending_secret(new=not self.is_bound)

    def clean_code(self) -> str:
        slots = _count_attempt(self.user)
        code: str = self.cleaned_data["code"]
        if counter_of(self.secret, digits_of(code)) is None:
            raise FactorAdapter().validation_error("incorrect_code")
        release_attempt(slots)
        return code


def _pending_secret(*, new: bool) -> str:
    session = context.request.session
    try:
        secret = "" if new else Secret(session.get(PENDING, "")).reveal()
    except Undecryptable:
        secret = ""
    if not secret:
        secret = generate_totp_secret()
        session[PENDING] = Secret.of(secret).token
    return secret


class CredentialField(forms.JSONField):
    """A passkey's response: a JSON object of limited length, created on a page of this portal."""

    def __init__(self) -> None:
        super().__init__(widget=forms.HiddenInput, max_length=None)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > LONGEST_CREDENTIAL:
            raise FactorAdapter().validation_error("incorrect_passkey")
        try:
            found = super().to_python(value)
        except RecursionError:
            raise FactorAdapter().validation_error("incorrect_passkey") from None
        if found is not None and not _is_ours(found):
            raise FactorAdapter().validation_error("incorrect_passkey")
        return found


def _is_ours(credential: Any) -> bool:
    """Return whether a browser created the response on the portal's own origin, and not on a subdomain."""
    try:
        text = credential["response"]["clientDataJSON"]
        data = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return bool(data["origin"] == settings.IKD_PORTAL_ORIGIN) and data.get("crossOrigin") is not True
    except (TypeError, KeyError, ValueError, AttributeError, RecursionError):
        return False


class CredentialFormMixin(webauthn_forms.AuthenticateWebAuthnForm):
    """A form with a passkey's response.

    An attacker's bytes can cause any error in a parser. The form reports each as a wrong passkey.
    """

    def clean_credential(self) -> Any:
        try:
            return super().clean_credential()
        except ValidationError:
            raise FactorAdapter().validation_error("incorrect_passkey") from None
        except Exception:
            log.info("a passkey could not be verified", exc_info=True)
            raise FactorAdapter().validation_error("incorrect_passkey") from None


class AuthenticateWebAuthnForm(CredentialFormMixin, webauthn_forms.AuthenticateWebAuthnForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["credential"] = CredentialField()


class LoginWebAuthnForm(CredentialFormMixin, webauthn_forms.LoginWebAuthnForm):
    """Sign-in by passkey instead of the password.

    allauth refuses the passkey if the device asked for neither PIN nor fingerprint.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["credential"] = CredentialField()


class ReauthenticateWebAuthnForm(CredentialFormMixin, webauthn_forms.ReauthenticateWebAuthnForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["credential"] = CredentialField()


def _name_field() -> forms.CharField:
    return forms.CharField(
        label=_("Name"),
        max_length=LONGEST_NAME,
        required=False,
        help_text=_("A name that helps you recognise it, such as “phone” or “security key”."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class AddWebAuthnForm(webauthn_forms.AddWebAuthnForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"] = _name_field()
        self.fields["credential"] = CredentialField()
        self.fields["passwordless"] = forms.BooleanField(
            label=_("Allow signing in with this passkey alone, without a password"),
            required=False,
            initial=True,
        )
        self.order_fields(["name", "passwordless"])

    def clean_name(self) -> str:
        self.cleaned_data["name"] = readable(self.cleaned_data["name"])
        name: str = super().clean_name()
        return name

    def clean(self) -> dict[str, Any]:
        try:
            cleaned: dict[str, Any] = super().clean()
        except ValidationError:
            raise FactorAdapter().validation_error("incorrect_passkey") from None
        except Exception:
            log.info("a passkey could not be verified", exc_info=True)
            raise FactorAdapter().validation_error("incorrect_passkey") from None
        return cleaned


class EditWebAuthnForm(webauthn_forms.EditWebAuthnForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"] = _name_field()
        self.fields["name"].required = True

    def clean_name(self) -> str:
        name = readable(self.cleaned_data["name"])
        if not name:
            raise ValidationError(_("Enter a name with visible characters."))
        return name
