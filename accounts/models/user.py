"""Users. Names and addresses are unique in any letter case."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.contrib.auth.models import Group as DjangoGroup
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from accounts.look_alikes import LONGEST_SKELETON, skeleton, skeletons
from authgate.models import SignIn
from authgate.sign_ins import end_sign_ins

LOCK_FIELDS = ("locked_at", "unlock_address", "locked_down_at")
LOOKS_ALIKE = _("Another user has a name that looks the same. Choose a different name.")


class PeopleManager(UserManager["User"]):
    def look_alikes(self, username: str) -> QuerySet[User]:
        """Return the users with a name that looks like this one."""
        return self.filter(skeleton__in=skeletons(username))

    def refuse_look_alike(self, username: str) -> None:
        """Raise ValidationError if a user's name looks like this one."""
        if self.look_alikes(username).exists():
            raise ValidationError(LOOKS_ALIKE, code="look_alike")

    def bulk_create(self, objs: Iterable[User], *args: Any, **kwargs: Any) -> list[User]:
        users = list(objs)
        for user in users:
            user.set_skeleton()
        return super().bulk_create(users, *args, **kwargs)

    def _create_user_object(self, username: str, *args: Any, **kwargs: Any) -> User:
        """Create a user for `createsuperuser` and `create_user`. Raises ValidationError for a look-alike."""
        self.refuse_look_alike(username)
        user: User = super()._create_user_object(username, *args, **kwargs)  # type: ignore[misc]  # the stubs lack this private method
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(username__iexact=username)


class User(AbstractUser):
    """A user. `username` and `email` are unique in any letter case."""

    first_name = None  # type: ignore[assignment]  # None removes an inherited field
    last_name = None  # type: ignore[assignment]  # None removes an inherited field
    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    email = models.EmailField(_("e-mail address"), blank=True)
    display_name = models.CharField(_("display name"), max_length=150, blank=True)

    groups = models.ManyToManyField(  # type: ignore[assignment]  # Django's own field has no `through` model
        DjangoGroup,
        through="accounts.Membership",
        blank=True,
        help_text=_(
            "The groups this user belongs to. A user will get all permissions granted to each of their "
            "groups."
        ),
        related_name="user_set",
        related_query_name="user",
        verbose_name=_("groups"),
    )

    language = models.CharField(_("language"), max_length=10, blank=True, editable=False)
    """The language in which the user last used the portal."""

    locked_at = models.DateTimeField(_("locked"), null=True, blank=True, editable=False)
    """When the user locked the account by a link in a mail. It stays disabled until a new password is set."""

    unlock_address = models.EmailField(blank=True, editable=False)
    """The only address that receives a link for that password. If empty, only administrators can set one."""

    locked_down_at = models.DateTimeField(_("locked down"), null=True, blank=True, editable=False)
    """When an administrator locked the user down. The user stays disabled until that is undone."""

    skeleton = models.CharField(max_length=LONGEST_SKELETON, blank=True, editable=False)
    skeleton_copy = models.PositiveIntegerField(default=0, editable=False)
    """Distinguishes users with similar names from before the portal refused such names. Else it is 0."""

    objects: ClassVar[PeopleManager] = PeopleManager()

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        indexes = [models.Index(fields=["skeleton"], name="users_by_skeleton")]
        constraints = [
            # Otherwise a user enabled by raw SQL would keep the mark. If an administrator then disabled them
            # again, they could enable themselves by a mail.
            models.CheckConstraint(
                condition=models.Q(locked_at=None) | models.Q(is_active=False), name="locked_is_disabled"
            ),
            models.CheckConstraint(
                condition=models.Q(locked_down_at=None) | models.Q(is_active=False),
                name="user_locked_down_is_disabled",
            ),
            # Forms refuse look-alikes with a message. This constraint refuses the second of two concurrent
            # requests.
            models.UniqueConstraint(
                fields=["skeleton", "skeleton_copy"],
                condition=~models.Q(skeleton=""),
                name="username_looks_like_no_other",
                violation_error_message=LOOKS_ALIKE,
            ),
            models.UniqueConstraint(
                Lower("username"),
                name="username_whatever_case",
                violation_error_message=_(
                    "A user with this name already exists. Letter case does not count. Choose a different "
                    "name."
                ),
            ),
            models.UniqueConstraint(
                Lower("email"),
                condition=~models.Q(email=""),
                name="email_whatever_case",
                violation_error_message=_(
                    "Another user has this e-mail address. Remove it from that user first, or leave this "
                    "field empty."
                ),
            ),
        ]

    _password_replaced = False
    _kept_sign_in: SignIn | None = None

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the user. A new password ends the user's sign-ins, and so does disabling the user.

        A new password also opens a locked account, unless an administrator locked the user down.
        """
        # After a correct password, Django may only replace its hash. Django then resets `_password` first.
        replaced = getattr(self, "_password", None) is not None or self._password_replaced
        if replaced and self.locked_at and self.has_usable_password():
            self.is_active = self.locked_down_at is None
            self.locked_at, self.unlock_address = None, ""
            kwargs["update_fields"] = _with(kwargs.get("update_fields"), "is_active")
        if self.is_active:
            self.locked_at, self.unlock_address, self.locked_down_at = None, "", None
        fields = kwargs.get("update_fields")
        if fields is not None and "is_active" in fields:
            kwargs["update_fields"] = fields = _with(fields, *LOCK_FIELDS)
        if fields is None or "username" in fields:
            self.set_skeleton()
            kwargs["update_fields"] = fields and {*fields, "skeleton", "skeleton_copy"}
        super().save(*args, **kwargs)
        if replaced or not self.is_active:
            self._end_sign_ins()

    def set_skeleton(self) -> None:
        """Set the skeleton of the name. If it did not change, keep `skeleton_copy`."""
        found = skeleton(self.username)
        if found != self.skeleton:
            self.skeleton, self.skeleton_copy = found, 0

    def set_unusable_password(self) -> None:
        super().set_unusable_password()
        self._password_replaced = True

    def keep_sign_in(self, sign_in: SignIn | None) -> None:
        """Keep this sign-in when the user's new password is saved."""
        self._kept_sign_in = sign_in

    def _end_sign_ins(self) -> None:
        kept = self._kept_sign_in if self.is_active else None
        end_sign_ins(self.sign_ins.exclude(pk=kept.pk) if kept else self.sign_ins.all())
        self._password_replaced, self._kept_sign_in = False, None

    def get_full_name(self) -> str:
        return self.display_name or self.username

    def get_short_name(self) -> str:
        return self.get_full_name()


def _with(fields: Iterable[str] | None, *more: str) -> set[str] | None:
    """Return the fields of an update with `more` added, or None if all fields are saved."""
    return None if fields is None else {*fields, *more}
