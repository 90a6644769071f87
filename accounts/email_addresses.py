"""E-mail addresses across all users. An address never belongs to two of them."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from django.db.models import Exists, OuterRef

from accounts.models import User


def is_address_taken(email: str, *, except_by: int | None = None) -> bool:
    """Return whether a user has an address, verified or not.

    `except_by` is the key of a user to ignore.
    """
    users = User.objects.filter(email__iexact=email)
    addresses = EmailAddress.objects.filter(email__iexact=email)
    if except_by is not None:
        users, addresses = users.exclude(pk=except_by), addresses.exclude(user=except_by)
    return users.exists() or addresses.exists()


def has_verified_address(user: str) -> Exists:
    """Return the condition "the user's address is verified".

    `user` is the path to the user, or "pk" in a query for users.
    """
    email = "email" if user == "pk" else f"{user}__email"
    own = EmailAddress.objects.filter(user=OuterRef(user), email__iexact=OuterRef(email))
    return Exists(own.filter(verified=True))
