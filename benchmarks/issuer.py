"""An identity provider that publishes a key, for checks with a JWT."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "https://api.example.com"
KEY = "first"


@contextmanager
def issuer() -> Iterator[str]:
    """Serve discovery and a key set on 127.0.0.1. Yield the issuer's URL."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    documents: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(documents.get(self.path, {})).encode()
            self.send_response(200 if self.path in documents else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    documents["/.well-known/openid-configuration"] = {
        "issuer": url,
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
        "jwks_uri": f"{url}/keys",
    }
    key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(public))
    documents["/keys"] = {"keys": [key | {"kid": KEY, "alg": "RS256", "use": "sig"}]}
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()


def forged_jwt(url: str, number: int) -> str:
    """Return a JWT with the issuer's name and a wrong signature, which only a full verification detects."""
    claims = {"iss": url, "aud": AUDIENCE, "sub": f"stranger-{number}", "exp": int(time.time()) + 600}
    parts = [{"alg": "RS256", "kid": KEY, "typ": "JWT"}, claims]
    encoded = [json.dumps(part).encode() for part in parts]
    return ".".join(_base64(part) for part in [*encoded, os.urandom(256)])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
