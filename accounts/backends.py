"""Authentication by name and password, and the look-up of users by name."""

from __future__ import annotations

import unicodedata
from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.models import EmailAddress
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission
from django.db.models import QuerySet, Value
from django.db.models.functions import Lower
from django.http import HttpRequest

from accounts.models import User
from authgate.prepared import PreparedLookup, column_names, instance_of

LONGEST_LOGIN = 254


def name_key(login: str) -> str:
    """Return the form of a name that is equal for all its spellings. Attempts count under this form."""
    return unicodedata.normalize("NFKC", login.strip()).casefold()


def account_named(login: str) -> User | None:
    """Return the user with a username or a verified e-mail address, in any letter case.

    Usernames take precedence, because administrators assign them. Users can add any address if they can read
    its mail. Unverified addresses do not count, because a user could claim another user's address.
    """
    spelling = unicodedata.normalize("NFKC", login.strip())
    if not spelling or len(spelling) > LONGEST_LOGIN or "\0" in spelling:
        return None
    # Both are always looked up, so the response time does not reveal which of them exists.
    named = _NAMED.rows(spelling)
    addresses = _WITH_ADDRESS.rows(spelling, spelling.lower())
    # Databases fold letters in different ways. Without this comparison an account could have several
    # names, each with its own count of attempts.
    for row in named:
        user = instance_of(User, row)
        if name_key(user.username) == name_key(login):
            return user
    for email, *columns in addresses:
        if name_key(email) == name_key(login):
            return instance_of(User, columns)
    return None


def _named(spelling: str) -> QuerySet[User, tuple[Any, ...]]:
    users = User.objects.alias(folded=Lower("username")).filter(folded=Lower(Value(spelling)))
    return users.order_by("pk").values_list(*column_names(User))[:1]


def _with_address(spelling: str, in_lower_case: str) -> QuerySet[EmailAddress, tuple[Any, ...]]:
    addresses: QuerySet[EmailAddress] = EmailAddress.objects.filter(
        email__in=[spelling, in_lower_case], verified=True
    )
    return addresses.order_by("pk").values_list("email", *column_names(User, "user__"))[:1]


def _with_key(key: int) -> QuerySet[User, tuple[Any, ...]]:
    return User.objects.filter(pk=key).values_list(*column_names(User))


def _permissions_of(key: int) -> QuerySet[Permission, tuple[Any, ...]]:
    names = Permission.objects.order_by().values_list("content_type__app_label", "codename")
    return names.filter(user=key).union(names.filter(group__user=key))


_NAMED = PreparedLookup(_named, str)
_WITH_ADDRESS = PreparedLookup(_with_address, str, str)
_WITH_KEY = PreparedLookup(_with_key, int)
_PERMISSIONS = PreparedLookup(_permissions_of, int)


class PasswordBackend(AuthenticationBackend):
    """Authentication by name and password.

    An unknown name, a disabled user, a missing and a wrong password each cost one hash. So the response time
    reveals none of them.
    """

    def get_user(self, user_id: int) -> User | None:
        """Return the user of a session if they can sign in. Every page of a signed-in user calls this."""
        rows = _WITH_KEY.rows(user_id)
        user = instance_of(User, rows[0]) if rows else None
        return user if self.user_can_authenticate(user) else None

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """Return a user's own permissions and those of their groups. One query."""
        has_own = user_obj.is_active and not user_obj.is_superuser and obj is None
        if has_own and not hasattr(user_obj, "_perm_cache"):
            rows = _PERMISSIONS.rows(user_obj.pk)
            user_obj._perm_cache = {f"{app}.{name}" for app, name in rows}
        held: set[str] = super().get_all_permissions(user_obj, obj)
        return held

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        email: str | None = None,
        **credentials: Any,
    ) -> User | None:
        if not password:
            return None
        user = account_named(username or email or "")
        if user is None:
            make_password(password)
            return None
        # The password is checked before the user's state: one hash either way.
        return user if user.check_password(password) and self.user_can_authenticate(user) else None
