"""HTTP/2 at the proxy: the same refusals, also for requests that only HTTP/2 can express."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Received
from tests.proxies.proxy import Proxy
from tests.proxies.registry import SPEAK_HTTP2
from tests.proxies.wire import plain_connection, tls_context

pytestmark = pytest.mark.proxy

Fields = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer on the first stream. The status is 0 if the proxy reset it or closed the connection."""

    status: int
    fields: Fields

    def header(self, name: str) -> str:
        return next((value for header, value in self.fields if header == name), "")


@pytest.fixture(params=SPEAK_HTTP2)
def multiplexer(request: pytest.FixtureRequest) -> Proxy:
    """Each proxy with HTTP/2 in its shipped configuration."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Proxy)
    found.backend.take()
    return found


def ask(proxy: Proxy, fields: Fields, *, site: str = "app", wait: bool = True) -> Answer:
    """Send the fields unchanged and nothing else. `wait` for the end of the answer, not only for its head.

    Raises AssertionError if the proxy speaks HTTP/1.1.
    """
    plain = plain_connection(proxy.address, 5)
    with closing(tls_context("h2").wrap_socket(plain, server_hostname=proxy.portal.names[site])) as wire:
        assert wire.selected_alpn_protocol() == "h2"
        settings = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
        )
        connection = h2.connection.H2Connection(settings)
        connection.initiate_connection()
        connection.send_headers(1, fields, end_stream=wait)
        wire.sendall(connection.data_to_send())
        received: Fields = []
        for event in _events(wire, connection):
            if isinstance(event, h2.events.ResponseReceived):
                received = [(str(name), str(value)) for name, value in event.headers]
                if not wait:
                    break
            if isinstance(
                event, (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)
            ):
                break
        return Answer(int(dict(received).get(":status", 0)), received)


def _events(wire: ssl.SSLSocket, connection: h2.connection.H2Connection) -> Iterator[h2.events.Event]:
    while octets := wire.recv(65536):
        yield from connection.receive_data(octets)
        wire.sendall(connection.data_to_send())


def request(
    proxy: Proxy, path: str = "/page", *, site: str = "app", who: str = "", more: Fields | None = None
) -> Fields:
    names = [(name.lower(), value) for name, value in FETCH.items()]
    cookie = [("cookie", proxy.portal.cookie(who, site))] if who else []
    pseudo = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", proxy.portal.host(site)),
        (":path", path),
    ]
    return [*pseudo, *names, *cookie, *(more or [])]


def test_the_application_receives_the_signed_in_user(multiplexer: Proxy) -> None:
    answer = ask(multiplexer, request(multiplexer, who="alice"))

    [received] = multiplexer.backend.take()
    assert answer.status == 200
    assert received.all("X-Auth-Request-User") == ["alice"]


def test_a_page_leads_to_the_portal(multiplexer: Proxy) -> None:
    navigation = [(name.lower(), value) for name, value in NAVIGATION.items()]

    answer = ask(multiplexer, request(multiplexer)[:4] + navigation)

    assert answer.status == 302
    assert answer.header("location").startswith(f"{multiplexer.portal.origin('portal')}/continue?state=")
    assert f"{multiplexer.portal.cookie_name('app', 'nonce')}=" in answer.header("set-cookie")


@pytest.mark.parametrize("mark", "-_.!")
def test_identity_headers_of_a_client_are_removed(multiplexer: Proxy, mark: str) -> None:
    names = ("x-auth-request-user", "remote-user", "x-forwarded-user", "x-ikd-jwt")
    claims = [(name.replace("-", mark), "mallory") for name in names]

    ask(multiplexer, request(multiplexer, who="alice", more=claims))

    for received in multiplexer.backend.take():
        assert b"mallory" not in received.head
        assert received.all("X-Auth-Request-User") == ["alice"]


def test_a_cookie_in_several_fields_is_one_cookie(multiplexer: Proxy) -> None:
    crumbs = [("cookie", "theme=dark"), ("cookie", multiplexer.portal.cookie("alice", "app"))]

    answer = ask(multiplexer, request(multiplexer, more=crumbs))

    assert answer.status == 200


ODDITIES: dict[str, Fields] = {
    "Host of another site": [("host", "{app}")],
    "another scheme": [(":scheme", "http")],
    "a path in upper case": [("X-Forwarded-Uri", "/open/news")],
    "Connection": [("connection", "close, x-forwarded-uri, x-auth-request-user")],
    "Transfer-Encoding": [("transfer-encoding", "chunked")],
    "a line end": [("x-a", "1\r\nx-auth-request-user: alice")],
    "a name with a line end": [("x-a: 1\r\nx-auth-request-user", "alice")],
    "a second path": [(":path", "/open/news")],
    "a second authority": [(":authority", "{app}")],
    "what was asked for": [("x-forwarded-uri", "/open/news"), ("x-forwarded-host", "{app}")],
}


LINES: dict[str, Fields] = {
    "no authority": [(":method", "GET"), (":scheme", "https"), (":path", "/page")],
    "a strange authority": [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "evil.example"),
        (":path", "/page"),
    ],
    "no path": [(":method", "GET"), (":scheme", "https"), (":authority", "{app}")],
    "an empty path": [(":method", "GET"), (":scheme", "https"), (":authority", "{app}"), (":path", "")],
    "a star": [(":method", "OPTIONS"), (":scheme", "https"), (":authority", "{app}"), (":path", "*")],
    "a space in the path": [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "{app}"),
        (":path", "/open /x HTTP/1.1"),
    ],
    "a line end in the path": [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "{app}"),
        (":path", "/open\r\nx: y"),
    ],
    "a space in the method": [
        (":method", "GET /open HTTP/1.1\r\nx:"),
        (":scheme", "https"),
        (":authority", "{app}"),
        (":path", "/page"),
    ],
    "CONNECT": [(":method", "CONNECT"), (":authority", "{app}")],
    "CONNECT with a protocol of nobody's": [
        (":method", "CONNECT"),
        (":protocol", "h2c"),
        (":scheme", "https"),
        (":authority", "{app}"),
        (":path", "/page"),
    ],
    "CONNECT for a WebSocket": [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "{app}"),
        (":path", "/live/feed"),
    ],
}


@dataclass(frozen=True, slots=True)
class Answers:
    """The answer to each oddity and line, and the requests that reached applications meanwhile."""

    answers: dict[str, Future[Answer]]
    received: list[Received]


@pytest.fixture(scope="session")
def answers_of() -> dict[str, Answers]:
    return {}


@pytest.fixture
def asked(multiplexer: Proxy, answers_of: dict[str, Answers]) -> Answers:
    """Send all at once, because Envoy takes a second to close a connection that it refuses."""
    if multiplexer.name not in answers_of:
        app = multiplexer.portal.host("app")
        with ThreadPoolExecutor(len(LINES) + len(ODDITIES)) as threads:
            answers = {
                name: threads.submit(ask, multiplexer, with_host(fields, app))
                for name, fields in LINES.items()
            } | {
                name: threads.submit(
                    ask,
                    multiplexer,
                    request(multiplexer, site="ops", who="bob", more=with_host(fields, app)),
                    site="ops",
                )
                for name, fields in ODDITIES.items()
            }
        answers_of[multiplexer.name] = Answers(answers, multiplexer.backend.take())
    return answers_of[multiplexer.name]


def with_host(fields: Fields, app: str) -> Fields:
    return [(name, value.replace("{app}", app)) for name, value in fields]


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_request_with_a_sign_in_opens_no_forbidden_site(asked: Answers, oddity: str) -> None:
    """bob is signed in at ops, which refuses him. He may open app."""
    answer = asked.answers[oddity].result()

    assert answer.status == 0 or answer.status >= 400
    assert asked.received == []


@pytest.mark.parametrize("line", LINES)
def test_an_odd_http2_request_is_refused(multiplexer: Proxy, asked: Answers, line: str) -> None:
    answer = asked.answers[line].result()

    # Go's library answers `OPTIONS *` by itself, with an empty 200.
    is_gos_own = line == "a star" and multiplexer.name in ("traefik", "caddy")
    assert answer.status == 0 or answer.status >= 300 or is_gos_own
    assert asked.received == []


def test_the_names_of_oddities_and_lines_differ() -> None:
    assert not ODDITIES.keys() & LINES.keys()
