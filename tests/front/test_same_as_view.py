"""For any request and any memory, the front writes exactly the view's answer, or leaves it to the view."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine
from a2wsgi.wsgi import build_environ
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from accounts.machines.api_tokens import make_token
from accounts.models import ApiToken
from authgate.check.context import Context
from authgate.check.contracts import checks
from authgate.check.credentials import new_token
from authgate.check.missing import Missing
from authgate.check.request import Facts
from authgate.check.responses import Answer
from authgate.endpoints.check_view import answer_alone
from authgate.endpoints.protocol import Front
from authgate.models import Application, ConfigurationEvent, GateSession, SignIn
from authgate.network_limits import WrongTries
from authgate.worker import feed as feed_module
from authgate.worker import loader, lookups
from authgate.worker.feed import Feed
from authgate.worker.lookups import Lookup, Lookups
from authgate.worker.memory import WorkerMemory
from authgate.worker.write_behind import writer
from ikd_portal.asgi import with_forwarded
from tests.factories import ApplicationFactory, RuleFactory
from tests.front.serving import PUBLIC, WIKI, Cast, Database, check_bytes, signed_in
from tests.test_uvicorn import Wire

NO_REQUEST = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain"
"""uvicorn's answer to bytes that are not a request."""

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


class PeerAt(Wire):
    """A connection from an address. None means a Unix socket."""

    def __init__(self, peer: str | None) -> None:
        super().__init__()
        self._peer = peer

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._peer, 50_000) if name == "peername" and self._peer else default


class Left:
    """In the place of Django, it records the requests that the front leaves."""

    def __init__(self) -> None:
        self.scope: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        await send({"type": "http.response.start", "status": 299, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


class LoadedAtOnce(Lookups):
    """Loads what checks wait for as soon as they are queued, so these tests need no thread."""

    def submit(
        self,
        facts: Facts,
        missing: Missing | Answer,
        deliver: Callable[[Answer], None],
        context: Context | None = None,
    ) -> Lookup | None:
        lookup = super().submit(facts, missing, deliver, context)
        batch = self._take()
        self._loop.call_soon(self._deliver, batch, *self._load(batch))
        return lookup


def through_the_front(octets: bytes, peer: str | None) -> tuple[bytes, Any]:
    """Return what the front wrote, and the request's scope if the front left it to Django."""

    async def run() -> tuple[bytes, Any]:
        left = Left()
        worker = feed_module.current
        lookups.current = LoadedAtOnce(worker, asyncio.get_running_loop(), answer_alone) if worker else None
        config = Config(app=left, http=Front, ws="none", lifespan="off", log_config=None, proxy_headers=False)
        front, wire = Front(config, ServerState(), {}, asyncio.get_running_loop()), PeerAt(peer)
        front.connection_made(wire)
        front.data_received(octets)
        # A thread answers requests that need more than one query.
        deadline = time.monotonic() + 10
        while not wire.written and left.scope is None and time.monotonic() < deadline:
            await asyncio.sleep(0)
        front.connection_lost(None)
        lookups.current = None
        return wire.written, left.scope

    return asyncio.run(run())


def through_the_view(octets: bytes, peer: str | None) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body from Django, below our WSGI wrapper as in the server."""
    feed_module.current, worker = None, feed_module.current
    try:
        _, scope = through_the_front(octets, peer)
    finally:
        feed_module.current = worker
    environ = build_environ(scope, io.BytesIO())  # type: ignore[arg-type]
    answered: list[Any] = []
    body = b"".join(with_forwarded(environ, lambda status, headers, *_: answered.append((status, headers))))
    status, headers = answered[-1]
    lower = [(name.lower(), value) for name, value in headers]
    return int(status.split(" ")[0]), lower, b"" if scope["method"] == "HEAD" else body


def parsed(written: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    head, _, body = written.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = [
        (name, value)
        for name, _, value in (line.partition(": ") for line in lines)
        if name not in ("date", "connection")
    ]
    return int(status.split(" ")[1]), headers, body


@pytest.fixture(autouse=True, scope="module")
def loads_on_the_loop() -> Iterator[None]:
    """Allow queries in a thread with a running loop. Django refuses them, but `LoadedAtOnce` needs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield


# ---- the state of memory ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cookies(database: Database, people: Cast) -> list[str]:
    """Session cookies: live, ended, idle, expired, for another origin, or unknown."""
    with time_machine.travel(NOW, tick=False):
        live = [signed_in(people.alice), signed_in(people.bob), signed_in(people.bob, PUBLIC)]
        ended, idle, over, gone = (signed_in(people.alice) for _ in range(4))
        http = signed_in(people.alice, "http://plain.example.com").replace("__Host-", "")
        newest = list(GateSession.objects.order_by("-pk")[:5])
        SignIn.objects.filter(pk=newest[4].sign_in_id).update(ended_at=NOW)
        SignIn.objects.filter(pk=newest[3].sign_in_id).update(last_seen_at=datetime(2029, 1, 1, tzinfo=UTC))
        SignIn.objects.filter(pk=newest[2].sign_in_id).update(expires_at=NOW)
        newest[1].delete()
    wiki = ApplicationFactory(
        name="Café", origins=["https://*.apps.example.com", "http://plain.example.com"], remote_headers=True
    )
    RuleFactory(application=wiki, path="/", groups=["staff"], who="chosen")
    RuleFactory(application=wiki, path="/Public", who="everyone", methods="GET")
    RuleFactory(application=wiki, path="/near", who="everyone", networks="10.0.0.0/8")
    RuleFactory(application=wiki, path="/second", who="signed_in", second_factor=True)
    return [*live, ended, idle, over, gone, http, "__Host-ikd_gate=", "__Host-ikd_gate=ü", "a=b", ""]


@pytest.fixture(scope="module")
def authorizations(people: Cast, cookies: list[str]) -> list[str]:
    """Tokens that are live, ended or unknown, in several spellings, and headers without our tokens."""
    applications = list(Application.objects.all())
    with time_machine.travel(NOW, tick=False):
        alices, bobs, ended = (
            make_token(who, "a token", applications, 3600)[1]
            for who in (people.alice, people.bob, people.alice)
        )
        ApiToken.objects.filter(pk=ApiToken.objects.latest("pk").pk).update(ended_at=NOW)
    basic = base64.b64encode(f"alice:{alices}".encode()).decode()
    tokens = [alices, bobs, ended, new_token(), "ikd_short", "theirs", "eyJhIjoxfQ.eyJpc3MiOiJ4In0.c2ln"]
    return [
        *(f"Bearer {token}" for token in tokens),
        f"bearer  {bobs}",
        f"Basic {basic}",
        "Basic eDp5",
        "é",
        "",
    ]


@pytest.fixture
def worker(database: Database, cookies: list[str]) -> Iterator[Feed]:
    """A worker's memory with constant ids and nonces."""
    memory = WorkerMemory(
        loader.gate_settings(), clock=feed_module.boottime, random=lambda length: bytes(range(length))
    )
    worker = Feed(memory)
    worker.ensure_fresh()
    worker.fresh_until = float("inf")
    feed_module.current = worker
    yield worker
    feed_module.current = None


def mostly(usual: str, *others: str) -> st.SearchStrategy[str]:
    return st.one_of(st.just(usual), st.just(usual), st.just(usual), st.sampled_from(others))


ORIGINS = [
    ("https", "wiki.example.com"),
    ("https", "public.example.com"),
    ("https", "a.b.apps.example.com"),
    ("https", "sso.example.com"),
    ("https", "WIKI.example.com.:443"),
    ("http", "wiki.example.com"),
    ("http", "plain.example.com"),
    ("wss", "wiki.example.com"),
    ("https", "nobody.example.org"),
    ("https", "wiki.example.com, a"),
    ("https", "wi ki"),
    ("gopher", "wiki.example.com"),
    ("https", ""),
]
URIS = [
    "/",
    "/Public",
    "/public/",
    "/near",
    "/second",
    "/a/../Public",
    "/%2e%2e/",
    "//",
    "/a;b",
    "/é",
    "/#",
    "*",
    "/%00",
    "/?ikdcode=" + "a" * 43,
    "/b?ikdcode=short",
    "/authgate/start?rd=/",
    "/oauth2/userinfo",
    "/authgate/refused",
    "/" + "x" * 3000,
    "/?" + "y" * 5000,
]
PATHS = [
    *checks("nginx"),
    "/authgate/%6eginx",
    "/authgate/envoy/a/../Public",
    "/authgate/envoy/Public",
    "/authgate/envoy/%2e%2e/",
    "/authgate/envoy/authgate/start",
    "/authgate/envoy/é",
    "/authgate/envoy/a#b",
    "/authgate/%65nvoy/x",
    "http://wiki.example.com/authgate/envoy/Public",
]
QUERIES = [
    "",
    "?host=wiki.example.com",
    "?host=wiki.example.com&allowed_groups=staff",
    "?",
    "?allowed_groups=staff",
    "?allowed_groups=guests,staff",
    "?allowed_groups=",
    "?allowed_groups=%C3%A9",
    "?allowed_emails=alice@example.com",
    "?allowed_email_domains=*.example.com,example.com",
    "?other=1",
    "?allowed_groups=a&allowed_groups=staff",
    "?allowed_groups=staff#x",
    "?allowed_groups=staff+",
    "?é",
    "?allowed_groups=é",
    "?allowed_groups=%",
    "??",
    "?allowed_emails=%zz,alice%40example.com",
]


@st.composite
def heads(draw: st.DrawFn) -> list[tuple[str, str]]:
    scheme, host = draw(st.sampled_from(ORIGINS[:3]) | st.sampled_from(ORIGINS))
    uri = draw(
        st.one_of(st.sampled_from(URIS[:5]), st.sampled_from(URIS), st.text("/.%2eE;\\#?a ", max_size=12))
    )
    client = draw(
        mostly("10.0.0.1", "198.51.100.7", "1.2.3.4, 10.0.0.2", "::ffff:10.0.0.1", "x", "", "10.0.0.1,")
    )
    headers = [
        ("Host", draw(mostly("portal", "wiki.example.com"))),
        ("X-Scheme", scheme),
        ("X-Real-IP", client),
        ("X-Forwarded-Method", draw(mostly("GET", "HEAD", "POST", "get", "PROPFIND", "G T", ""))),
        ("X-Forwarded-Proto", scheme),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Uri", uri),
        ("X-Forwarded-For", client),
        ("X-Original-URL", f"{scheme}://{host}{uri}"),
        ("X-Original-Method", "GET"),
    ]
    more = draw(
        st.just([])
        | st.lists(
            st.sampled_from(
                [
                    ("Sec-Fetch-Mode", "navigate"),
                    ("Sec-Fetch-Mode", "cors"),
                    ("Sec-Fetch-Site", "none"),
                    ("Accept", "text/html"),
                    ("accept", "application/json"),
                    ("X-Requested-With", "XMLHttpRequest"),
                    ("Sec-Purpose", "prefetch"),
                    ("Referer", f"{WIKI}/before"),
                    ("Referer", "https://evil.example.org/"),
                    ("X_Forwarded_Uri", "/Public"),
                    ("x-forwarded-uri", "/Public"),
                    ("Authorization", "Basic eDp5"),
                    ("Cookie", "__Host-ikd_nonce=aaaaaaaaaaaaaaaaaaaaaa"),
                    ("Content-Length", "0"),
                    ("X-Empty", ""),
                    ("Connection", "close"),
                    ("Connection", "keep-alive"),
                    ("Sec-WebSocket-Key", "x"),
                    ("Upgrade", "websocket"),
                    ("Expect", "100-continue"),
                    ("X-Auth-Request-User", "carol"),
                ]
            ),
            max_size=3,
        )
    )
    missing = draw(mostly("", "X-Forwarded-Uri", "X-Forwarded-For", "Host"))
    return draw(st.permutations([pair for pair in headers + more if pair[0] != missing]))


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_the_front_writes_what_the_view_answers(
    data: st.DataObject, worker: Feed, cookies: list[str], authorizations: list[str]
) -> None:
    path = data.draw(st.sampled_from(PATHS)) + data.draw(mostly(*QUERIES))
    method = data.draw(mostly("GET", "HEAD", "POST", "OPTIONS"))
    version = data.draw(mostly("1.1", "1.1", "1.0"))
    chosen = data.draw(
        st.sampled_from(cookies).map(lambda one: [one]) | st.lists(st.sampled_from(cookies), max_size=2)
    )
    separator = data.draw(st.sampled_from(["; ", ";", ";\t", " ;"]))
    headers = [*data.draw(heads()), *([("Cookie", separator.join(chosen))] if chosen else [])]
    if data.draw(st.booleans()):
        headers.append(("Authorization", data.draw(st.sampled_from(authorizations))))
    peer = data.draw(st.sampled_from(["127.0.0.1", "127.0.0.1", None, "192.0.2.66"]))
    lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in headers), "", ""]
    octets = "\r\n".join(lines).encode("utf-8")
    with time_machine.travel(NOW, tick=False):
        worker.memory.forget(everybody=True)
        worker.memory._wrong = WrongTries()
        if data.draw(st.sampled_from([True, True, True, False])):
            through_the_view_if_it_is_a_request(octets, peer)

        written, left = through_the_front(octets, peer)
        if left is not None or written.startswith(NO_REQUEST):
            event("left to the view")
            return
        event(f"answered {parsed(written)[0]}")
        assert in_any_order(parsed(written)) == in_any_order(through_the_view(octets, peer))


def in_any_order(
    answer: tuple[int, list[tuple[str, str]], bytes],
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return an answer with sorted headers: the front writes the application's own Authorization first."""
    return answer[0], sorted(answer[1]), answer[2]


def through_the_view_if_it_is_a_request(octets: bytes, peer: str | None) -> None:
    """Let the view load what it needs into memory."""
    feed_module.current, worker = None, feed_module.current
    _, left = through_the_front(octets, peer)
    feed_module.current = worker
    if left is not None:
        through_the_view(octets, peer)


def test_the_front_answers_some_of_the_compared_requests(worker: Feed, cookies: list[str]) -> None:
    """The test above would also pass if the front left everything to the view."""
    with time_machine.travel(NOW, tick=False):
        for octets in (check_bytes(cookies[0]), check_bytes(cookies[1]), check_bytes()):
            through_the_view(octets, "127.0.0.1")
            written, left = through_the_front(octets, "127.0.0.1")

            assert left is None
            assert in_any_order(parsed(written)) == in_any_order(through_the_view(octets, "127.0.0.1"))


@pytest.mark.parametrize("query", QUERIES)
def test_the_front_and_django_read_every_query_alike(query: str, worker: Feed, cookies: list[str]) -> None:
    octets = check_bytes(cookies[0]).replace(b"/authgate/nginx", f"/authgate/nginx{query}".encode())
    with time_machine.travel(NOW, tick=False):
        through_the_view(check_bytes(cookies[0]), "127.0.0.1")

        written, left = through_the_front(octets, "127.0.0.1")

        is_no_request = written.startswith(NO_REQUEST)
        assert left is not None or is_no_request or parsed(written) == through_the_view(octets, "127.0.0.1")


@pytest.mark.parametrize("name", ["X_Forwarded_Uri", "X.Auth.Request.User"])
def test_an_alias_of_a_header_is_reported(name: str, worker: Feed) -> None:
    octets = check_bytes(origin=PUBLIC).replace(b"\r\n\r\n", f"\r\n{name}: x\r\n\r\n".encode())
    writer.clear()
    with time_machine.travel(NOW, tick=False):
        written, left = through_the_front(octets, "127.0.0.1")
        writer.flush()

    assert left is None and parsed(written)[0] == 200
    assert ConfigurationEvent.objects.get(contract="nginx").reason.startswith("header names with underscores")


@pytest.mark.parametrize("is_known", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("number", range(12))
def test_a_warm_check_calls_nothing_of_django(
    number: int, is_known: bool, worker: Feed, cookies: list[str]
) -> None:
    octets = check_bytes(cookies[number])
    with time_machine.travel(NOW, tick=False):
        worker.memory.forget(everybody=True)
        for _ in range(1 + is_known):
            written, left = through_the_front(octets, "127.0.0.1")

        assert left is None
        assert in_any_order(parsed(written)) == in_any_order(through_the_view(octets, "127.0.0.1"))
