"""New passwords by mail. The response never reveals whether an account exists."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django import forms
from django.db.models import F, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts import mails
from accounts.backends import name_key
from accounts.throttle import count_mail
from authgate.peer import client_address


class PasswordResetForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}),
    )

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """Send the link if a user has the address. Raises TooManyAttempts."""
        email: str = self.cleaned_data["email"]
        rows = confirmed_rows(email)
        recipient = rows[0].email if rows else email
        if count_mail("reset", recipient, client_address(request), is_known=bool(rows)):
            mails.queue(send_link, email)
        return email


def confirmed_rows(email: str) -> list[EmailAddress]:
    """Return the confirmed addresses that match `email`, of active users.

    A locked account has at most one: the address that received the mail with the used link.
    """
    locked = Q(user__locked_at__isnull=False, user__locked_down_at=None)
    locked &= Q(email__iexact=F("user__unlock_address"))
    may_open = Q(user__is_active=True) | locked
    rows = EmailAddress.objects.filter(may_open, email__in=[email, email.lower()], verified=True)
    return [row for row in rows.select_related("user") if name_key(row.email) == name_key(email)]


def send_link(email: str) -> None:
    """Send the link only to confirmed addresses, because users can add any address to their account.

    Send none to users without a password, who sign in at their provider.
    """
    for row in confirmed_rows(email):
        if not row.user.has_usable_password():
            continue
        key = default_token_generator.make_token(row.user)
        path = reverse("account_reset_password_from_key", args=[user_pk_to_url_str(row.user), key])
        mails.send("password_reset", row.email, {"username": row.user.username}, path)
