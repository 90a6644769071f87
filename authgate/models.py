from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from authgate.encryption import EncryptedField
from authgate.event_words import label_of
from authgate.validation import (
    canonical_authority,
    canonical_methods,
    canonical_networks,
    canonical_origin,
    canonical_path,
)

LONGEST_TEXT = 500
"""Characters of an application's own texts, because every refused page loads them."""

LONGEST_MAINTENANCE = 1440
"""Minutes after which clients may be asked to try again: a day."""


class Application(models.Model):
    """An application that an administrator protects."""

    class UserHeader(models.TextChoices):
        USERNAME = "username", _("username")
        UUID = "uuid", _("UUID (stays the same after renaming)")

    class Challenges(models.TextChoices):
        BEARER = "bearer", _("Bearer")
        BASIC = "basic", _("Basic")
        BOTH = "both", _("Basic and Bearer")

    name = models.CharField(_("name"), max_length=100, unique=True)
    description = models.CharField(_("description"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_(
            "If disabled, no user has access. The origins stay reserved, so no wildcard takes them over."
        ),
    )
    locked_down_at = models.DateTimeField(_("locked down"), null=True, blank=True, editable=False)
    """When an administrator locked it down. Until that is undone, the application is disabled."""

    refusal_text = models.TextField(
        _("text on the refused page"),
        max_length=LONGEST_TEXT,
        blank=True,
        help_text=_("Such as whom to ask for access. Plain text, shown to signed-in users who are refused."),
    )
    maintenance = models.BooleanField(
        _("maintenance"),
        default=False,
        help_text=_(
            "Only owners and superusers can open the application, as its rules allow. Everyone else gets the "
            "text below, and clients status 503."
        ),
    )
    maintenance_text = models.TextField(
        _("text during maintenance"),
        max_length=LONGEST_TEXT,
        blank=True,
        help_text=_("Plain text, shown to everyone, also to visitors who are not signed in."),
    )
    maintenance_minutes = models.PositiveSmallIntegerField(
        _("try again after minutes"),
        default=15,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_MAINTENANCE)],
        help_text=_("Sent to clients as Retry-After. Default: 15."),
    )
    launch_url = models.URLField(
        _("start page"),
        blank=True,
        help_text=_("The page that the launcher opens. Default: the first origin without a wildcard."),
    )
    in_launcher = models.BooleanField(_("show in the launcher"), default=True)
    category = models.CharField(
        _("category"),
        max_length=60,
        blank=True,
        help_text=_(
            "The heading in the launcher, such as Finance. Spell it the same for every application in the "
            "category."
        ),
    )
    without_https = models.BooleanField(
        _("allow use without https"),
        default=False,
        help_text=_("For development only. Anyone on the network can read the cookies of http:// origins."),
    )
    user_header = models.CharField(
        _("content of X-Auth-Request-User"),
        max_length=10,
        choices=UserHeader.choices,
        default=UserHeader.USERNAME,
    )
    remote_headers = models.BooleanField(_("send Remote-User, -Email, -Groups, -Name"), default=False)
    forwarded_user_header = models.BooleanField(_("send X-Forwarded-User"), default=False)
    identity_jwt = models.BooleanField(
        _("send X-Ikd-Jwt"),
        default=False,
        help_text=_("The same data, signed by the portal. The keys are at /.well-known/jwks.json."),
    )
    username_header = models.BooleanField(_("send username"), default=False)
    access_token = models.BooleanField(
        _("send X-Auth-Request-Access-Token"),
        default=False,
        help_text=_(
            "The access token of the identity provider that the user signed in with. Anyone who can read "
            "it can use it there."
        ),
    )
    id_token = models.BooleanField(
        _("send Authorization: Bearer with the ID token of the identity provider"),
        default=False,
        help_text=_(
            "Replaces the header that the browser sends. Users whose headers exceed 4 KiB in total are "
            "refused. See the configuration events."
        ),
    )
    challenges = models.CharField(
        _("challenge for programs"),
        max_length=10,
        choices=Challenges.choices,
        default=Challenges.BEARER,
        help_text=_(
            "The challenge in a 401 response. docker, git, wget and WebDAV clients need Basic. They then "
            "send an API token as the password. Browsers never receive this challenge. Default: Bearer."
        ),
    )
    named_groups = models.ManyToManyField(
        Group,
        blank=True,
        verbose_name=_("groups sent to the application"),
        related_name="+",
        help_text=_("Default: all groups of the user."),
    )
    owners = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        blank=True,
        verbose_name=_("owners"),
        related_name="+",
        help_text=_("They answer requests for access. Without an owner, users cannot ask for access."),
    )
    owner_groups = models.ManyToManyField(
        Group,
        blank=True,
        verbose_name=_("owners by group"),
        related_name="+",
        help_text=_("All members are owners."),
    )
    shareable_groups = models.ManyToManyField(
        Group,
        blank=True,
        verbose_name=_("groups that owners may share with"),
        related_name="+",
        help_text=_(
            "Owners may add these groups and their members to rules that select groups and users. Default: "
            "owners add nobody."
        ),
    )

    backend = models.CharField(
        _("address behind the proxy"),
        max_length=255,
        blank=True,
        help_text=_(
            "Such as 10.0.0.5:8080. The configuration test reports if the application answers there "
            "without the proxy. Default: not tested."
        ),
    )

    class Meta:
        verbose_name = _("application")
        verbose_name_plural = _("applications")
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(locked_down_at=None) | models.Q(enabled=False),
                name="application_locked_down_is_disabled",
            )
        ]
        permissions = [
            ("explain_access", "Can explain access"),
            ("run_doctor", "Can test proxy configurations"),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the application. Enabling it also undoes a lockdown."""
        fields = kwargs.get("update_fields")
        if self.enabled:
            self.locked_down_at = None
            if fields is not None:
                kwargs["update_fields"] = {*fields, "locked_down_at"}
        super().save(*args, **kwargs)

    def clean(self) -> None:
        if self.launch_url and not self.launch_url.lower().startswith(("https://", "http://")):
            raise ValidationError({"launch_url": _("Enter an address that begins with https://.")})
        if self.backend:
            try:
                self.backend = canonical_authority(self.backend)
            except ValidationError as error:
                raise ValidationError({"backend": error}) from None


def new_icon_key() -> str:
    return secrets.token_hex(16)


class Icon(models.Model):
    """An application's icon, re-encoded from the upload."""

    application = models.OneToOneField(
        Application, models.CASCADE, primary_key=True, related_name="icon", verbose_name=_("application")
    )
    # Random rather than a digest: otherwise a client with a picture could find out whether it is used here.
    key = models.CharField(max_length=32, unique=True, editable=False, default=new_icon_key)
    content = models.BinaryField(editable=False)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.application)


class Favourite(models.Model):
    """An application that a user's launcher shows first."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    application = models.ForeignKey(Application, models.CASCADE, related_name="+")

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["user", "application"], name="favourite_once_for_each_user")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.application_id}"


class Origin(models.Model):
    """An origin of an application: `https://wiki.example.com` or `https://*.apps.example.com`."""

    application = models.ForeignKey(
        Application, models.CASCADE, related_name="origins", verbose_name=_("application")
    )
    value = models.CharField(
        _("origin"),
        max_length=300,
        unique=True,
        error_messages={
            "unique": _("Another application has this origin. Remove it from that application first.")
        },
        help_text=_(
            "Such as https://wiki.example.com. Use https://*.example.com for all names below it, "
            "at any depth."
        ),
    )

    class Meta:
        verbose_name = _("origin")
        verbose_name_plural = _("origins")
        ordering = ["value"]

    def __str__(self) -> str:
        return self.value

    def clean(self) -> None:
        if not self.value:
            return
        application = getattr(self, "application", None)
        try:
            self.value = canonical_origin(
                self.value, without_https=application is not None and application.without_https
            )
        except ValidationError as error:
            raise ValidationError({"value": error}) from None
        self._refuse_taken()

    def _refuse_taken(self) -> None:
        other = Origin.objects.filter(value=self.value).exclude(pk=self.pk).select_related("application")
        taken = other.first()
        if taken is None:
            return
        if taken.application_id == self.application_id:
            raise ValidationError({"value": _("The application already has this origin. Delete one entry.")})
        message = _(
            "%(origin)s belongs to the application “%(application)s”. Remove it from that application first."
        )
        names = {"origin": self.value, "application": taken.application}
        raise ValidationError({"value": ValidationError(message, code="unique", params=names)})


LONGEST_PROOF = 43_200
"""The longest time, in minutes, that a rule can set for a second factor: 30 days."""


class Rule(models.Model):
    """Grants access to a path scope of an application. Rules only grant."""

    class Who(models.TextChoices):
        EVERYONE = "everyone", _("everyone, including visitors who are not signed in")
        SIGNED_IN = "signed_in", _("any signed-in user")
        CHOSEN = "chosen", _("the groups and users selected here")

    application = models.ForeignKey(
        Application, models.CASCADE, related_name="rules", verbose_name=_("application")
    )
    path = models.CharField(
        _("path"),
        max_length=500,
        default="/",
        help_text=_("/ covers everything, /admin covers it and everything below."),
    )
    exact = models.BooleanField(_("exactly this path"), default=False)
    methods = models.CharField(
        _("methods"),
        max_length=200,
        blank=True,
        help_text=_("Such as GET POST. GET includes HEAD. Default: all methods."),
    )
    networks = models.TextField(
        _("client networks"),
        blank=True,
        help_text=_("Such as 10.0.0.0/8 2001:db8::/32. Default: all networks."),
    )
    who = models.CharField(_("access for"), max_length=10, choices=Who.choices, default=Who.CHOSEN)
    groups = models.ManyToManyField(Group, blank=True, verbose_name=_("groups"), related_name="+")
    users = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, verbose_name=_("users"), related_name="+"
    )
    second_factor = models.BooleanField(_("second factor required"), default=False)
    factor_minutes = models.PositiveIntegerField(
        _("second factor within the last minutes"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LONGEST_PROOF)],
        help_text=_(
            "If the user's second factor is older, the portal asks for it again. Default: if a rule "
            "requires one, it can be from any time in the sign-in."
        ),
    )
    passkey = models.BooleanField(
        _("passkey required"),
        default=False,
        help_text=_(
            "Only a passkey counts as second factor, within the minutes above if there are any. API tokens "
            "and JWTs never have one."
        ),
    )
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    only_watch = models.BooleanField(
        _("only watch"),
        default=False,
        help_text=_(
            "The rule decides nothing. The portal shows what it would do to real requests. Default: the rule "
            "decides."
        ),
    )
    note = models.CharField(_("note"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("rule")
        verbose_name_plural = _("rules")
        ordering = ["path", "pk"]

    def __str__(self) -> str:
        return f"{self.path} → {self.get_who_display()}"

    validated_with_siblings = False
    """Whether all rules of the application are validated together, because a form saves them together."""

    def clean(self) -> None:
        errors = {}
        for name, canonical in (
            ("path", canonical_path),
            ("methods", canonical_methods),
            ("networks", canonical_networks),
        ):
            try:
                setattr(self, name, canonical(getattr(self, name)))
            except ValidationError as error:
                errors[name] = error
        if errors:
            raise ValidationError(errors)
        if self.application_id and not self.validated_with_siblings:
            siblings = Rule.objects.filter(application_id=self.application_id).exclude(pk=self.pk)
            self.refuse_other_case(siblings.values_list("path", flat=True))

    def refuse_other_case(self, paths: Iterable[str]) -> None:
        """Raise ValidationError if one of `paths` equals this rule's path in other letter case."""
        for path in paths:
            if path != self.path and path.casefold() == self.path.casefold():
                message = _(
                    "There is also a rule for %(path)s, and some servers treat both paths as the same. "
                    "Spell both the same way."
                )
                raise ValidationError({"path": ValidationError(message, code="case", params={"path": path})})


class SignIn(models.Model):
    """A user's portal session in one browser. Its gate sessions end with it."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="sign_ins", verbose_name=_("user")
    )
    session_digest = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001
    started_at = models.DateTimeField(_("started"))
    last_seen_at = models.DateTimeField(_("last seen"))
    expires_at = models.DateTimeField(_("expires at the latest"), db_index=True)
    idle_timeout = models.PositiveIntegerField(_("idle timeout"), help_text=_("seconds"))
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True, db_index=True)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    user_agent = models.CharField(_("browser"), max_length=300, blank=True)
    keep = models.BooleanField(_("keep signed in"), default=False)
    methods = models.JSONField(_("sign-in method"), default=list)
    second_factor_at = models.DateTimeField(_("second factor confirmed"), null=True, blank=True)
    passkey_at = models.DateTimeField(_("passkey confirmed"), null=True, blank=True)
    remembered_device = models.BooleanField(_("second factor skipped on a remembered device"), default=False)

    class Meta:
        verbose_name = _("sign-in")
        verbose_name_plural = _("sign-ins")
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.user} · {timezone.localtime(self.started_at):%Y-%m-%d %H:%M}"


class GateSession(models.Model):
    """A browser's session on one protected origin. It belongs to a sign-in."""

    sign_in = models.ForeignKey(
        SignIn, models.CASCADE, related_name="gate_sessions", verbose_name=_("sign-in")
    )
    origin = models.CharField(_("origin"), max_length=300)
    token_digest = models.BinaryField(max_length=32, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"))
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("gate session")
        verbose_name_plural = _("gate sessions")
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["origin", "created_at"], name="gatesession_origin_created"),
            models.Index(
                fields=["ended_at"], condition=models.Q(ended_at__isnull=False), name="gatesession_ended"
            ),
        ]

    def __str__(self) -> str:
        return self.origin


class AuditEvent(models.Model):
    """An event for which an administrator may be accountable. Append-only."""

    at = models.DateTimeField(_("time"), db_index=True)
    kind = models.CharField(_("event"), max_length=40)
    actor = models.CharField(_("actor"), max_length=150, blank=True)
    subject = models.CharField(_("affected user"), max_length=150, blank=True)
    application = models.CharField(_("application"), max_length=100, blank=True)
    decision_id = models.CharField(_("decision"), max_length=20, blank=True, db_index=True)
    reason = models.CharField(_("reason"), max_length=100, blank=True)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    details = models.JSONField(_("details"), default=dict, blank=True)

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        ordering = ["-at", "-pk"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["subject", "-at"], name="events_about_somebody"),
            models.Index(fields=["kind", "at"], name="events_of_a_kind"),
            models.Index(fields=["application", "-at"], name="events_of_an_application"),
        ]

    def __str__(self) -> str:
        return f"{timezone.localtime(self.at):%Y-%m-%d %H:%M:%S} {label_of(self.kind)}"


class ConfigurationEvent(models.Model):
    """A mistake in a proxy's configuration, counted by contract, origin and reason."""

    contract = models.CharField(_("contract"), max_length=20)
    origin = models.CharField(_("origin"), max_length=300, blank=True)
    reason = models.CharField(_("reason"), max_length=60)
    count = models.PositiveBigIntegerField(_("count"), default=0)
    first_at = models.DateTimeField(_("first"))
    last_at = models.DateTimeField(_("last"))

    class Meta:
        verbose_name = _("configuration event")
        verbose_name_plural = _("configuration events")
        ordering = ["-last_at"]
        default_permissions = ("view", "delete")
        constraints = [
            models.UniqueConstraint(fields=["contract", "origin", "reason"], name="one_counter_each")
        ]

    def __str__(self) -> str:
        return f"{self.contract} {self.origin} {self.reason}"


class KeyRow(models.Model):
    """A private key that signs from a certain time on. Each kind of signature has its own table."""

    kid = models.CharField(max_length=40, unique=True)
    private_key = EncryptedField(editable=False)
    signs_from = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True
        default_permissions = ()
        ordering = ["signs_from", "pk"]

    def __str__(self) -> str:
        return self.kid


class SigningKey(KeyRow):
    """A private key that signs X-Ikd-Jwt."""


class Change(models.Model):
    """A row of the change feed. Database triggers write it, and workers then forget what they hold."""

    kind = models.CharField(max_length=16)
    key = models.BigIntegerField(null=True)
    transaction_id = models.BigIntegerField(null=True, db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class JournalEntry(models.Model):
    """A change of a row that access depends on. Append-only: database triggers write and protect it.

    `change` is the same for all rows that one transaction changed; None if that is not known. `person`,
    `team` and `application` are the keys of the user, group and application that the change concerns.
    """

    at = models.DateTimeField(_("time"), db_index=True)
    change = models.BigIntegerField(null=True, db_index=True)
    actor = models.CharField(_("changed by"), max_length=150, blank=True)
    table_name = models.CharField(max_length=60)
    key = models.BigIntegerField()
    before = models.JSONField(_("before"), null=True)
    after = models.JSONField(_("after"), null=True)
    person = models.BigIntegerField(null=True)
    team = models.BigIntegerField(null=True)
    application = models.BigIntegerField(null=True)
    is_baseline = models.BooleanField(default=False)
    """Whether this entry is a row's content at the time when the journal began."""

    class Meta:
        verbose_name = pgettext_lazy("journal", "change")
        verbose_name_plural = pgettext_lazy("journal", "changes")
        ordering = ["-pk"]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["table_name", "key", "id"], name="journal_of_a_row"),
            *(
                models.Index(
                    fields=[name, "id"],
                    name=f"journal_of_{name}",
                    condition=models.Q(**{f"{name}__isnull": False}),
                )
                for name in ("person", "team", "application")
            ),
        ]

    def __str__(self) -> str:
        return f"{timezone.localtime(self.at):%Y-%m-%d %H:%M:%S} {self.table_name} {self.key}"


class JournalContext(models.Model):
    """Data of the current transaction for the journal's triggers on SQLite. Empty outside of transactions."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    actor = models.CharField(max_length=150)
    number = models.BigIntegerField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.actor


class JournalGap(models.Model):
    """A period in which the journal lacks changes. Its end is None while the period continues."""

    BEGINNING, RETENTION, RESTORED, MIGRATION = "beginning", "retention", "restored", "migration"

    since = models.DateTimeField(null=True)
    until = models.DateTimeField(null=True)
    reason = models.CharField(max_length=20)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.since} {self.until}"


class Lease(models.Model):
    """The right of one process to do a job that only one process should do at a time."""

    name = models.CharField(primary_key=True, max_length=40)
    holder = models.CharField(max_length=40)
    until = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class DoctorReport(models.Model):
    """The findings of an application's last configuration test; without an application, of the portal's."""

    application = models.OneToOneField(
        Application, models.CASCADE, null=True, related_name="doctor_report", verbose_name=_("application")
    )
    at = models.DateTimeField(_("time"))
    level = models.CharField(max_length=4)
    findings = models.JSONField(default=list)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.application_id} {self.level}"


class KeptPage(models.Model):
    """An address that a sign-in returns to, and that is too long for a URL or has a fragment.

    The signed state of the attempt names it by `key`.
    """

    key = models.CharField(primary_key=True, max_length=43)
    network = models.CharField(max_length=64)
    address = EncryptedField()
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["network", "expires_at"], name="keptpage_network_expires")]

    def __str__(self) -> str:
        return self.network


class RequestCount(models.Model):
    """A day's number of requests from a person that an application's rule decided, by method.

    `person` is a user's id; 0 for visitors who are not signed in. `rule` is the rule that admitted, or the
    first rule that did not; 0 if no rule covers the path. There are no foreign keys: workers write in
    batches, and a row that was deleted meanwhile must not make a batch fail.
    """

    day = models.DateField(db_index=True)
    application = models.ForeignKey(
        Application, models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    person = models.PositiveBigIntegerField()
    rule = models.PositiveBigIntegerField()
    method = models.CharField(max_length=7)
    allowed = models.PositiveBigIntegerField(default=0)
    refused = models.PositiveBigIntegerField(default=0)
    asked = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["application", "day"], name="requestcount_application_day")]
        constraints = [
            models.UniqueConstraint(
                fields=["person", "application", "day", "rule", "method"], name="requestcount_once_a_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.application_id} {self.person}"


class TrialCount(models.Model):
    """The decisions that a rule which only watches would have made on a person's requests of a day.

    `version` identifies the rule's content at that time. `person` is a user's id; 0 for visitors. `change` is
    what the rule would have changed. There is no foreign key to the rule: see `RequestCount`.
    """

    class Change(models.TextChoices):
        NONE = "none", _("decided the same")
        ADMITTED = "admitted", _("would be allowed")
        REFUSED = "refused", _("would be refused")
        ASKED = "asked", _("would be asked for a sign-in or a second factor")
        LEFT_OUT = "left out", _("not compared")

    day = models.DateField(db_index=True)
    rule = models.PositiveBigIntegerField()
    version = models.CharField(max_length=16)
    person = models.PositiveBigIntegerField()
    change = models.CharField(max_length=8, choices=Change.choices)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "version", "day", "person", "change"], name="trialcount_once_a_day"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.rule} {self.change}"
