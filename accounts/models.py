from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.contrib.auth.models import Group as DjangoGroup
from django.contrib.sessions.base_session import AbstractBaseSession
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.look_alikes import LONGEST_SKELETON, readings, skeleton

if TYPE_CHECKING:
    from authgate.models import SignIn


LOOKS_ALIKE = _("Another user has a name that looks the same. Choose another.")


class PeopleManager(UserManager["User"]):
    def look_alikes(self, username: str) -> QuerySet[User]:
        """Return the users whose name a reader could take for this one."""
        return self.filter(skeleton__in=readings(username))

    def bulk_create(self, objs: Iterable[User], *args: Any, **kwargs: Any) -> list[User]:
        users = list(objs)
        for user in users:
            user.note_skeleton()
        return super().bulk_create(users, *args, **kwargs)

    def _create_user_object(self, username: str, *args: Any, **kwargs: Any) -> User:
        """Make a user for `createsuperuser` and `create_user`. Raises ValidationError for a look-alike."""
        if self.look_alikes(username).exists():
            raise ValidationError(LOOKS_ALIKE, code="look_alike")
        user: User = super()._create_user_object(username, *args, **kwargs)  # type: ignore[misc]
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(username__iexact=username)


class User(AbstractUser):
    """A person. `username` and `email` are unique whatever their letter case."""

    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    email = models.EmailField(_("e-mail address"), blank=True)
    display_name = models.CharField(_("display name"), max_length=150, blank=True)

    language = models.CharField(_("language"), max_length=10, blank=True, editable=False)
    """The one in which they used the portal last."""

    skeleton = models.CharField(max_length=LONGEST_SKELETON, blank=True, editable=False)
    skeleton_copy = models.PositiveIntegerField(default=0, editable=False)
    """Numbers users who looked alike before that was refused. A new name is always 0."""

    objects: ClassVar[PeopleManager] = PeopleManager()

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        indexes = [models.Index(fields=["skeleton"], name="users_by_skeleton")]
        constraints = [
            # Forms refuse look-alikes with words; this one stops two that come at the same moment.
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
                    "There is a user of this name already, perhaps in other letter case. Choose another."
                ),
            ),
            models.UniqueConstraint(
                Lower("email"),
                condition=~models.Q(email=""),
                name="email_whatever_case",
                violation_error_message=_(
                    "Another user has this e-mail address. Remove it there first, or leave it empty here."
                ),
            ),
        ]

    _password_replaced = False
    _kept_sign_in: SignIn | None = None

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save. A new password, and being disabled, end the person's sign-ins."""
        # A hash made anew after a right password is no new password: Django takes `_password` back then.
        replaced = getattr(self, "_password", None) is not None or self._password_replaced
        fields = kwargs.get("update_fields")
        if fields is None or "username" in fields:
            self.note_skeleton()
            kwargs["update_fields"] = fields and {*fields, "skeleton", "skeleton_copy"}
        super().save(*args, **kwargs)
        if replaced or not self.is_active:
            self._end_sign_ins()

    def note_skeleton(self) -> None:
        """Note what the name looks like. A user who looked like another before keeps that number."""
        found = skeleton(self.username)
        if found != self.skeleton:
            self.skeleton, self.skeleton_copy = found, 0

    def set_unusable_password(self) -> None:
        super().set_unusable_password()
        self._password_replaced = True

    def keep_sign_in(self, sign_in: SignIn | None) -> None:
        """Spare the sign-in in which a person changes their own password when it is saved."""
        self._kept_sign_in = sign_in

    def _end_sign_ins(self) -> None:
        from authgate.sign_ins import end_sign_ins

        kept = self._kept_sign_in if self.is_active else None
        end_sign_ins(self.sign_ins.exclude(pk=kept.pk) if kept else self.sign_ins.all())
        self._password_replaced, self._kept_sign_in = False, None

    def get_full_name(self) -> str:
        return self.display_name or self.username

    def get_short_name(self) -> str:
        return self.get_full_name()


class Group(DjangoGroup):
    """Django's group, shown beside the users."""

    class Meta:
        proxy = True
        verbose_name = _("group")
        verbose_name_plural = _("groups")


class StrictGroup(models.Model):
    """A group whose members open nothing without a second factor."""

    group = models.OneToOneField(
        DjangoGroup,
        models.CASCADE,
        primary_key=True,
        related_name="strict_group",
        verbose_name=_("group"),
    )

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.group)


class Invitation(models.Model):
    """A link that makes one account. Only SHA-256 of its token is kept."""

    token_digest = models.BinaryField(max_length=32, unique=True, editable=False)
    email = models.EmailField(
        _("e-mail address"),
        blank=True,
        help_text=_("The link is mailed to it, and it counts as confirmed. Empty: copy the link yourself."),
    )
    groups = models.ManyToManyField(DjangoGroup, blank=True, related_name="+", verbose_name=_("groups"))
    made_by = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="invitations", verbose_name=_("made by")
    )
    by_superuser = models.BooleanField(_("made by a superuser"), default=False, editable=False)
    is_by_oneself = models.BooleanField(_("by registering"), default=False, editable=False)
    created_at = models.DateTimeField(_("made"))
    expires_at = models.DateTimeField(_("expires"))
    used_at = models.DateTimeField(_("used"), null=True, blank=True)
    used_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("used by")
    )

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return self.email or f"{self.created_at:%Y-%m-%d %H:%M}"


class ApiToken(models.Model):
    """A credential that a program uses in its owner's name, at the applications chosen for it.

    Only SHA-256 of the token is kept: whoever reads the table gains no access.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="api_tokens", verbose_name=_("user"))
    name = models.CharField(_("name"), max_length=100)
    applications = models.ManyToManyField(
        "authgate.Application", related_name="+", verbose_name=_("applications")
    )
    token_digest = models.BinaryField(max_length=32, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("expires"))
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["-created_at", "-pk"]
        indexes = [models.Index(fields=["user", "-created_at"], name="tokens_of_a_user")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_live(self) -> bool:
        return self.ended_at is None and self.expires_at > timezone.now()


class Brand(models.Model):
    """What the portal is called and looks like. There is one row at most."""

    THE_ONE = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=THE_ONE, editable=False)
    name = models.CharField(
        _("name"), max_length=60, default="ikD Portal", help_text=_("Stands at the top of every page.")
    )
    accent = models.CharField(
        _("accent colour"),
        max_length=7,
        blank=True,
        validators=[
            RegexValidator(r"\A#[0-9a-fA-F]{6}\Z", _("Write # and six hexadecimal digits, such as #14594f."))
        ],
        help_text=_(
            "Such as #14594f, for links and buttons; empty: the portal's own. "
            "Where it could not be read, pages show a darker or a lighter one."
        ),
    )
    logo = models.BinaryField(null=True, editable=False)
    logo_digest = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        verbose_name = _("brand")
        verbose_name_plural = _("brand")
        default_permissions = ("view", "change")
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_brand")]

    def __str__(self) -> str:
        return self.name


class RememberedDevice(models.Model):
    """A browser on which a person is asked for the password alone, until it ends or they forget it."""

    user = models.ForeignKey(User, models.CASCADE, related_name="remembered_devices", verbose_name=_("user"))
    token_digest = models.BinaryField(max_length=32, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    user_agent = models.CharField(_("browser"), max_length=300, blank=True)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("expires"))
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)

    class Meta:
        verbose_name = _("remembered device")
        verbose_name_plural = _("remembered devices")
        constraints = [
            models.UniqueConstraint(fields=["token_digest", "user"], name="device_of_a_person_once")
        ]

    def __str__(self) -> str:
        return self.user_agent


class PortalSession(AbstractBaseSession):
    """Django's session under SHA-256 of its key: a reader of the table gains no session."""

    # Longer than Django's own: a digest in hexadecimal. SQLite does not mind, PostgreSQL does.
    session_key = models.CharField(_("session key"), max_length=64, primary_key=True)

    class Meta:
        verbose_name = _("portal session")
        verbose_name_plural = _("portal sessions")

    @classmethod
    def get_session_store_class(cls) -> type:
        from accounts.sign_in.session_store import SessionStore

        return SessionStore


# Django looks for an app's models here.
from accounts.upstreams.models import (  # noqa: E402, F401
    ClaimMapping,
    GroupMapping,
    Identity,
    Upstream,
    UpstreamGroup,
    UpstreamPicture,
    UpstreamSession,
)
