"""A CAS server for the tests: a real HTTP server with answers that a test can change."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from xml.sax.saxutils import escape

from django.test import Client

Bent = tuple[int, dict[str, str], bytes] | Callable[[BaseHTTPRequestHandler], None]


class CasServer:
    """Answers correctly, except for a test's changes. `answer` replaces the answer to every validation."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.tickets: dict[str, tuple[str, str, dict[str, list[str]]]] = {}
        self.answer: Bent | None = None
        self.keeps_newest_only = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.respond(self)

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/cas"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def issue(self, location: str, user: str, **attributes: list[str]) -> tuple[str, str]:
        """Sign a user in who was sent to `location`. Return the address to return to, and the ticket."""
        service = asked_in(location)["service"]
        ticket = f"ST-1-{secrets.token_hex(16)}"
        if self.keeps_newest_only:  # by default, Apereo does this for each user and service path
            self.tickets = {
                known: entry
                for known, entry in list(self.tickets.items())
                if (entry[0].partition("?")[0], entry[1]) != (service.partition("?")[0], user)
            }
        self.tickets[ticket] = service, user, attributes
        return f"{service}&{urlencode({'ticket': ticket})}", ticket

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        asked = asked_in(handler.path)
        self.asked.append((parts.path, asked))
        if parts.path == "/cas/login":
            send(handler, 200, {}, b"sign in here")
        elif parts.path not in ("/cas/serviceValidate", "/cas/p3/serviceValidate"):
            send(handler, 404, {}, b"")
        elif callable(self.answer):
            self.answer(handler)
        else:
            send(handler, *(self.answer or (200, {}, self._verdict(asked))))

    def _verdict(self, asked: dict[str, str]) -> bytes:
        service, user, attributes = self.tickets.pop(asked["ticket"], ("", "", {}))
        if not user:
            return cas("<cas:authenticationFailure code='INVALID_TICKET'>no</cas:authenticationFailure>")
        if service != asked["service"]:
            return cas("<cas:authenticationFailure code='INVALID_SERVICE'>no</cas:authenticationFailure>")
        values = "".join(
            f"<cas:{name}>{escape(value)}</cas:{name}>" for name in attributes for value in attributes[name]
        )
        return succeeded(f"<cas:user>{escape(user)}</cas:user><cas:attributes>{values}</cas:attributes>")


def cas(inner: str) -> bytes:
    return (
        f"<cas:serviceResponse xmlns:cas='http://www.yale.edu/tp/cas'>{inner}</cas:serviceResponse>".encode()
    )


def succeeded(inner: str) -> bytes:
    return cas(f"<cas:authenticationSuccess>{inner}</cas:authenticationSuccess>")


def send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def asked_in(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


# ---- a browser that signs in ------------------------------------------------------------------------------

LOGIN = "/auth/ssologin"


def redirect_from_portal(client: Client, **parameters: str) -> str:
    """Open the portal's address for sign-ins. Return where it redirects to."""
    left = client.get(LOGIN, parameters)
    assert left.status_code == 302, left.content.decode()
    return left["Location"]


def sign_in_with_cas(
    client: Client, server: CasServer, user: str = "alice-there", **attributes: list[str]
) -> Any:
    """Go to the server and back, as a browser does. Return the portal's answer."""
    back, _ = server.issue(redirect_from_portal(client), user, **attributes)
    return client.get(path_of(back))


def path_of(url: str) -> str:
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}" == "https://sso.example.com"
    return f"{parts.path}?{parts.query}"


def logout_request(ticket: str) -> str:
    return (
        "<samlp:LogoutRequest xmlns:samlp='urn:oasis:names:tc:SAML:2.0:protocol'>"
        f"<samlp:SessionIndex>{ticket}</samlp:SessionIndex></samlp:LogoutRequest>"
    )
