"""Identity providers, the users whom they know, and their sessions."""

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
        NEVER = "never", _("never: people link their account themselves, while signed in")
        VERIFIED_EMAIL = "email", _("by verified e-mail address of a trusted domain")

    class CasVersion(models.IntegerChoices):
        TWO = 2, "CAS 2"
        THREE = 3, "CAS 3"

    kind = models.CharField(_("kind"), max_length=4, choices=Kind.choices, default=Kind.OIDC)
    name = models.CharField(_("name"), max_length=100, unique=True, help_text=_("As the button says it."))
    slug = models.SlugField(
        _("name in addresses"), unique=True, help_text=_("Part of the redirect URI that the provider knows.")
    )
    enabled = models.BooleanField(
        _("enabled"), default=True, help_text=_("Switched off, the sign-ins that came by it end.")
    )
    icon = models.CharField(
        _("icon"), max_length=2, blank=True, help_text=_("One or two letters, or an emoji, for the button.")
    )
    order = models.PositiveSmallIntegerField(_("order"), default=0)
    is_default = models.BooleanField(
        _("goes straight there"),
        default=False,
        help_text=_("The sign-in page leads to it at once. The password form stays at ?local=1."),
    )

    # ---- users ----

    create_users = models.BooleanField(
        _("makes accounts"), default=True, help_text=_("Whoever comes for the first time gets an account.")
    )
    linking = models.CharField(
        _("links existing accounts"), max_length=5, choices=Linking.choices, default=Linking.NEVER
    )
    trusted_email_domains = models.TextField(
        _("trusted e-mail domains"),
        blank=True,
        help_text=_("One a line. Of other domains, and if empty of all, its word on addresses is not taken."),
    )
    trusts_every_address = models.BooleanField(
        _("every e-mail address is trusted"),
        default=False,
        help_text=_(
            "Its addresses of all domains count as verified, unless it says that one is not. If people can"
            " choose their address there, anyone can take another person's: here, at applications, and with"
            " links by address also their account. Off: only the domains above."
        ),
    )
    groups_claim = models.CharField(
        _("take all groups of the claim"),
        max_length=200,
        blank=True,
        help_text=_(
            "Such as groups. Every value becomes a group of this provider, which people enter and leave with"
            " it. Local groups are never taken, whatever their name. Empty: only the mappings below."
        ),
    )
    groups_prefix = models.CharField(
        _("prefix"),
        max_length=50,
        blank=True,
        help_text=_(
            "Put before each name, such as campus-. Without it, applications cannot tell these groups from"
            " yours."
        ),
    )
    groups_pattern = models.TextField(
        _("only these"),
        blank=True,
        help_text=_("Patterns of values, one a line, such as portal-* (case matters). Empty: all."),
    )
    second_factor_values = models.TextField(
        _("counts as second factor"),
        blank=True,
        help_text=_("Values of amr or acr, one a line, such as mfa or otp. Empty: never."),
    )
    recheck_every = models.PositiveIntegerField(
        _("asked again every"),
        default=0,
        help_text=_("Seconds, 0 for never: whether the sign-in still counts there, by its refresh token."),
    )
    max_lifetime = models.PositiveIntegerField(
        _("sign-ins end after"),
        default=0,
        validators=[MaxValueValidator(10 * 365 * 86400)],
        help_text=_("Seconds, 0 for what holds of every sign-in."),
    )
    trusted_for_machines = models.BooleanField(
        _("its tokens are credentials"),
        default=False,
        help_text=_("Programs may send a JWT of this provider as bearer token."),
    )
    machine_audience = models.CharField(
        _("audience of such tokens"), max_length=255, blank=True, help_text=_("Required with the above.")
    )
    allow_private = models.BooleanField(
        _("may be inside the network"),
        default=False,
        help_text=_("Its addresses may be private or this machine's own, then also with http://."),
    )

    # ---- OpenID Connect ----

    issuer = models.CharField(
        _("issuer"),
        max_length=500,
        blank=True,
        help_text=_("Exactly as the provider's discovery document has it."),
    )
    client_id = models.CharField(_("client id"), max_length=255, blank=True)
    client_secret = EncryptedField(_("client secret"), blank=True, default="")
    scopes = models.CharField(_("scopes"), max_length=300, blank=True, default="openid profile email")

    # ---- CAS ----

    server_url = models.CharField(_("server"), max_length=500, blank=True)
    cas_version = models.PositiveSmallIntegerField(
        _("version"), choices=CasVersion.choices, default=CasVersion.THREE
    )
    ticket_prefix = models.CharField(_("tickets begin with"), max_length=20, blank=True, default="ST-")

    class Meta:
        verbose_name = _("upstream")
        verbose_name_plural = _("upstreams")
        ordering = ["order", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"],
                condition=models.Q(is_default=True),
                name="one_default_upstream",
                violation_error_message=_("Another upstream is the default. Change that first."),
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
                errors[name] = _("This is needed.")
        for name in ("issuer", "server_url"):
            if getattr(self, name) and name not in errors:
                self._clean_address(name, errors)
        self._clean_domains(errors)
        if self.is_oidc and "openid" not in self.scopes.split():
            errors["scopes"] = _("Without openid among them there is no ID token.")
        if "machine_audience" not in errors:
            self._clean_audience(errors)
        if self._would_take_over():
            errors["issuer" if self.is_oidc else "server_url"] = _(
                "People are linked to it under the address it has. Add another upstream for another provider."
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
            errors[name] = _("Write an address such as https://id.example.com, without query and fragment.")
        elif parts.scheme != "https" and not (parts.scheme == "http" and self.allow_private):
            errors[name] = _("It must begin with https://. Inside the network http:// can be allowed below.")

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
        """Refuse an audience of programs that is a client id of the portal. ID tokens have that audience."""
        taken = self.client_ids_at(self.issuer) | {self.client_id}
        if self.trusted_for_machines and self.machine_audience in taken:
            errors["machine_audience"] = _(
                "This is a client id of the portal. Applications receive ID tokens with this audience, which"
                " would open every other application. Use an audience of its own for programs."
            )
        others = Upstream.objects.filter(kind=self.Kind.OIDC, issuer=self.issuer).exclude(pk=self.pk)
        if others.filter(trusted_for_machines=True, machine_audience=self.client_id).exists():
            errors["client_id"] = _("Another upstream of this issuer has it as audience of programs.")

    def _would_take_over(self) -> bool:
        """Return whether users would be linked to subjects of another provider."""
        if self.pk is None:
            return False
        before = Upstream.objects.filter(pk=self.pk).values_list("kind", "issuer", "server_url").first()
        changed = before is not None and before != (self.kind, self.issuer, self.server_url)
        return changed and self.identities.exists()


class UpstreamPicture(models.Model):
    """The picture on a provider's button in place of letters, redrawn from the upload."""

    upstream = models.OneToOneField(
        Upstream, models.CASCADE, primary_key=True, related_name="picture", verbose_name=_("upstream")
    )
    key = models.CharField(max_length=32, unique=True, editable=False, default=new_icon_key)
    content = models.BinaryField(editable=False)

    class Meta:
        verbose_name = _("picture of a provider")
        verbose_name_plural = _("pictures of providers")
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
        Upstream, models.CASCADE, related_name="claim_mappings", verbose_name=_("upstream")
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
    """The value of a claim that adds users to a group. Without a claim, all users of the provider."""

    class Mode(models.TextChoices):
        ADD = "add", _("adds")
        MIRROR = "mirror", _("adds and takes away")

    upstream = models.ForeignKey(
        Upstream, models.CASCADE, related_name="group_mappings", verbose_name=_("upstream")
    )
    claim = models.CharField(_("claim"), max_length=200, blank=True, help_text=_("Empty: everybody."))
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
            raise ValidationError(_("Give a claim with its value, or neither for everybody."))


class UpstreamGroup(models.Model):
    """A group that was created for a value of a provider.

    Only such groups are filled when a provider's groups are imported.
    """

    group = models.OneToOneField(
        Group, models.CASCADE, primary_key=True, related_name="upstream_group", verbose_name=_("group")
    )
    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="groups", verbose_name=_("upstream"))
    value = models.CharField(_("value"), max_length=LONGEST_VALUE)

    class Meta:
        verbose_name = _("group of a provider")
        verbose_name_plural = _("groups of providers")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["upstream", "value"], name="one_group_for_a_value")]

    def __str__(self) -> str:
        return str(self.group)


class Identity(models.Model):
    """The link from a provider's subject to a user."""

    upstream = models.ForeignKey(
        Upstream, models.CASCADE, related_name="identities", verbose_name=_("upstream")
    )
    subject = models.CharField(
        _("subject"),
        max_length=LONGEST_SUBJECT,
        help_text=_(
            "The claim sub of its tokens, exactly; in CAS the user. Anyone who comes with it, a person or a"
            " program, acts as the user chosen here."
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
                violation_error_message=_("This subject is linked to a user already. Unlink it first."),
            )
        ]

    def __str__(self) -> str:
        return f"{self.upstream} · {self.subject}"


class UpstreamSession(models.Model):
    """What a provider said of a sign-in. If the row is deleted, the sign-in ends.

    `tried_at` is the lease of the process that asks the provider again. `wants_tokens` is true if an
    application gets the tokens, so they are renewed before they expire.
    """

    sign_in = models.OneToOneField(
        "authgate.SignIn", models.CASCADE, related_name="upstream_session", verbose_name=_("sign-in")
    )
    upstream = models.ForeignKey(
        Upstream, models.CASCADE, related_name="sessions", verbose_name=_("upstream")
    )
    subject = models.CharField(_("subject"), max_length=LONGEST_SUBJECT)
    sid = models.CharField(_("session there"), max_length=255, blank=True)
    ticket_digest = models.CharField(max_length=64, blank=True, editable=False)
    id_token = EncryptedField(blank=True, default="", editable=False)
    access_token = EncryptedField(blank=True, default="", editable=False)
    refresh_token = EncryptedField(blank=True, default="", editable=False)
    expires_at = models.DateTimeField(_("access token expires"), null=True, blank=True)
    checked_at = models.DateTimeField(_("last asked"))
    tried_at = models.DateTimeField(null=True, blank=True, editable=False)
    wants_tokens = models.BooleanField(default=False, editable=False)
    methods = models.JSONField(_("amr"), default=list)
    context = models.CharField(_("acr"), max_length=255, blank=True)
    has_second_factor = models.BooleanField(_("with a second factor there"), default=False)

    class Meta:
        verbose_name = _("upstream session")
        verbose_name_plural = _("upstream sessions")
        indexes = [
            models.Index(fields=["upstream", "sid"], name="upstream_session_by_sid"),
            models.Index(fields=["upstream", "subject"], name="upstream_session_by_subject"),
            models.Index(fields=["upstream", "ticket_digest"], name="upstream_session_by_ticket"),
        ]

    def __str__(self) -> str:
        return f"{self.upstream} · {self.subject}"
