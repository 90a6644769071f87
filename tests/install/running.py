"""A portal without a checkout, which tests ask over HTTP."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

SEED = """
from authgate.models import Application, Origin, Rule
application = Application.objects.create(name="Wiki")
Origin.objects.create(application=application, value="https://wiki.example.com")
Rule.objects.create(application=application, path="/", who=Rule.Who.SIGNED_IN)
Rule.objects.create(application=application, path="/public", who=Rule.Who.EVERYONE)
"""
PASSWORD = "a password of the tests"


@dataclass(frozen=True, slots=True)
class Running:
    """A portal on a port of 127.0.0.1."""

    port: int

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def ask(self, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers={"Host": f"localhost:{self.port}"} | headers)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, answer.headers, body

    def check(self, path: str) -> int:
        site = {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "wiki.example.com"}
        asked = {"X_Forwarded_Method": "GET", "X_Forwarded_Uri": path, "X_Forwarded_For": "192.0.2.1"}
        return self.ask("/authgate/nginx", **site, **asked)[0]

    def is_up(self) -> bool:
        try:
            return self.ask("/readyz")[0] == 200
        except OSError:
            return False
