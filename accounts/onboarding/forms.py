"""The forms that create accounts."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from django import forms
from django.contrib.auth.forms import BaseUserCreationForm, UsernameField
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from accounts.backends import account_named
from accounts.look_alikes import refuse_disguised_address
from accounts.models import User
from accounts.sign_in.forms import DisplayNameMixin, name_new_passwords
from accounts.usernames import is_misleading
from authgate.validation import refuse_hidden


class FirstAdministratorForm(DisplayNameMixin, BaseUserCreationForm):
    class Meta:
        model = User
        fields = ("username", "display_name", "email")
        field_classes = {"username": UsernameField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_new_passwords(self, _("Password"), _("Password again"))
        self.fields["username"].help_text = _("Letters, digits and @ . + - _")
        self.fields["email"].help_text = _("Optional.")
        self.fields["email"].validators += [refuse_hidden, refuse_disguised_address]
        self.fields["display_name"].help_text = _("Optional. The name that other people see.")

    def clean_username(self) -> str:
        username: str = self.cleaned_data["username"]
        User.objects.refuse_look_alike(username)
        return username

    @transaction.atomic
    def save(self, commit: bool = True) -> User:
        """Create the administrator. Their address counts as verified."""
        user: User = super().save(commit=False)
        user.is_staff = user.is_superuser = True
        user.save()
        if user.email:
            EmailAddress.objects.create(user=user, email=user.email.lower(), verified=True, primary=True)
        return user


class AcceptForm(DisplayNameMixin, BaseUserCreationForm):
    class Meta:
        model = User
        fields = ("username", "display_name")
        field_classes = {"username": UsernameField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_new_passwords(self, _("Password"), _("Password again"))
        self.fields["username"].help_text = _("Letters, digits and . + - _")
        self.fields["display_name"].help_text = _("Optional. The name that other people see.")

    def clean_username(self) -> str:
        """Refuse a taken name, and a name with an at sign, because it looks like an address."""
        username: str = self.cleaned_data["username"]
        if "@" in username:
            raise ValidationError(
                _("A username cannot contain @. You can also sign in with your e-mail address.")
            )
        if is_misleading(username):
            raise ValidationError(
                _("This name could be mistaken for another user's. Choose a different name.")
            )
        if account_named(username) is not None:
            raise ValidationError(
                _("A user with this name already exists. Choose a different name."), code="unique"
            )
        User.objects.refuse_look_alike(username)
        return username


class RegisterForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,
        validators=[refuse_hidden, refuse_disguised_address],
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}),
    )
