"""An application with OpenID Connect for tests: what it sends, and how it reads the answers."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from django.test import Client as Browser

from authgate.models import Application
from openid.grants import digest
from openid.models import Client, ClientSecret
from tests.accounts.conftest import PORTAL, PortalClient

CALLBACK = "https://wiki.example.com/callback"
FORM = "application/x-www-form-urlencoded"


def register(application: Application, **fields: Any) -> RelyingParty:
    fields = {"redirect_uris": CALLBACK, "scopes": "openid profile email groups offline_access", **fields}
    client = Client(application=application, **fields)
    client.full_clean()
    client.save()
    if client.is_public:
        return RelyingParty(client, "")
    secret = secrets.token_urlsafe(32)
    ClientSecret.objects.create(client=client, digest=digest(secret))
    return RelyingParty(client, secret)


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def parameters_of(answer: Any) -> dict[str, str]:
    """Return the parameters that a redirect carries to the application."""
    assert answer.status_code in (302, 303), answer.content
    assert answer["Location"].startswith(("https://wiki.example.com/", "http://127.0.0.1")), answer[
        "Location"
    ]
    return dict(parse_qsl(urlsplit(answer["Location"]).query))


@dataclass
class RelyingParty:
    client: Client
    secret: str
    verifier: str = "v" * 43

    @property
    def challenge(self) -> str:
        hashed = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()

    def request(self, **change: str) -> dict[str, str]:
        """Return an authorization request. An empty value omits a parameter."""
        asked = {
            "client_id": self.client.client_id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid profile email groups",
            "state": "its state",
            "nonce": "its nonce",
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            **change,
        }
        return {name: text for name, text in asked.items() if text}

    def url(self, **change: str) -> str:
        return f"/openid/authorize?{urlencode(self.request(**change))}"

    def authorize(self, browser: Browser, **change: str) -> Any:
        return browser.get(self.url(**change))

    def code(self, browser: Browser, **change: str) -> str:
        return parameters_of(self.authorize(browser, **change))["code"]

    # ---- requests of its server ----

    @property
    def backend(self) -> PortalClient:
        return PortalClient(HTTP_HOST="sso.example.com", REMOTE_ADDR="192.0.2.80")

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Any:
        """Post a form as this client. A given header replaces its own credentials."""
        if not self.secret:
            fields = {"client_id": self.client.client_id, **fields}
        elif "HTTP_AUTHORIZATION" not in headers:
            headers["HTTP_AUTHORIZATION"] = basic(self.client.client_id, self.secret)
        sent = {name: text for name, text in fields.items() if text}
        return self.backend.generic("POST", path, urlencode(sent), FORM, **headers)

    def exchange(self, code: str, **change: str) -> Any:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.verifier,
        }
        return self.post("/openid/token", fields | change)

    def refresh(self, token: str, **change: str) -> Any:
        return self.post("/openid/token", {"grant_type": "refresh_token", "refresh_token": token, **change})

    def tokens(self, browser: Browser, **change: str) -> dict[str, Any]:
        """Sign in, and return the answer of the token endpoint."""
        answer = self.exchange(self.code(browser, **change))
        assert answer.status_code == 200, answer.content
        return dict(json.loads(answer.content))

    def userinfo(self, token: str, method: str = "get") -> Any:
        return getattr(self.backend, method)("/openid/userinfo", HTTP_AUTHORIZATION=f"Bearer {token}")

    def introspect(self, token: str) -> dict[str, Any]:
        answer = self.post("/openid/introspect", {"token": token})
        assert answer.status_code == 200, answer.content
        return dict(json.loads(answer.content))

    def revoke(self, token: str) -> Any:
        return self.post("/openid/revoke", {"token": token})

    def verified(self, id_token: str, typ: str = "JWT") -> dict[str, Any]:
        """Verify a token with the published keys, as an application's library does."""
        published = json.loads(self.backend.get("/openid/keys.json").content)
        header = jwt.get_unverified_header(id_token)
        assert header["typ"] == typ
        key = jwt.PyJWKSet.from_dict(published)[header["kid"]]
        required = {"require": ["iss", "aud", "sub", "iat", "exp"]}
        return dict(
            jwt.decode(
                id_token, key, ["RS256"], audience=self.client.client_id, issuer=PORTAL, options=required
            )  # type: ignore[arg-type]
        )


def error_of(answer: Any) -> str:
    return str(json.loads(answer.content)["error"])
