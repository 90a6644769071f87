"""Any bytes in any header get an answer, and only a rule that admits the request lets it in."""

from __future__ import annotations

import hashlib
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from authgate.check.memory import Memory, Session
from authgate.check.missing import (
    Missing,
    MissingApplication,
    MissingCode,
    MissingEndpoint,
    MissingProgram,
    MissingSession,
)
from authgate.check.pipeline import check
from authgate.check.request import Facts, headers_from
from authgate.check.responses import Answer
from authgate.decision.rules import Rule, Subject, Who
from authgate.worker import loader
from authgate.worker.rule_compiler import application_of
from tests.authgate.asking import WIKI

OPEN = "https://open.example.com"
TOKEN = "t" * 43
NAMES = [
    b"x-forwarded-method",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-uri",
    b"x-forwarded-for",
    b"host",
    b"x-scheme",
    b"x-real-ip",
    b"cookie",
    b"accept",
    b"referer",
    b"sec-fetch-mode",
    b"sec-purpose",
    b"authorization",
    b"x-original-url",
    b"x-original-method",
]
GOOD = [
    b"GET",
    b"HEAD",
    b"POST",
    b"https",
    b"http",
    b"wss",
    b"wiki.example.com",
    b"open.example.com",
    b"sso.example.com",
]
GOOD += [
    b"/",
    b"/open/x",
    b"/a?ikdcode=" + b"C" * 43,
    b"/authgate/start",
    b"/%2e%2e/x",
    b"192.0.2.1",
    b"::1, 10.0.0.1",
    b"https://wiki.example.com/",
    b"https://open.example.com/open/x",
]
GOOD += [
    b"__Host-ikd_gate=" + TOKEN.encode(),
    b"__Host-ikd_gate=x; __Host-ikd_gate=y",
    b"navigate",
    b"cors",
    b"text/html",
]
values = st.one_of(st.sampled_from(GOOD), st.binary(max_size=30), st.just(b""))
headers = st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=12)
REDIRECTING = ("/authgate/traefik", "/authgate/caddy", "/authgate/haproxy", "/authgate/envoy/")
paths = st.sampled_from(["/authgate/nginx", "/authgate/ingress-nginx", *REDIRECTING, "/oauth2/auth"])
targets = st.one_of(st.none(), st.builds(lambda octets: b"/authgate/envoy" + octets, values))
queries = st.one_of(
    st.just(""), st.just("allowed_groups=staff"), st.just("host=wiki.example.com"), st.text(max_size=20)
)
peers = st.sampled_from(["127.0.0.1", None, "192.0.2.66", "junk"])

STAFF_ONLY = application_of(
    id=1,
    name="Wiki",
    rules=[("/", False, Rule(1, Who.CHOSEN, groups=frozenset({1}))), ("/open", False, Rule(2, Who.EVERYONE))],
)
PUBLIC = application_of(id=2, name="Open", rules=[("/", False, Rule(3, Who.EVERYONE))])
ALICE = Subject(1, "uuid", "alice", "Alice", "a@example.com", ((1, "staff"),))


def memory() -> Memory:
    """Return a memory with two applications, where only `TOKEN` is signed in."""
    known = Memory(loader.gate_settings())
    known.applications = {WIKI: STAFF_ONLY, OPEN: PUBLIC}
    known.sessions = {hashlib.sha256(TOKEN.encode()).digest(): Session(WIKI, 1, ALICE, 2e10, 2e10)}
    return known


def answered(facts: Facts) -> Answer | Missing:
    """Ask as the view does, with a database that has no other rows."""
    known = memory()
    while True:
        found = check(facts, known)
        if isinstance(found, Answer | MissingCode | MissingEndpoint):
            return found
        match found:
            case MissingApplication(origin=origin):
                known.applications[origin] = None
            case MissingSession(digest=key) | MissingProgram(key=key):
                known.sessions[key] = None


many = settings(max_examples=10 * settings().max_examples)


NAMING_HOST = {
    "/oauth2/auth": b"host",
    "/authgate/envoy/": b"host",
    "/authgate/ingress-nginx": b"x-original-url",
}


@many
@given(paths, queries, headers, peers, targets)
def test_any_headers_get_an_answer(
    path: str, query: str, headers: list[tuple[bytes, bytes]], peer: str | None, target: bytes | None
) -> None:
    found = answered(Facts(path, query, headers_from(headers), peer, time.time(), "GET", target))

    if isinstance(found, Missing):
        assert path in REDIRECTING
        return
    assert found.status in (200, 302, 303, 400, 401, 403)
    for name, value in found.headers:
        assert all(0x20 <= octet < 0x7F for octet in name + value)
    assert sum(len(name) + len(value) + 4 for name, value in found.headers) <= 4096
    if found.status == 200:
        names = {name for name, _ in headers}
        assert peer in ("127.0.0.1", None)
        told = dict(headers)
        host = told[NAMING_HOST.get(path, b"x-forwarded-host")].removeprefix(b"https://").partition(b"/")[0]
        assert host in (b"wiki.example.com", b"open.example.com", b"sso.example.com")
        assert found.body == b""
        assert b"cookie" in names or dict(found.headers)[b"x-auth-request-user"] == b""


full = st.fixed_dictionaries(dict.fromkeys(NAMES[:5], values))


@many
@given(full, st.lists(st.tuples(st.sampled_from(NAMES[8:]), values), max_size=4))
def test_a_user_is_named_only_for_their_own_token(
    named: dict[bytes, bytes], more: list[tuple[bytes, bytes]]
) -> None:
    headers = [*named.items(), *more]
    found = answered(Facts("/authgate/nginx", "", headers_from(headers), "127.0.0.1", time.time()))

    assert isinstance(found, Answer)
    user = dict(found.headers).get(b"x-auth-request-user", b"")
    lines = [value for name, value in headers if name == b"cookie"]
    assert user == b"" or any(TOKEN.encode() in line for line in lines)
    if found.status in (302, 303):
        raise AssertionError("nginx cannot pass on a redirect")
