"""Identity providers, their links to users, and their sessions."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from authgate.encryption import EncryptedField
from authgate.models import new_icon_key

LONGEST_SUBJECT = 255
"""Characters, the maximum of `sub` (OpenID Connect Core, section 2)."""

LONGEST_VALUE = 300
"""Characters of a claim's value that is mapped to a group."""

_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")


class Upstream(models.Model):
    """An identity provider: OpenID Connect or CAS."""

    class Kind(models.TextChoices):
        OIDC = "oidc", "OpenID Connect"
        CAS = "cas", "CAS"

    class Linking(models.TextChoices):
        NEVER = "never", _("never: users link their accounts themselves while signed in")
        VERIFIED_EMAIL = "email", _("by verified e-mail address in a trusted domain")

    class CasVersion(models.IntegerChoices):
        TWO = 2, "CAS 2"
        THREE = 3, "CAS 3"

    kind = models.CharField(_("kind"), max_length=4, choices=Kind.choices, default=Kind.OIDC)
    name = models.CharField(
        _("name"), max_length=100, unique=True, help_text=_("Shown on the sign-in button.")
    )
    slug = models.SlugField(
        _("name in URLs"),
        unique=True,
        help_text=_("Part of the redirect URI that you register with the provider."),
    )
    enabled = models.BooleanField(
        _("enabled"), default=True, help_text=_("Disabling the provider ends all sign-ins made with it.")
    )
    icon = models.CharField(
        _("icon"),
        max_length=2,
        blank=True,
        help_text=_("One or two letters, or an emoji, shown on the button."),
    )
    order = models.PositiveSmallIntegerField(_("order"), default=0)
    is_default = models.BooleanField(
        _("default provider"),
        default=False,
        help_text=_(
            "The sign-in page redirects to this provider. The password form stays available at ?local=1."
        ),
    )

    # ---- users ----

    create_users = models.BooleanField(
        _("create accounts"),
        default=True,
        help_text=_("New users who sign in with this provider get an account."),
    )
    linking = models.CharField(
        _("link existing accounts"), max_length=5, choices=Linking.choices, default=Linking.NEVER
    )
    trusted_email_domains = models.TextField(
        _("trusted e-mail domains"),
        blank=True,
        help_text=_(
            "One per line. Addresses in other domains are not trusted. If empty, no address is trusted."
        ),
    )
    trusts_every_address = models.BooleanField(
        _("trust every e-mail address"),
        default=False,
        help_text=_(
            "Addresses in all domains count as verified, unless the provider says that one is not. If "
            "users can choose their address there, anyone can claim the address of another user. This "
            "affects the portal, its applications and, if accounts are linked by address, accounts. If "
            "off, only the domains above are trusted."
        ),
    )
    groups_claim = models.CharField(
        _("groups claim"),
        max_length=200,
        blank=True,
        help_text=_(
            "A claim such as groups. Each of its values becomes a group of this provider, and users join "
            "and leave it with the claim. Local groups with the same name are never used. If empty, only "
            "the mappings below apply."
        ),
    )
    groups_prefix = models.CharField(
        _("prefix"),
        max_length=50,
        blank=True,
        help_text=_(
            "Added before each group name, such as campus-. Without a prefix, applications cannot "
            "distinguish these groups from yours."
        ),
    )
    groups_pattern = models.TextField(
        _("allowed values"),
        blank=True,
        help_text=_("Patterns, one per line, such as portal-*. Case-sensitive. Default: all values."),
    )
    second_factor_values = models.TextField(
        _("counts as second factor"),
        blank=True,
        help_text=_(
            "Values of amr or acr, one per line, such as mfa or otp. If empty, the provider never counts."
        ),
    )
    recheck_every = models.PositiveIntegerField(
        _("recheck interval"),
        default=0,
        help_text=_(
            "In seconds. The portal uses the refresh token to check that the sign-in is still "
            "valid at the provider. 0 disables the check."
        ),
    )
    max_lifetime = models.PositiveIntegerField(
        _("sign-in lifetime"),
        default=0,
        validators=[MaxValueValidator(10 * 365 * 86400)],
        help_text=_("In seconds. 0 uses the lifetime of all sign-ins."),
    )
    trusted_for_machines = models.BooleanField(
        _("accept tokens from programs"),
        default=False,
        help_text=_("Programs can send a JWT of this provider as a bearer token."),
    )
    machine_audience = models.CharField(
        _("audience of these tokens"),
        max_length=255,
        blank=True,
        help_text=_("Required if the option above is on."),
    )
    allow_private = models.BooleanField(
        _("allow private addresses"),
        default=False,
        help_text=_(
            "The provider can have addresses in a private network or on this machine, and can then "
            "use http://."
        ),
    )

    # ---- OpenID Connect ----

    issuer = models.CharField(
        _("issuer"),
        max_length=500,
        blank=True,
        help_text=_("Exactly as in the discovery document of the provider."),
    )
    client_id = models.CharField(_("client ID"), max_length=255, blank=True)
    client_secret = EncryptedField(_("client secret"), blank=True, default="")
    scopes = models.CharField(_("scopes"), max_length=300, blank=True, default="openid profile email")

    # ---- CAS ----

    server_url = models.CharField(_("server"), max_length=500, blank=True)
    cas_version = models.PositiveSmallIntegerField(
        _("version"), choices=CasVersion.choices, default=CasVersion.THREE
    )
    ticket_prefix = models.CharField(_("ticket prefix"), max_length=20, blank=True, default="ST-")

    class Meta:
        verbose_name = _("identity provider")
        verbose_name_plural = _("identity providers")
        ordering = ["order", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=models.Q(is_default=True),
                name="one_default_upstream",
                violation_error_message=_("Another identity provider is the default. Change that one first."),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_oidc(self) -> bool:
        return self.kind == self.Kind.OIDC

    def trusts_address(self, email: str) -> bool:
        """Return whether the provider's claim about an address of this domain is trusted."""
        domain = email.rpartition("@")[2].lower()
        return bool(domain) and (self.trusts_every_address or domain in self.trusted_email_domains.split())

    def clean(self) -> None:
        errors: dict[str, Any] = {}
        for name in self._required():
            if not getattr(self, name):
                errors[name] = _("This field is required.")
        for name in ("issuer", "server_url"):
            if getattr(self, name) and name not in errors:
                self._clean_address(name, errors)
        self._clean_domains(errors)
        if self.is_oidc and "openid" not in self.scopes.split():
            errors["scopes"] = _("Include openid. Without it there is no ID token.")
        if "machine_audience" not in errors:
            self._clean_audience(errors)
        if self._would_take_over():
            errors["issuer" if self.is_oidc else "server_url"] = _(
                "Users are linked with this address, so it cannot change. Add another identity provider "
                "instead."
            )
        if errors:
            raise ValidationError(errors)

    def _required(self) -> tuple[str, ...]:
        of_kind = ("issuer", "client_id") if self.is_oidc else ("server_url",)
        return (*of_kind, "machine_audience") if self.trusted_for_machines else of_kind

    def _clean_address(self, name: str, errors: dict[str, Any]) -> None:
        text = getattr(self, name).strip()
        setattr(self, name, text)
        try:
            parts = urlsplit(text)
            strange = not parts.hostname or parts.port == 0 or parts.username is not None
        except ValueError:
            strange = True
        if strange or parts.query or parts.fragment or not text.isascii() or not text.isprintable():
            errors[name] = _("Enter a URL such as https://id.example.com, without a query or fragment.")
        elif parts.scheme != "https" and not (parts.scheme == "http" and self.allow_private):
            errors[name] = _(
                "It must begin with https://. To use http:// in a private network, allow "
                "private addresses below."
            )

    def _clean_domains(self, errors: dict[str, Any]) -> None:
        domains = [line.strip().lower().removeprefix("@") for line in self.trusted_email_domains.split()]
        wrong = [domain for domain in domains if not _DOMAIN.fullmatch(domain)]
        if wrong:
            errors["trusted_email_domains"] = _("Not a domain: %(domain)s") % {"domain": wrong[0][:100]}
        self.trusted_email_domains = "\n".join(dict.fromkeys(domains))

    @classmethod
    def client_ids_at(cls, issuer: str) -> frozenset[str]:
        """Return the portal's client ids at an issuer, including those of disabled rows. One query."""
        clients = cls.objects.filter(kind=cls.Kind.OIDC, issuer=issuer).exclude(client_id="")
        return frozenset(clients.values_list("client_id", flat=True))

    def _clean_audience(self, errors: dict[str, Any]) -> None:
        """Refuse a client id of the portal as the audience of programs: ID tokens have that audience."""
        taken = self.client_ids_at(self.issuer) | {self.client_id}
        if self.trusted_for_machines and self.machine_audience in taken:
            errors["machine_audience"] = _(
                "This is a client ID of the portal. Applications receive ID tokens with this audience, and "
                "such a token would open every other application. Use a separate audience for programs."
            )
        others = Upstream.objects.filter(kind=self.Kind.OIDC, issuer=self.issuer).exclude(pk=self.pk)
        if others.filter(trusted_for_machines=True, machine_audience=self.client_id).exists():
            errors["client_id"] = _(
                "Another identity provider with this issuer already uses this audience for programs."
            )

    def _would_take_over(self) -> bool:
        """Return whether users would be linked to subjects of another provider."""
        if self.pk is None:
            return False
        before = Upstream.objects.filter(pk=self.pk).values_list("kind", "issuer", "server_url").first()
        changed = before is not None and before != (self.kind, self.issuer, self.server_url)
        return changed and self.identities.exists()


class UpstreamPicture(models.Model):
    """The picture on a provider's button, which replaces the letters. The portal redraws the upload."""

    upstream = models.OneToOneField(
        Upstream,
        models.CASCADE,
        primary_key=True,
        related_name="picture",
        verbose_name=_("identity provider"),
    )
    key = models.CharField(max_length=32, unique=True, editable=False, default=new_icon_key)
    content = models.BinaryField(editable=False)

    class Meta:
        verbose_name = _("provider picture")
        verbose_name_plural = _("provider pictures")
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.upstream)


class ClaimMapping(models.Model):
    """The claim that fills a field of the user at each sign-in."""

    class Field(models.TextChoices):
        USERNAME = "username", _("username (for new accounts)")
        DISPLAY_NAME = "display_name", _("display name")
        EMAIL = "email", _("e-mail address")

    upstream = models.ForeignKey(
        Upstream, models.CASCADE, related_name="claim_mappings", verbose_name=_("identity provider")
    )
    claim = models.CharField(_("claim"), max_length=200)
    field = models.CharField(_("field"), max_length=12, choices=Field.choices)

    class Meta:
        verbose_name = _("claim mapping")
        verbose_name_plural = _("claim mappings")
        constraints = [models.UniqueConstraint(fields=["upstream", "field"], name="one_claim_for_a_field")]

    def __str__(self) -> str:
        return f"{self.claim} → {self.field}"


class GroupMapping(models.Model):
    """The value of a claim that adds users to a group. Without a claim, it applies to all users."""

    class Mode(models.TextChoices):
        ADD = "add", _("add only")
        MIRROR = "mirror", _("add and remove")

    upstream = models.ForeignKey(
        Upstream, models.CASCADE, related_name="group_mappings", verbose_name=_("identity provider")
    )
    claim = models.CharField(
        _("claim"), max_length=200, blank=True, help_text=_("If empty, the mapping applies to all users.")
    )
    value = models.CharField(_("value"), max_length=LONGEST_VALUE, blank=True)
    group = models.ForeignKey(Group, models.CASCADE, related_name="+", verbose_name=_("group"))
    mode = models.CharField(_("mode"), max_length=6, choices=Mode.choices, default=Mode.ADD)
    made_by_superuser = models.BooleanField(default=False, editable=False)

    class Meta:
        verbose_name = _("group mapping")
        verbose_name_plural = _("group mappings")
        constraints = [
            models.UniqueConstraint(
                fields=["upstream", "claim", "value", "group"], name="one_mapping_for_a_value_and_group"
            )
        ]

    def __str__(self) -> str:
        return f"{self.claim}={self.value} → {self.group}" if self.claim else f"* → {self.group}"

    def clean(self) -> None:
        if bool(self.claim) != bool(self.value):
            raise ValidationError(_("Enter both a claim and a value, or leave both empty for all users."))


class UpstreamGroup(models.Model):
    """A group that the portal created for a value of a provider's claim.

    If the portal imports all groups of a provider, it changes members of only these groups.
    """

    group = models.OneToOneField(
        Group, models.CASCADE, primary_key=True, related_name="upstream_group", verbose_name=_("group")
    )
    upstream = models.ForeignKey(
        Upstream, models.CASCADE, related_name="groups", verbose_name=_("identity provider")
    )
    value = models.CharField(_("value"), max_length=LONGEST_VALUE)

    class Meta:
        verbose_name = _("provider group")
        verbose_name_plural = _("provider groups")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["upstream", "value"], name="one_group_for_a_value")]

    def __str__(self) -> str:
        return str(self.group)


class Identity(models.Model):
    """The link from a provider's subject to a user."""

    upstream = models.ForeignKey(
        Upstream, models.CASCADE, related_name="identities", verbose_name=_("identity provider")
    )
    subject = models.CharField(
        _("subject"),
        max_length=LONGEST_SUBJECT,
        help_text=_(
            "The exact sub claim of its tokens. For CAS, the user name. Any user or program with this "
            "subject acts as the user selected here."
        ),
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="identities", verbose_name=_("user")
    )
    created_at = models.DateTimeField(_("linked"), auto_now_add=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)

    class Meta:
        verbose_name = _("identity")
        verbose_name_plural = _("identities")
        ordering = ["upstream", "subject"]
        constraints = [
            models.UniqueConstraint(
                fields=["upstream", "subject"],
                name="one_user_for_a_subject",
                violation_error_message=_("This subject is already linked to a user. Unlink it first."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.upstream} · {self.subject}"


class UpstreamSession(models.Model):
    """A sign-in's session at its provider, with its tokens. If the row is deleted, the sign-in ends.

    `tried_at` is when a process took the lease to ask the provider again. `wants_tokens` is true if an
    application receives the tokens. The portal then renews them before they expire.
    """

    sign_in = models.OneToOneField(
        "authgate.SignIn", models.CASCADE, related_name="upstream_session", verbose_name=_("sign-in")
    )
    upstream = models.ForeignKey(
        Upstream, models.CASCADE, related_name="sessions", verbose_name=_("identity provider")
    )
    subject = models.CharField(_("subject"), max_length=LONGEST_SUBJECT)
    sid = models.CharField(_("provider session"), max_length=255, blank=True)
    ticket_digest = models.CharField(max_length=64, blank=True, editable=False)
    id_token = EncryptedField(blank=True, default="", editable=False)
    access_token = EncryptedField(blank=True, default="", editable=False)
    refresh_token = EncryptedField(blank=True, default="", editable=False)
    expires_at = models.DateTimeField(_("access token expires"), null=True, blank=True)
    checked_at = models.DateTimeField(_("last checked"))
    tried_at = models.DateTimeField(null=True, blank=True, editable=False)
    wants_tokens = models.BooleanField(default=False, editable=False)
    methods = models.JSONField(_("amr"), default=list)
    context = models.CharField(_("acr"), max_length=255, blank=True)
    has_second_factor = models.BooleanField(_("second factor at the provider"), default=False)

    class Meta:
        verbose_name = _("identity provider session")
        verbose_name_plural = _("identity provider sessions")
        indexes = [
            models.Index(fields=["upstream", "sid"], name="upstream_session_by_sid"),
            models.Index(fields=["upstream", "subject"], name="upstream_session_by_subject"),
            models.Index(fields=["upstream", "ticket_digest"], name="upstream_session_by_ticket"),
        ]

    def __str__(self) -> str:
        return f"{self.upstream} · {self.subject}"
