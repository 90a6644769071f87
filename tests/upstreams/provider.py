"""A provider for the tests: a real HTTP server with answers that a test can change."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()

Bend = Callable[[dict[str, Any]], dict[str, Any]]


def jwk(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    algorithms = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    made = next(algorithm for kind, algorithm in algorithms.items() if isinstance(key, kind))
    public: dict[str, Any] = made.to_jwk(key.public_key(), as_dict=True)
    return {**public, **({} if kid is None else {"kid": kid}), **more}


def hash_of(token: str) -> str:
    digest = hashlib.sha256(token.encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


class Provider:
    """A provider that answers as the specification says, except for a test's changes.

    Tests change `claims`, `metadata`, `token_answer`, `answers` and others. A claim or field set to None is
    left out. `answers` maps a path to (status, headers, body) or to a function that writes to the handler
    itself.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.forms: list[dict[str, str]] = []
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = {}
        self.metadata: dict[str, Any] = {}
        self.token_answer: dict[str, Any] = {}
        self.header: dict[str, Any] = {"kid": "one"}
        self.key: Any = RSA_KEY
        self.algorithm = "RS256"
        self.keys: list[dict[str, Any]] = [jwk(RSA_KEY, "one", use="sig", alg="RS256")]
        self.id_token: str | None = None
        self.answers: dict[str, Any] = {}
        self.attempts: dict[str, dict[str, str]] = {}
        self.people: dict[str, dict[str, Any]] = {}
        self.refresh_tokens: dict[str, tuple[dict[str, str], str]] = {}
        self.refreshed = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                provider.answer(self)

            do_POST = do_GET

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    # ---- answers ----

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.asked.append((handler.command, path))
        bent = self.answers.get(path)
        if callable(bent):
            bent(handler)
            return
        status, headers, content = bent or self._honest(path, body, handler)
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    def _honest(
        self, path: str, body: bytes, handler: BaseHTTPRequestHandler
    ) -> tuple[int, dict[str, str], bytes]:
        if path == "/.well-known/openid-configuration":
            return _json(self._metadata())
        if path == "/keys":
            return _json({"keys": self.keys})
        if path == "/token":
            return self._token(body, handler)
        if path == "/userinfo":
            token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
            return _json({"sub": self._subject(token), **self.person(token), **(self.userinfo or {})})
        return 404, {}, b""

    def _metadata(self) -> dict[str, Any]:
        return _without_none(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "userinfo_endpoint": None if self.userinfo is None else f"{self.issuer}/userinfo",
                "id_token_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "HS256"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                **self.metadata,
            }
        )

    def _token(self, body: bytes, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.forms.append({**form, "authorization": handler.headers.get("Authorization", "")})
        if form["grant_type"] == "refresh_token":
            return self._refreshed(form["refresh_token"])
        if form["grant_type"] == "client_credentials":
            return self._of_a_program(form)
        attempt = self.attempts.pop(form["code"], None)
        verifier = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if attempt is None or attempt["code_challenge"] != challenge:
            return 400, {}, b'{"error": "invalid_grant"}'
        access_token = f"access-{form['code']}"
        token = self.id_token or self.signed(attempt, access_token)
        self.refresh_tokens[f"refresh-{form['code']}"] = attempt, access_token
        return _json(
            _without_none(
                {
                    "token_type": "Bearer",
                    "access_token": access_token,
                    "refresh_token": f"refresh-{form['code']}",
                    "expires_in": 300,
                    "id_token": token,
                    **self.token_answer,
                }
            )
        )

    def _refreshed(self, refresh_token: str) -> tuple[int, dict[str, str], bytes]:
        """Return new tokens for old ones. Each refresh token works once."""
        attempt, first = self.refresh_tokens.pop(refresh_token, (None, ""))
        if attempt is None:
            return 400, {}, b'{"error": "invalid_grant"}'
        self.refreshed += 1
        access_token, newer = f"{first}-{self.refreshed}", f"{refresh_token}-{self.refreshed}"
        self.people[access_token] = self.person(first)
        self.refresh_tokens[newer] = attempt, first
        answer = {
            "token_type": "Bearer",
            "access_token": access_token,
            "refresh_token": newer,
            "expires_in": 300,
            "id_token": self.signed(attempt, access_token),
        }
        return _json(_without_none({**answer, **self.token_answer}))

    def _of_a_program(self, form: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Return a program's access token, with its own client id (RFC 9068)."""
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": form["audience"], "sub": f"service-{form['client_id']}",
            "client_id": form["client_id"], "iat": now, "exp": now + 300, "jti": str(now),
        }  # fmt: skip
        token = jwt.encode(claims, self.key, self.algorithm, {**self.header, "typ": "at+jwt"})
        return _json({"token_type": "Bearer", "access_token": token, "expires_in": 300})

    def signed(self, attempt: dict[str, str], access_token: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": attempt["client_id"],
            "sub": self._subject(access_token),
            "exp": now + 300,
            "iat": now,
            "nonce": attempt["nonce"],
            "at_hash": hash_of(access_token),
            **self.person(access_token),
            **self.claims,
        }
        headers = _without_none(self.header)
        return jwt.encode(_without_none(claims), self.key, algorithm=self.algorithm, headers=headers)

    def person(self, access_token: str) -> dict[str, Any]:
        return self.people.get(access_token, {})

    def _subject(self, access_token: str) -> str:
        return str(self.person(access_token).get("sub", "alice-there"))

    # ---- the user at the browser ----

    def sign_in(self, location: str, person: dict[str, Any] | None = None, **answer: Any) -> str:
        """Return the path that the browser is redirected to. A parameter set to None is omitted."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        code = hashlib.sha256(location.encode()).hexdigest()[:20]
        self.attempts[code] = asked
        self.people[f"access-{code}"] = person or {}
        query = _without_none({"code": code, "state": asked["state"], "iss": self.issuer, **answer})
        return f"{urlsplit(asked['redirect_uri']).path}?{urlencode(query)}"


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()
