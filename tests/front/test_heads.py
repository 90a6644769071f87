"""Remembered request heads: a connection that knows some answers exactly like one that knows none."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from authgate.check.credentials import token_key
from authgate.check.memory import UNKNOWN, Program, Session
from authgate.decision.rules import Application, Rule, Subject, Who
from authgate.endpoints.protocol import Front
from authgate.worker import feed as feed_module
from authgate.worker import loader
from authgate.worker.feed import Feed
from authgate.worker.head_cache import Head, Heads
from authgate.worker.head_parts import Lines, lines_in, split_head
from authgate.worker.memory import WorkerMemory
from authgate.worker.rule_compiler import application_of
from tests.front.serving import WIKI, check_bytes
from tests.test_uvicorn import Wire

COOKIE = "__Host-ikd_gate=" + "t" * 43
STAFF = Subject(1, "uuid", "alice", "Alice", "alice@example.com", ((1, "staff"),))
TOKEN = f"ikd_{0:043}2CZclj"
"""A fixed token, the same in all processes, because the names of tests contain it."""

API = {"Authorization": f"Bearer {TOKEN}"}
FAR = time.time() + 1e6


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def wiki(staff: int = 1, **wishes: Any) -> Application:
    rules = [
        ("/", False, Rule(1, Who.CHOSEN, groups=frozenset({staff}))),
        ("/public", False, Rule(2, Who.EVERYONE)),
        ("/Capital", False, Rule(3, Who.CHOSEN, groups=frozenset({2}))),
        ("/read", False, Rule(4, Who.SIGNED_IN, methods=frozenset({"GET"}))),
        ("/near", False, Rule(5, Who.EVERYONE, networks=("10.0.0.0/8",))),
    ]
    return application_of(id=1, name="Wiki", rules=rules, **wishes)


@pytest.fixture
def worker() -> Iterator[Feed]:
    """A worker with one application, one session and one program's token in memory. It needs no database."""
    memory = WorkerMemory(
        loader.gate_settings(), clock=feed_module.boottime, random=lambda length: bytes(range(length))
    )
    feed_module.current = worker = Feed(memory)
    worker.fresh_until = float("inf")
    fill(memory)
    with time_machine.travel(time.time(), tick=False):  # a sealed state holds the second
        yield worker
    feed_module.current = None


def fill(memory: WorkerMemory) -> None:
    memory.forget(everybody=True)
    memory.issuers = frozenset()
    memory.hold_applications([(wiki(), (WIKI,))])
    memory.hold(digest("t" * 43), Session(WIKI, 1, STAFF, FAR, FAR), memory.generation)
    program = Program(STAFF, FAR, frozenset({1}), 7)
    memory.hold(token_key(digest(TOKEN)), program, memory.generation)


class Connection:
    """A connection into the front, with what it wrote. Requests left to Django get no answer."""

    def __init__(self, peer: str = "127.0.0.1", kind: type[Front] = Front) -> None:
        async def no_answer(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError("nothing runs here")

        self._loop = asyncio.new_event_loop()
        config = Config(app=no_answer, http=Front, ws="none", lifespan="off", log_config=None)
        config.load()
        self.front = kind(config, ServerState(), {}, self._loop)
        self.wire = Wire()
        self.wire.get_extra_info = lambda name, default=None: (  # type: ignore[method-assign]
            (peer, 50_000) if name == "peername" else default
        )
        self.front.connection_made(self.wire)

    def ask(self, octets: bytes) -> tuple[bytes, bool]:
        """Return the answer, and whether the parser was skipped."""
        before, begun = len(self.wire.written), self.front.heads_begun
        self.front.heads_begun = 0
        self.front.data_received(octets)
        left_out = not self.front.heads_begun and len(self.wire.written) > before
        self.front.heads_begun = begun
        return self.wire.written[before:], left_out

    def close(self) -> None:
        for timer in (self.front.idle_timer, self.front.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


def connection_with_known_head(octets: bytes, kind: type[Front] = Front) -> Connection:
    """Return a connection on which this head was allowed often enough to be remembered."""
    connection = Connection(kind=kind)
    for _ in range(4):
        connection.ask(octets)
    return connection


@pytest.mark.parametrize(
    ("octets", "is_remembered"),
    [
        (check_bytes(COOKIE), True),
        (check_bytes(COOKIE, check="/authgate/traefik"), True),
        (check_bytes(COOKIE, check="/authgate/nginx?allowed_groups=staff"), True),
        (check_bytes(**API), True),
        (check_bytes(path="/public/a.css"), True),
        (check_bytes(COOKIE).replace(b"X-Forwarded-Uri", b"x-forwarded-uri"), True),
        (check_bytes(COOKIE, Connection="keep-alive"), True),
        (check_bytes(), True),
        (check_bytes(COOKIE, Authorization="Basic eDp5"), True),
        (check_bytes(COOKIE, Authorization="Bearer theirs"), True),
        (check_bytes(COOKIE, Authorization="Bearer ikd_wrong"), False),
        (check_bytes(COOKIE, Authorization="Basic YWxpY2U6aWtkX3Rva2Vu"), False),
        (check_bytes(check="/authgate/traefik", Sec_Fetch_Mode="navigate"), True),
        (check_bytes("__Host-ikd_nonce=x", check="/authgate/traefik", Sec_Fetch_Mode="navigate"), False),
        (check_bytes(COOKIE, path="/Capital/x"), True),
        (check_bytes(COOKIE, origin="https://sso.example.com"), False),
        (check_bytes(COOKIE, origin="https://nobody.example.org"), False),
        (check_bytes(COOKIE, X_Forwarded_For="x"), False),
        (check_bytes(COOKIE, method="HEAD"), False),
        (check_bytes(COOKIE, path="/%2e"), True),
        (check_bytes(COOKIE, More="x" * 9000), False),
        (check_bytes(COOKIE).replace(b"X-Forwarded-Uri: /", b"X-Forwarded-Uri:/"), False),
        (check_bytes(COOKIE, check="/oauth2/auth", X_Scheme="https", X_Real_IP="10.0.0.1"), False),
        (
            check_bytes(check="/authgate/envoy/public", Host="wiki.example.com", X_Forwarded_Uri="/public"),
            False,
        ),
        (
            check_bytes(
                COOKIE,
                check="/authgate/ingress-nginx?host=wiki.example.com",
                X_Original_URL=f"{WIKI}/",
                X_Original_Method="GET",
                X_Real_IP="10.0.0.1",
            ),
            False,
        ),
    ],
)
def test_a_head_that_is_allowed_again_is_remembered(octets: bytes, is_remembered: bool, worker: Feed) -> None:
    connection = Connection()

    found = [connection.ask(octets) for _ in range(5)]

    connection.close()
    assert {written for written, _ in found[1:]} == {found[0][0]}
    assert [left_out for _, left_out in found] == [False] * 3 + [is_remembered] * 2


# ---- as a new connection would answer ---------------------------------------------------------------------

PATHS = ["/", "/public", "/public/x", "/public/../x", "/Public", "/capital", "/Capital/x", "/read", "/near"]
PATHS += ["/a?b=c", "/authgate/start", "/authgate/refused?x", "/?ikdcode=" + "c" * 43, "/%2e%2e/", "//x"]
PATHS += ["/;a", "/#", "/a#b", "/?a#b", "/é", "/?é", "*", "x", "", " /", "/ ", "/a b", "/\t", "/\x00"]
PATHS += ["/a\nX-Forwarded-Uri: /public"]
LINES = [
    b"X-Forwarded-Uri: /public\r\n",
    b"x-forwarded-uri: /public\r\n",
    b"X-Forwarded-Host: public.example.com\r\n",
    b"X-Forwarded-For: 10.0.0.1\r\n",
    b"X-Auth-Request-User: carol\r\n",
    b"X_Forwarded_Uri: /public\r\n",
    b"Cookie: __Host-ikd_gate=x\r\n",
    b"Authorization: Basic eDp5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b" folded\r\n",
    b"Referer: https://wiki.example.com/x\r\n",
    b"referer: a b\r\n",
    b"X-Request-Id: 1\r\n",
    b"range: bytes=0-\r\n folded\r\n",
    b"If-None-Match: \x01\r\n",
    b"Traceparent: a\r\ntraceparent: b\r\n",
    b"\r\n",
]
FRAME = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}
AUTHORIZATION_FIRST = check_bytes(COOKIE, check="/authgate/haproxy").replace(
    b"Host: portal\r\n", b"Host: portal\r\nAuthorization: Basic eDp5\r\n", 1
)
BASES = [
    check_bytes(COOKIE),
    check_bytes(COOKIE, check="/authgate/traefik", Sec_Fetch_Mode="navigate"),
    check_bytes(COOKIE, check="/authgate/haproxy?port=443&allowed_groups=staff"),
    check_bytes(path="/public", check="/authgate/caddy"),
    check_bytes(**API),
    check_bytes(COOKIE, X_Forwarded_Method="POST"),
    check_bytes(Accept="*/*", User_Agent="curl/8", Referer=f"{WIKI}/ü".encode().decode("latin-1")),
    check_bytes(check="/authgate/traefik", Accept="text/html", Accept_Language="de"),
    check_bytes("__Host-ikd_nonce=" + "n" * 22, check="/authgate/caddy", Accept="text/html"),
    check_bytes(
        check="/authgate/caddy",
        Sec_Fetch_Mode="navigate",
        Sec_Fetch_Dest="iframe",
        Sec_Fetch_Site="cross-site",
    ),
    check_bytes(COOKIE, Authorization="Basic eDp5"),
    check_bytes(COOKIE, check="/authgate/traefik", Authorization="Bearer theirs"),
    check_bytes(COOKIE, check="/authgate/traefik", Authorization="Bearer eyJhIjoxfQ.eyJpc3MiOiJ4In0.c2ln"),
    check_bytes(Authorization="Basic eDp5").replace(
        b"Host: portal\r\n", b"Host: portal\r\nAuthorization: a\r\n", 1
    ),
    AUTHORIZATION_FIRST,
    check_bytes(COOKIE, Referer=f"{WIKI}/a", Authorization="Basic eDp5", check="/authgate/traefik"),
    check_bytes(Accept="*/*", Authorization="Basic eDp5", Referer=f"{WIKI}/a"),
    check_bytes(COOKIE, Referer=f"{WIKI}/a", If_None_Match='"a"', X_Request_Id="1"),
    check_bytes(COOKIE, check="/authgate/traefik", Authorization="Basic eDp5", Traceparent="00-1-2-01"),
]
REFERERS = [
    f"{WIKI}/b",
    f"{WIKI}/b?c=d&e",
    "https://evil.example/",
    "a b",
    "",
    "é",
    " x",
    "x ",
    "\x01",
    "Accept:",
]


@st.composite
def changed(draw: st.DrawFn, base: bytes) -> bytes:
    """Return a head similar to `base`, with another path, line or bytes, or with more data after it."""
    octets = base
    if draw(st.booleans()):
        path = draw(st.sampled_from(PATHS) | st.text("/.%2eE;\\#?aP ", max_size=12))
        octets = octets.replace(
            b"X-Forwarded-Uri: /", b"X-Forwarded-Uri: " + path.encode("utf-8", "surrogateescape"), 1
        )
    if draw(st.booleans()):
        referer = draw(st.sampled_from(REFERERS)).encode()
        octets = re.sub(rb"(?m)^Referer: .*\r$", b"Referer: " + referer + b"\r", octets, count=1)
    if draw(st.booleans()):
        tag = draw(st.sampled_from(REFERERS)).encode()
        octets = re.sub(rb"(?m)^If-None-Match: .*\r$", b"If-None-Match: " + tag + b"\r", octets, count=1)
    kind = draw(st.sampled_from(["as it is", "as it is", "line", "octet", "cut", "twice", "less"]))
    lines = octets.split(b"\r\n")
    at = draw(st.integers(1, len(lines) - 2))
    if kind == "line":
        lines[at:at] = draw(st.sampled_from(LINES)).removesuffix(b"\r\n").split(b"\r\n")
        octets = b"\r\n".join(lines)
    elif kind == "less":
        octets = b"\r\n".join(lines[:at] + lines[at + 1 :])
    elif kind == "octet":
        position = draw(st.integers(0, len(octets) - 1))
        octets = octets[:position] + draw(st.binary(min_size=0, max_size=2)) + octets[position + 1 :]
    elif kind == "cut":
        octets = octets[: draw(st.integers(1, len(octets) - 1))]
    elif kind == "twice":
        octets += draw(st.sampled_from([octets, b"\r\n", b"\r", b"G", b"GET / HTTP/1.1\r\n\r\n"]))
    return octets


def another_world(memory: WorkerMemory, what: str) -> None:
    """Change memory as the reader of the change feed would."""
    if what == "session ended":
        memory.forget(sign_ins=[1], users=[1])
    elif what == "session over":
        memory.forget(users=[1])
        memory.hold(digest("t" * 43), Session(WIKI, 1, STAFF, 1.0, FAR), memory.generation)
    elif what == "session elsewhere":
        memory.forget(users=[1])
        memory.hold(digest("t" * 43), Session("https://x.example.com", 1, STAFF, FAR, FAR), memory.generation)
    elif what == "no group":
        memory.forget(users=[1])
        nobody = Subject(1, "uuid", "alice")
        memory.hold(digest("t" * 43), Session(WIKI, 1, nobody, FAR, FAR), memory.generation)
    elif what == "renamed group":
        memory.forget(users=[1])
        renamed = Subject(1, "uuid", "alice", groups=((1, "others"),))
        memory.hold(digest("t" * 43), Session(WIKI, 1, renamed, FAR, FAR), memory.generation)
    elif what == "other token":
        memory.forget(users=[1])
        program = Program(STAFF, FAR, frozenset({2}), 7)
        memory.hold(token_key(digest(TOKEN)), program, memory.generation)
    elif what == "other rule":
        memory.hold_applications([(wiki(staff=9), (WIKI,))])
    elif what == "disabled":
        memory.hold_applications([(wiki(enabled=False), (WIKI,))])
    elif what == "other issuers":
        memory.issuers = frozenset({"x"})
    elif what == "issuers unknown":
        memory.issuers = UNKNOWN
    elif what == "gone":
        memory.forget_application(1)
    elif what == "other ports":
        other = application_of(id=2, name="Other", rules=[("/", False, Rule(9, Who.EVERYONE))])
        memory.hold_applications([(other, (f"{WIKI}:8443",))])


COUNTS_EVERYWHERE = ["session ended", "session over", "session elsewhere", "no group", "other rule"]
COUNTS_EVERYWHERE += ["disabled", "gone"]
WORLDS = [*COUNTS_EVERYWHERE, "renamed group", "other token", "other ports"]
ISSUERS = ["other issuers", "issuers unknown"]


class Forgetful(Front):
    """The front without its memory for heads."""

    data_received = HttpToolsProtocol.data_received


@st.composite
def talks(draw: st.DrawFn) -> tuple[list[bytes], str, list[bytes]]:
    """Return the data of a connection before and after memory changes. Much of it repeats."""
    base = draw(st.sampled_from(BASES))
    odd = [base, *(draw(changed(base)) for _ in range(draw(st.integers(0, 3))))]
    before = [base] * draw(st.integers(0, 4))
    for _ in range(draw(st.integers(0, 4))):
        before += [draw(st.sampled_from(odd))] * draw(st.integers(1, 4))
    after = [draw(st.sampled_from(odd) | changed(base)) for _ in range(draw(st.integers(0, 3)))]
    return before, draw(st.sampled_from(["as it was", "as it was", *WORLDS, *ISSUERS])), after


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(talk=talks())
def test_connections_with_and_without_known_heads_answer_alike(
    talk: tuple[list[bytes], str, list[bytes]], worker: Feed
) -> None:
    before, what, after = talk
    told = []
    for kind in (Front, Forgetful):
        worker.memory.forget_application(2)
        fill(worker.memory)
        connection = Connection(kind=kind)
        found = [connection.ask(octets) for octets in before]
        another_world(worker.memory, what)
        found += [connection.ask(octets) for octets in after]
        connection.close()
        event(f"the parser was left out: {any(left_out for _, left_out in found)}")
        told.append([without_date(written) for written, _ in found])

    assert told[0] == told[1]


@pytest.mark.parametrize("number", range(len(BASES)))
@pytest.mark.parametrize("path", PATHS)
def test_any_path_in_a_known_head_is_answered_as_without_memory(number: int, path: str, worker: Feed) -> None:
    base = BASES[number]
    octets = base.replace(b"X-Forwarded-Uri: /", b"X-Forwarded-Uri: " + path.encode(), 1)
    found = [connection_with_known_head(base, kind=kind) for kind in (Front, Forgetful)]

    told = [without_date(connection.ask(octets)[0]) for connection in found]

    for connection in found:
        connection.close()
    assert told[0] == told[1]


@pytest.mark.parametrize("number", range(len(BASES)))
@pytest.mark.parametrize("line", LINES)
def test_a_head_with_another_line_is_not_taken_for_a_known_head(
    number: int, line: bytes, worker: Feed
) -> None:
    """This holds if the head without the line is known, and if the longer head came often itself."""
    lines = BASES[number].split(b"\r\n")
    for at in range(1, len(lines) - 1):
        octets = b"\r\n".join([*lines[:at], line.removesuffix(b"\r\n"), *lines[at:]])
        elsewhere = octets.replace(b"X-Forwarded-Uri: /", b"X-Forwarded-Uri: /capital", 1)
        found = [connection_with_known_head(BASES[number], kind=kind) for kind in (Front, Forgetful)]

        told = [
            [without_date(connection.ask(each)[0]) for each in [*[octets] * 4, elsewhere]]
            for connection in found
        ]

        for connection in found:
            connection.close()
        assert told[0] == told[1]


@pytest.mark.parametrize("more", [b"\r\n", b"\r", b"G", b"\r\nGET / HTTP/1.1\r\n\r\n", None])
def test_data_after_a_known_head_in_the_same_read_is_answered(more: bytes | None, worker: Feed) -> None:
    octets = BASES[0] * 2 if more is None else BASES[0] + more
    found = [connection_with_known_head(BASES[0], kind=kind) for kind in (Front, Forgetful)]

    told = [[without_date(connection.ask(octets)[0]) for _ in range(5)] for connection in found]

    for connection in found:
        connection.close()
    assert told[0] == told[1]


def test_an_application_at_the_portals_own_origin_receives_no_user(worker: Feed) -> None:
    portal = "https://sso.example.com"
    worker.memory.hold_applications([(wiki(), (portal,))])
    worker.memory.hold(digest("t" * 43), Session(portal, 1, STAFF, FAR, FAR), worker.memory.generation)
    octets = check_bytes(COOKIE, origin=portal, check="/authgate/nginx?allow_portal=true")
    connection = connection_with_known_head(octets)

    written, _ = connection.ask(octets)

    connection.close()
    assert b" 200 " in written
    assert b"x-auth-request-user: \r\n" in written


def without_date(written: bytes) -> list[bytes]:
    return [line for line in written.split(b"\r\n") if not line.lower().startswith(b"date:")]


@pytest.mark.parametrize(
    ("base", "what"),
    [
        *(
            (base, what)
            for base in BASES[:3]
            for what in WORLDS
            if what not in ("renamed group", "other ports")
        ),
        *((BASES[4], what) for what in ("session ended", "other token", "other rule", "disabled", "gone")),
        (BASES[1], "other ports"),
        (BASES[2], "renamed group"),
    ],
)
def test_changes_apply_to_a_known_head(base: bytes, what: str, worker: Feed) -> None:
    connection = connection_with_known_head(base)
    before, was_left_out = connection.ask(base)
    another_world(worker.memory, what)

    after, _ = connection.ask(base)

    connection.close()
    assert before.startswith(b"HTTP/1.1 200 ") and was_left_out
    assert not after.startswith(b"HTTP/1.1 200 ")


def test_a_known_head_is_not_answered_from_old_memory(worker: Feed) -> None:
    connection = connection_with_known_head(BASES[0])
    worker.fresh_until = 0.0

    written, _ = connection.ask(BASES[0])

    connection.close()
    assert not written


def test_a_known_head_opens_no_forbidden_path(worker: Feed) -> None:
    connection = connection_with_known_head(BASES[0])

    found = {path: connection.ask(check_bytes(COOKIE, path=path))[0][9:12] for path in ("/x", "/capital/x")}

    connection.close()
    assert found == {"/x": b"200", "/capital/x": b"403"}


def test_a_head_known_for_one_peer_is_unknown_for_another(worker: Feed) -> None:
    known = connection_with_known_head(BASES[0])
    stranger = Connection("192.0.2.66")

    found = [stranger.ask(BASES[0]) for _ in range(4)]

    known.close()
    stranger.close()
    assert {(written[9:12], left_out) for written, left_out in found} == {(b"403", False)}


def test_half_a_head_after_a_known_one_waits_for_the_rest(worker: Feed) -> None:
    connection = connection_with_known_head(BASES[0])

    first, _ = connection.ask(BASES[0][:100])
    second, _ = connection.ask(BASES[0][100:])

    connection.close()
    assert (first, second[9:12]) == (b"", b"200")


def test_while_a_process_ends_uvicorn_answers_known_heads(worker: Feed) -> None:
    connection = connection_with_known_head(BASES[0])
    Front.is_ending = True
    try:
        _, left_out = connection.ask(BASES[0])
    finally:
        Front.is_ending = False

    connection.close()
    assert not left_out


def test_remembered_heads_contain_no_secret(worker: Feed) -> None:
    for base in BASES:
        connection_with_known_head(base).close()

    kept = pickle.dumps((worker.heads._let_in.__dict__, worker.heads._turned_away.__dict__))

    assert len(worker.heads) == len(set(BASES))
    assert not [each for each in ("t" * 43, "n" * 22, TOKEN, "eDp5", "theirs") if each.encode() in kept]


# ---- the key of a head ------------------------------------------------------------------------------------


MARK = b"\r\nX-Forwarded-Uri: "
REFERER = b"\r\nReferer: "
LINES_CUT = Lines(MARK, (REFERER,))
pieces = st.lists(st.sampled_from([b"a", MARK, REFERER, b"\r\n", b"/p"]), max_size=7).map(b"".join)


@settings(max_examples=2000)
@given(pieces, pieces)
@example(b"a" + MARK + b"/p\r\nb", b"ab" + MARK + b"\r\n")
@example(MARK + b"/p\r\n" + MARK + b"/q\r\n", MARK + b"/q\r\n" + MARK + b"/q\r\n")
def test_heads_with_the_same_key_differ_only_in_path_and_referer(one: bytes, other: bytes) -> None:
    found = split_head(one, LINES_CUT), split_head(other, LINES_CUT)

    if found[0] is None or found[1] is None or found[0].known_by != found[1].known_by:
        return
    assert found[0].constant == found[1].constant
    assert (found[0].referer is None) == (found[1].referer is None)
    for octets, parts in zip((one, other), (found[0], found[1]), strict=True):
        without = octets.replace(MARK + parts.path + b"\r\n", MARK + b"\r\n", 1)
        if parts.referer is not None:
            without = without.replace(REFERER + parts.referer + b"\r\n", REFERER + b"\r\n", 1)
        assert without == parts.constant


def test_a_head_with_another_referer_is_known(worker: Feed) -> None:
    base = check_bytes(COOKIE, Referer=f"{WIKI}/a")
    connection = connection_with_known_head(base)

    found = connection.ask(base.replace(b"/a\r\n", b"/b?c\r\n"))

    connection.close()
    assert found[0][9:12] == b"200" and found[1]


def test_the_way_to_sign_in_follows_the_referer_of_a_known_head(worker: Feed) -> None:
    base = check_bytes(Accept="*/*", Referer=f"{WIKI}/a")
    connection = connection_with_known_head(base)

    written, left_out = connection.ask(base.replace(b"/a\r\n", b"/b?c\r\n"))

    connection.close()
    assert left_out
    assert b"/authgate/start?rd=https%3A%2F%2Fwiki.example.com%2Fb%3Fc\r\n" in written


def test_the_path_header_is_found_as_the_proxy_spells_it() -> None:
    assert lines_in(b"GET / HTTP/1.1\r\nX-FORWARDED-Uri: /\r\n\r\n") == Lines(b"\r\nX-FORWARDED-Uri: ")
    assert lines_in(b"GET / HTTP/1.1\r\nX-Forwarded-Uri:/\r\n\r\n") == Lines()
    assert split_head(b"GET / HTTP/1.1\r\nX-Forwarded-Uri:/\r\n\r\n", Lines()) is None


def test_the_number_of_heads_is_bounded_and_used_ones_stay() -> None:
    heads, head = Heads(limit=10), Head(*[None] * 8)  # type: ignore[arg-type]
    for _ in range(2):
        heads.note(b"in use", lambda: head)

    for number in range(1000):
        heads.note(b"%d" % number, lambda: head)
        assert heads.get(b"in use") is head

    assert len(heads) <= 20


def test_an_unreadable_head_is_not_read_again() -> None:
    heads, readings = Heads(), []
    for _ in range(5):
        heads.note(b"unfit", lambda: readings.append(1))

    assert len(readings) == 1 and heads.get(b"unfit") is None


def test_a_head_that_differs_only_in_unread_headers_is_known(worker: Feed) -> None:
    connection = Connection()

    def ask(number: int) -> tuple[bytes, bool]:
        octets = check_bytes(
            COOKIE,
            path=f"/{number}",
            Referer=f"{WIKI}/{number}",
            X_Request_Id=str(number),
            If_None_Match=f'"{number}"',
            range=f"bytes={number}-",
        )
        return connection.ask(octets)

    for number in range(4):
        ask(number)

    found = [ask(number) for number in range(4, 200)]
    plain = [connection.ask(check_bytes(COOKIE)) for _ in range(4)]

    connection.close()
    assert {(written[9:12], left_out) for written, left_out in found} == {(b"200", True)}
    assert plain[-1][1]


def test_among_many_new_heads_few_are_compared_and_a_repeated_one_is_found(worker: Feed) -> None:
    connection = Connection()
    for number in range(200):
        connection.ask(check_bytes(COOKIE, X_Unknown=str(number)))
    noted = len(worker.heads)

    found = [connection.ask(BASES[0]) for _ in range(150)]

    connection.close()
    assert 8 <= noted <= 20
    assert {written[9:12] for written, _ in found} == {b"200"}
    assert found[-1][1]
