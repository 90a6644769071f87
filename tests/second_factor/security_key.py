"""A security key in software (WebAuthn, ES256). It is touched when asked, and has a PIN if a test says so."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData

from accounts.models import User

ORIGIN = "https://sso.example.com"
RP_HASH = hashlib.sha256(b"sso.example.com").digest()
TOUCHED, WITH_PIN, NEW = 0x01, 0x04, 0x40


class SecurityKey:
    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(16)

    def enrol(self, user: User) -> Authenticator:
        """Register the key as a user's factor, as the page that adds passkeys does."""
        public = ES256.from_cryptography_key(self._private.public_key())
        held = AttestedCredentialData.create(Aaguid(bytes(16)), self.id, public)
        data = AuthenticatorData.create(RP_HASH, TOUCHED | NEW, 0, held)
        made = AttestationObject.create("none", data, {})
        response = {
            "clientDataJSON": _said("webauthn.create", websafe_encode(b"made earlier")),
            "attestationObject": websafe_encode(made),
        }
        return Authenticator.objects.create(
            user=user, type="webauthn", data={"name": "key", "credential": self._credential(response)}
        )

    def answer(self, challenge: str, user: User, *, with_pin: bool = False) -> str:
        """Sign a challenge. The user's name is not signed, so the holder of the key can choose it."""
        said = _said("webauthn.get", challenge)
        data = AuthenticatorData.create(RP_HASH, TOUCHED | (WITH_PIN if with_pin else 0), 1)
        signed = self._private.sign(
            bytes(data) + hashlib.sha256(websafe_decode(said)).digest(), ec.ECDSA(hashes.SHA256())
        )
        response = {
            "clientDataJSON": said,
            "authenticatorData": websafe_encode(data),
            "signature": websafe_encode(signed),
            "userHandle": websafe_encode(user_pk_to_url_str(user).encode()),
        }
        return json.dumps(self._credential(response))

    def _credential(self, response: dict[str, str]) -> dict[str, Any]:
        named = websafe_encode(self.id)
        return {
            "id": named,
            "rawId": named,
            "type": "public-key",
            "response": response,
            "clientExtensionResults": {},
        }


def _said(kind: str, challenge: str) -> str:
    told = {"type": kind, "challenge": challenge, "origin": ORIGIN, "crossOrigin": False}
    return websafe_encode(json.dumps(told).encode())
