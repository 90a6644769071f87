"""allauth's adapter for second factors: encrypted secrets, and the portal's name on devices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.branding import brand
from accounts.models import User
from accounts.second_factor.key_uri import account_of, issuer_of, key_uri
from authgate.encryption import Secret
from authgate.prepared import PreparedLookup


def _types_of(key: int) -> QuerySet[Authenticator, tuple[str]]:
    types: QuerySet[Authenticator, tuple[str]] = Authenticator.objects.filter(user=key).values_list("type")
    return types


_TYPES = PreparedLookup(_types_of, int)


class FactorAdapter(DefaultMFAAdapter):
    error_messages = DefaultMFAAdapter.error_messages | {
        "incorrect_code": _("The code is wrong or was already used. Wait for the next one."),
        "incorrect_passkey": _("The passkey was not accepted. Try again, or use another method."),
    }

    def encrypt(self, text: str) -> str:
        return Secret.of(text).token

    def decrypt(self, encrypted_text: str) -> str:
        """Return the secret. Raises Undecryptable."""
        return Secret(encrypted_text).reveal()

    def is_mfa_enabled(self, user: User, types: Iterable[str] | None = None) -> bool:
        """Return whether a user has a factor, or one of these types. One query.

        allauth asks for each type, and again and again on a page that needs a new proof of identity.
        """
        if user.is_anonymous or user.pk is None:
            return False
        held = {kind for (kind,) in _TYPES.rows(user.pk)}
        return bool(held) if types is None else not held.isdisjoint(types)

    def get_totp_issuer(self) -> str:
        return issuer_of(brand.current().name, settings.IKD_PORTAL_ORIGIN)

    def build_totp_url(self, user: User, secret: str) -> str:
        account = account_of(user.username, fallback=str(user.uuid))
        return key_uri(secret, self.get_totp_issuer(), account)

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Return the portal as WebAuthn's relying party: its name, and the host of its configured URL."""
        return {"id": urlsplit(settings.IKD_PORTAL_ORIGIN).hostname or "", "name": brand.current().name}

    def get_public_key_credential_user_entity(self, user: User) -> dict[str, Any]:
        entity: dict[str, Any] = super().get_public_key_credential_user_entity(user)
        return {**entity, "name": user.username, "display_name": user.get_full_name()}

    def _get_user_identifier(self, user: User) -> str:
        return user.username

    def generate_authenticator_name(self, user: User, type: Any) -> str:
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return gettext("Passkey %(number)d") % {"number": number}
