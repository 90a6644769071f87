"""Clients that sign users in through the portal, and the grants that they received.

A grant is valid only while its sign-in is. Codes and tokens end in the transaction that ends the sign-in,
without any write to their rows. Codes, tokens and client secrets are stored as SHA-256.
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.forms import Field
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from authgate.models import Application, KeyRow, SignIn
from openid.protocol import assertions, redirect_uris
from openid.protocol.authorization import SCOPES

MANY_URIS = 20
LONGEST_URI = redirect_uris.LONGEST
LONGEST_KEYS = 4000
"""Characters of a client's JWK set at most, because each call of the client loads it."""

PROBLEMS = {
    "characters": _("%(uri)s is too long or has characters that are not allowed."),
    "fragment": _("%(uri)s has a fragment (#…). Remove it."),
    "unreadable": _("%(uri)s is not a valid URI."),
    "scheme": _("%(uri)s must begin with https://, or with the private scheme of a public client's app."),
    "host": _("%(uri)s must not have a user name or a wildcard."),
    "without https": _("%(uri)s must begin with https://, because the application requires it."),
}
KEY_PROBLEMS = {
    "no JSON": _("This is not valid JSON."),
    "no keys": _('A JWK set begins with {"keys": [ and has at least one key.'),
    "many keys": _("There are too many keys."),
    "private key": _("This is a private key. Replace it with a new key, and enter only public keys."),
}


def new_client_id() -> str:
    return secrets.token_hex(10)


def lines_of(text: str) -> tuple[str, ...]:
    return tuple(text.split())


class Client(models.Model):
    """A program that signs users in by OpenID Connect, under the rules of its application."""

    class Kind(models.TextChoices):
        CONFIDENTIAL = "confidential", _("confidential: a server that can keep a secret")
        PUBLIC = "public", _("public: an app or a page in the browser, without a secret")

    application = models.ForeignKey(
        Application, models.CASCADE, related_name="clients", verbose_name=_("application")
    )
    client_id = models.CharField(
        _("client ID"),
        max_length=64,
        unique=True,
        default=new_client_id,
        validators=[RegexValidator(r"^[A-Za-z0-9_-]{3,64}\Z", _("Use only letters, digits, - and _."))],
    )
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices, default=Kind.CONFIDENTIAL)
    enabled = models.BooleanField(_("enabled"), default=True)
    redirect_uris = models.TextField(
        _("redirect URIs"),
        blank=True,
        help_text=_("One per line. They must match byte for byte."),
    )
    post_logout_uris = models.TextField(
        _("URIs after signing out"), blank=True, help_text=_("One per line. Default: none.")
    )
    backchannel_logout_uri = models.CharField(
        _("back-channel logout URI"),
        max_length=LONGEST_URI,
        blank=True,
        help_text=_("The portal notifies this URI when a user's sign-in ends. Default: none."),
    )
    jwks = models.TextField(
        _("public keys"),
        blank=True,
        help_text=_(
            "A JWK set. The client then authenticates with JWTs that it signs (private_key_jwt), and the "
            "portal refuses its secrets. Default: none."
        ),
    )
    jwks_uri = models.CharField(
        _("address of its public keys"),
        max_length=LONGEST_URI,
        blank=True,
        help_text=_("Replaces pasted keys. The portal fetches them every five minutes. Default: none."),
    )
    allow_private = models.BooleanField(
        _("addresses inside the network"),
        default=False,
        help_text=_(
            "Allows private addresses and http:// for the back-channel logout URI and the address of public "
            "keys. Default: no."
        ),
    )
    scopes = models.CharField(
        _("scopes"),
        max_length=200,
        default="openid profile email groups",
        help_text=_("Any of openid profile email groups offline_access. The portal ignores all others."),
    )
    asks_consent = models.BooleanField(
        _("asks for consent"),
        default=False,
        help_text=_("Users confirm once which data the client receives. Default: no."),
    )
    allows_devices = models.BooleanField(
        _("sign-in of devices"),
        default=False,
        help_text=_(
            "Lets devices without a browser sign users in with a code that users enter on another device. "
            "An attacker may persuade a user to enter a code. Default: no."
        ),
    )
    access_lifetime = models.PositiveIntegerField(
        _("lifetime of access tokens"),
        default=300,
        validators=[MinValueValidator(30), MaxValueValidator(3600)],
        help_text=_("In seconds. Default: 300."),
    )
    refresh_lifetime = models.PositiveIntegerField(
        _("lifetime of refresh tokens"),
        default=30 * 24 * 3600,
        validators=[MaxValueValidator(365 * 24 * 3600)],
        help_text=_(
            "In seconds, from the sign-in at the client. Refresh tokens end with the user's sign-in at the "
            "latest, unless "
            "the client was granted offline_access. 0 disables refresh tokens. Default: 30 days."
        ),
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("OpenID Connect client")
        verbose_name_plural = _("OpenID Connect clients")
        ordering = ["client_id"]

    def __str__(self) -> str:
        return self.client_id

    @property
    def is_public(self) -> bool:
        return self.kind == self.Kind.PUBLIC

    def clean(self) -> None:
        errors = {
            name: found
            for name in ("redirect_uris", "post_logout_uris")
            if (found := self._wrong_uris(getattr(self, name)))
        }
        if not lines_of(self.redirect_uris) and not self.allows_devices:
            errors.setdefault("redirect_uris", [ValidationError(Field.default_error_messages["required"])])
        if self.backchannel_logout_uri and (problem := self._logout_problem()):
            params = {"uri": self.backchannel_logout_uri[:100]}
            errors["backchannel_logout_uri"] = [ValidationError(PROBLEMS[problem], params=params)]
        errors |= self._wrong_keys()
        if self.scopes and (unknown := set(self.scopes.split()) - set(SCOPES)):
            message = _("Unknown scope: %(scope)s") % {"scope": ", ".join(sorted(unknown))}
            errors["scopes"] = [ValidationError(message)]
        if errors:
            raise ValidationError(errors)
        self.redirect_uris = "\n".join(lines_of(self.redirect_uris))
        self.post_logout_uris = "\n".join(lines_of(self.post_logout_uris))
        self.scopes = " ".join(scope for scope in SCOPES if scope in self.scopes.split() or scope == "openid")

    def _logout_problem(self) -> str:
        return self._problem_of(self.backchannel_logout_uri)

    def _problem_of(self, uri: str) -> str:
        return redirect_uris.problem_of(uri, is_public=False, without_https=self.allow_private)

    def _wrong_keys(self) -> dict[str, list[ValidationError]]:
        if self.jwks_uri and (problem := self._problem_of(self.jwks_uri)):
            params = {"uri": self.jwks_uri[:100]}
            return {"jwks_uri": [ValidationError(PROBLEMS[problem], params=params)]}
        if (self.jwks or self.jwks_uri) and self.is_public:
            return {"kind": [ValidationError(_("A public client cannot have keys."))]}
        if self.jwks and self.jwks_uri:
            return {"jwks_uri": [ValidationError(_("Enter keys or their address, not both."))]}
        if not self.jwks:
            return {}
        try:
            if len(self.jwks) > LONGEST_KEYS:
                raise ValueError("many keys")
            assertions.keys_in(self.jwks)
        except ValueError as error:
            return {"jwks": [ValidationError(KEY_PROBLEMS[str(error)])]}
        return {}

    def _wrong_uris(self, text: str) -> list[ValidationError]:
        uris = lines_of(text)
        if len(uris) > MANY_URIS:
            return [ValidationError(_("Enter at most %(many)d."), params={"many": MANY_URIS})]
        application = getattr(self, "application", None)
        without_https = application is not None and application.without_https
        found = (
            (uri, redirect_uris.problem_of(uri, is_public=self.is_public, without_https=without_https))
            for uri in uris
        )
        return [
            ValidationError(PROBLEMS[problem], params={"uri": uri[:100]}) for uri, problem in found if problem
        ]


class ClientSecret(models.Model):
    """A secret of a confidential client. Two may be valid at once, so that one can be replaced."""

    client = models.ForeignKey(Client, models.CASCADE, related_name="secrets")
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        default_permissions = ()
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{self.client_id} {timezone.localtime(self.created_at):%Y-%m-%d %H:%M}"

    @property
    def is_over(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


class SecretUse(models.Model):
    """When a secret was last used, to about ten minutes.

    It has its own table because the change feed watches secrets, and a use is no change.
    """

    secret = models.OneToOneField(ClientSecret, models.CASCADE, related_name="use")
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.secret_id} {timezone.localtime(self.at):%Y-%m-%d %H:%M}"


class ClientTrouble(models.Model):
    """The newest error of one kind in a client's requests. Anybody can cause one, so none proves much."""

    class Kind(models.TextChoices):
        AUTHENTICATION = "authentication", _("a wrong secret, key or method of authentication")
        REDIRECT_URI = "redirect_uri", _("a redirect URI that is not registered")
        REQUEST = "request", _("a request that the portal refused")

    client = models.ForeignKey(Client, models.CASCADE, related_name="troubles")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    detail = models.CharField(max_length=200)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        ordering = ["-last_at"]
        constraints = [models.UniqueConstraint(fields=["client", "kind"], name="openid_one_trouble_each")]

    def __str__(self) -> str:
        return f"{self.client_id} {self.kind}"

    def words(self) -> str:
        """Return the error in the reader's language, with the detail from the request."""
        label = str(self.get_kind_display())
        return f"{label}: {self.detail}" if self.detail else label


class Grant(models.Model):
    """What one authorization granted a client: the parent of its code, access tokens and refresh tokens.

    `sid` names the client's session within a sign-in. All grants of one sign-in to one client share it.
    `address` is the browser's, for rules about networks. `revoked_at` ends the tokens; `ended_at` also ends
    the client's session. A `superseded` grant is deleted without notifying the client.
    """

    client = models.ForeignKey(Client, models.CASCADE, related_name="grants")
    sign_in = models.ForeignKey(SignIn, models.CASCADE, related_name="+")
    sid = models.CharField(max_length=43)
    subject = models.CharField(max_length=36)
    scopes = models.CharField(max_length=200)
    auth_time = models.DateTimeField()
    amr = models.JSONField(default=list)
    acr = models.CharField(max_length=20)
    address = models.GenericIPAddressField(null=True)
    offline = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    superseded = models.BooleanField(default=False)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["sign_in", "client"], name="openid_grants_of_sign_in")]

    def __str__(self) -> str:
        return self.sid


class Code(models.Model):
    """An authorization code. A used code stays, so that a second use is detected."""

    grant = models.OneToOneField(Grant, models.CASCADE, related_name="code")
    digest = models.BinaryField(max_length=32, unique=True)
    redirect_uri = models.CharField(max_length=LONGEST_URI + 10)
    challenge = models.CharField(max_length=43)
    nonce = models.CharField(max_length=512, blank=True)
    expires_at = models.DateTimeField()
    taken_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.pk)


class DeviceCode(models.Model):
    """A device that waits until a user types its code (8628). It has a grant once a user allowed it.

    `user_code` is a keyed hash. `interval` is the number of seconds between two polls of the device.
    """

    client = models.ForeignKey(Client, models.CASCADE, related_name="+")
    grant = models.OneToOneField(Grant, models.CASCADE, related_name="+", null=True)
    digest = models.BinaryField(max_length=32, unique=True)
    user_code = models.CharField(max_length=64, unique=True)
    scopes = models.CharField(max_length=200)
    address = models.GenericIPAddressField(null=True)
    network = models.CharField(max_length=64)
    interval = models.PositiveSmallIntegerField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    polled_at = models.DateTimeField(null=True)
    refused_at = models.DateTimeField(null=True)
    taken_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["network", "expires_at"], name="openid_devices_of_network")]

    def __str__(self) -> str:
        return str(self.pk)


class Token(models.Model):
    """An access token or a refresh token. `sequence` counts the refreshes of its grant."""

    class Kind(models.TextChoices):
        ACCESS = "access"
        REFRESH = "refresh"

    grant = models.ForeignKey(Grant, models.CASCADE, related_name="tokens")
    kind = models.CharField(max_length=7, choices=Kind.choices)
    digest = models.BinaryField(max_length=32, unique=True)
    sequence = models.PositiveIntegerField()
    scopes = models.CharField(max_length=200)
    expires_at = models.DateTimeField()
    taken_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.sequence}"


class Consent(models.Model):
    """The scopes that a user agreed to share with a client."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    client = models.ForeignKey(Client, models.CASCADE, related_name="+")
    scopes = models.CharField(max_length=200)
    given_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["user", "client"], name="openid_one_consent_each")]

    def __str__(self) -> str:
        return f"{self.user_id} {self.client_id}"


class LogoutDelivery(models.Model):
    """A logout token to send to a client. Database triggers write it when a grant ends.

    It stores the client's values, so that a deleted client is notified too.
    """

    uri = models.CharField(max_length=LONGEST_URI)
    audience = models.CharField(max_length=64)
    subject = models.CharField(max_length=36)
    sid = models.CharField(max_length=43, unique=True)
    allow_private = models.BooleanField()
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField()
    leased_until = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=100)

    class Meta:
        default_permissions = ()
        indexes = [models.Index("due_at", condition=models.Q(done_at=None), name="openid_deliveries_due")]

    def __str__(self) -> str:
        return f"{self.audience} {self.sid}"


class ProviderKey(KeyRow):
    """A key that signs ID tokens and logout tokens. X-Ikd-Jwt has its own keys."""
