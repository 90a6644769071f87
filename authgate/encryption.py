"""Encryption of secrets in the database. They are useless without the installation's key."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models
from django.db.models.query_utils import DeferredAttribute


class Undecryptable(Exception):
    """No key of this installation decrypts a secret."""

    def __init__(self) -> None:
        super().__init__(
            "a secret in the database was encrypted with a key that this portal does not have: "
            "add the earlier key to IKD_ENCRYPTION_KEYS, or enter the secret again"
        )


def fernet() -> MultiFernet:
    """Return a cipher that encrypts with the first of IKD_ENCRYPTION_KEYS and decrypts with any."""
    return MultiFernet([Fernet(_key(text)) for text in settings.IKD_ENCRYPTION_KEYS])


def _key(text: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(b"ikd encryption:" + text.encode()).digest())


class Secret:
    """A secret as the database stores it. Only `reveal` returns the plain text; pages and logs show dots."""

    __slots__ = ("_token",)

    def __init__(self, token: str = "") -> None:
        self._token = token

    @classmethod
    def of(cls, plain: str) -> Secret:
        return cls(fernet().encrypt(plain.encode()).decode() if plain else "")

    def reveal(self) -> str:
        """Return the plain text, or "" if there is no secret. Raises Undecryptable."""
        if not self._token:
            return ""
        try:
            return fernet().decrypt(self._token.encode()).decode()
        except InvalidToken:
            raise Undecryptable from None

    def rotated(self) -> Secret:
        """Return the same secret encrypted with the first key. Raises Undecryptable."""
        return Secret.of(self.reveal())

    @property
    def token(self) -> str:
        return self._token

    def __bool__(self) -> bool:
        return bool(self._token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._token == self._token

    def __hash__(self) -> int:
        return hash(self._token)

    def __str__(self) -> str:
        return "••••••" if self._token else ""

    __repr__ = __str__


class _SecretAttribute(DeferredAttribute):
    """A model attribute that turns assigned text into a `Secret` at once, so it never holds plain text."""

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = self.field.to_python(value)


if TYPE_CHECKING:
    TextField = models.TextField[Secret | str, Secret]
else:
    TextField = models.TextField  # without type parameters at run time


class EncryptedField(TextField):
    """A field with a secret. Assigned text is encrypted at once; reading returns a `Secret`."""

    descriptor_class = _SecretAttribute

    def from_db_value(self, value: str | None, *args: Any) -> Secret:
        return Secret(value or "")

    def to_python(self, value: Any) -> Secret:
        return value if isinstance(value, Secret) else Secret.of(value or "")

    def get_prep_value(self, value: Any) -> str:
        return self.to_python(value).token

    def value_to_string(self, obj: models.Model) -> str:
        return self.to_python(self.value_from_object(obj)).token
