"""For any rules, user and request, Explain shows the bytes of the check's answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import time_machine
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, event, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from accounts.machines.api_tokens import make_token
from accounts.models import ApiToken, StrictGroup, User
from authgate.check.contracts import check_url
from authgate.check.memory import Memory
from authgate.check.request import Facts, headers_from
from authgate.check.responses import Answer
from authgate.check.state import new_code, unseal
from authgate.cookies import gate_name, place_of
from authgate.decision.rules import Verdict
from authgate.endpoints.check_view import answer_check
from authgate.explain.explanation import PROVIDER_TOKENS, Unsigned, contracts, explain, placeholder
from authgate.explain.persons import Person, standing_of
from authgate.explain.question import question_from
from authgate.models import Application, GateSession, Rule
from authgate.sign_ins import begin_sign_in, open_gate
from authgate.worker import loader
from tests.dialects import check_request
from tests.factories import ApplicationFactory, GroupFactory, RuleFactory, UserFactory

TOKEN = re.compile(rb"ikd_[0-9A-Za-z]{49}")
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
ORIGINS = [
    "https://wiki.example.com",
    "https://wiki.example.com:8443",
    "https://deep.apps.example.com",
    "http://plain.example.com",
    "https://shared.example.org",
    "https://sso.example.com",
    "https://sso.example.com:444",
    "https://nobody.example.net",
    "https://[2001:db8::1]",
]
PATHS = [
    "/",
    "/admin",
    "/admin/x?q=1",
    "/ADMIN",
    "/Public",
    "/%61dmin",
    "/public/../admin",
    "/a;b/../admin//x",
    "/%zz",
    "/" + "x" * 3000,
    "/?" + "y" * 5000,
]
METHODS = ["GET", "GET", "HEAD", "POST", "get", "PROPFIND", "G T"]
CLIENTS = ["192.0.2.7", "10.1.2.3", "fe80::1%eth0", "::ffff:10.0.0.1", "[2001:db8::9]:443"]
QUERIES = [
    "",
    "",
    "",
    "allowed_groups=staff",
    "allowed_emails=ann@example.com",
    "other=1",
    "allow_portal=true",
]


@dataclass
class World:
    people: dict[str, User]
    tokens: dict[str, str]


@pytest.fixture
def world(db: None, settings: object) -> Iterator[World]:
    settings.IKD_SHARED_COOKIE_DOMAINS = ("example.org",)  # type: ignore[attr-defined]
    settings.IKD_TRUSTED_PROXIES = ["127.0.0.1/32"]  # type: ignore[attr-defined]
    with time_machine.travel(NOW, tick=False):
        people = {
            "ann": UserFactory(username="ann", email="ann@example.com", verified=True, groups=["staff"]),
            "ben": UserFactory(username="ben", email="ben@example.com", groups=["guests", "long, näme"]),
            "off": UserFactory(username="off", is_active=False, groups=["staff"]),
            "owes": UserFactory(username="owes", groups=["strict"]),
            "none": UserFactory(username="none"),
        }
        StrictGroup.objects.create(group=GroupFactory(name="strict"))
        ApplicationFactory(
            name="Wiki",
            origins=["https://wiki.example.com", "https://*.apps.example.com", "https://shared.example.org"],
            remote_headers=True,
            identity_jwt=True,
        )
        ApplicationFactory(name="Port", origins=["https://wiki.example.com:8443"], challenges="basic")
        ApplicationFactory(name="Plain", origins=["http://plain.example.com"], access_token=True)
        tokens = {
            name: make_token(people[name], "backup", Application.objects.exclude(name="Port"), 3600)[1]
            for name in ("ann", "ben", "off", "owes")
        }
        ApiToken.objects.filter(user=people["ben"]).update(ended_at=NOW)
        yield World(people, tokens)


rules = st.fixed_dictionaries(
    {
        "path": st.sampled_from(["/", "/", "/admin", "/Public", "/public"]),
        "exact": st.booleans(),
        "who": st.sampled_from(Rule.Who.values),
        "groups": st.lists(st.sampled_from(["staff", "guests", "strict"]), max_size=2, unique=True),
        "users": st.lists(st.sampled_from(["ann", "ben", "none"]), max_size=1),
        "methods": st.sampled_from(["", "", "GET", "POST PROPFIND"]),
        "networks": st.sampled_from(["", "", "10.0.0.0/8", "nonsense"]),
        "second_factor": st.booleans(),
        "expires_at": st.sampled_from([None, None, NOW, datetime(2031, 1, 1, tzinfo=UTC)]),
    }
)
persons = st.one_of(
    st.just(Person()),
    st.builds(Person, st.sampled_from(["ann", "ben", "off", "owes", "none"]), st.booleans()),
    st.builds(Person, st.sampled_from(["ann", "ben", "off", "owes"]), st.just(False), st.just("backup")),
)


def build(world: World, found: list[dict[str, object]]) -> None:
    for number, fields in enumerate(found):
        fields = {**fields, "users": [world.people[name] for name in fields["users"]]}  # type: ignore[attr-defined]
        RuleFactory(application=Application.objects.order_by("pk")[number % 3], **fields)


def credential(world: World, person: Person, origin: str) -> list[tuple[bytes, bytes]]:
    """Return the credential of a person, after creating a real sign-in or token."""
    if person.token:
        return [(b"authorization", f"Bearer {world.tokens[person.username]}".encode())]
    if not person.username:
        return []
    user = world.people[person.username]
    sign_in = begin_sign_in(
        user,
        session_digest=None,
        address=None,
        user_agent="",
        methods=["password"],
        keep=False,
        second_factor=person.second_factor,
    )
    place = place_of(origin, loader.shared_domains())
    token = open_gate(sign_in, place)

    return [(b"cookie", gate_name(place) + b"=" + token.encode())]


def real_answer(
    contract: str, url: str, method: str, client: str, query: str, more: list[tuple[bytes, bytes]]
) -> Answer | None:
    """Return the check's own answer, or None if an endpoint or a code would be run."""
    if contract.startswith("oauth2 nginx"):
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0]
        sent = [(b"host", host.encode()), (b"x-scheme", scheme.encode()), (b"x-real-ip", client.encode())]
        own, target = "GET", f"/oauth2/auth?{query}"
        headers = sent
    else:
        own, target, headers = check_request(
            f"/authgate/{contract}", url, method=method, client=client, query=query
        )
    path, _, asked = target.partition("?")
    memory = Memory(loader.gate_settings(), placeholder)
    memory.signer = Unsigned()
    key = check_url(path, "nginx")
    assert key is not None
    facts = Facts(key, asked, headers_from([*headers, *more]), None, NOW.timestamp(), own, target.encode())
    return answer_check(facts, memory)


def comparable(found: Answer) -> tuple[int, object, bytes]:
    """Return an answer without its random parts: the sent token, and the key of a kept page."""
    return found.status, [(name, _without_random_parts(value)) for name, value in found.headers], found.body


def _without_random_parts(value: bytes) -> object:
    value = TOKEN.sub(b"token", value)
    if value == PROVIDER_TOKENS.access:  # ann signed in without a provider, which Explain cannot know
        return b""
    before, separator, sealed = value.partition(b"/continue?state=")
    if not separator:
        return value
    state = unseal(sealed.decode(), loader.gate_settings().state_keys, NOW.timestamp())
    assert state is not None
    return before, state._replace(kept=str(len(state.kept)))


@pytest.mark.long
@examples(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    found=st.lists(rules, max_size=6),
    person=persons,
    origin=st.sampled_from(ORIGINS[:4]) | st.sampled_from(ORIGINS),
    path=st.sampled_from(PATHS),
    method=st.sampled_from(METHODS),
    client=st.sampled_from(CLIENTS),
    query=st.sampled_from(QUERIES),
    navigates=st.booleans(),
)
def test_explain_shows_the_same_answer_as_the_check(
    world: World,
    found: list[dict[str, object]],
    person: Person,
    origin: str,
    path: str,
    method: str,
    client: str,
    query: str,
    navigates: bool,
) -> None:
    with transaction.atomic():
        build(world, found)
        question = question_from(
            origin + path, method=method, client=client, query=query, navigates=navigates
        )
        explained = explain(question, standing_of(person), "nginx", NOW.timestamp())
        hints = (
            [(b"accept", b"text/html"), (b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")]
            if navigates
            else [(b"accept", b"*/*")]
        )
        more = [*hints, *credential(world, person, origin)]
        for outcome in explained.outcomes:
            answered = real_answer(outcome.contract, origin + path, method, client, query, more)

            assert outcome.answer is not None and answered is not None
            assert comparable(outcome.answer) == comparable(answered), outcome.contract
            event(f"{answered.status}")
        status = explained.outcome.answer.status  # type: ignore[union-attr]
        assert (status == 200) == (explained.verdict is Verdict.ALLOW)
        transaction.set_rollback(True)


WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE")


@pytest.mark.parametrize("path", ["/", "/?ikdcode=" + "a" * 43, "/" + "x" * 3000, "/authgate/sign_out"])
@pytest.mark.parametrize("person", [Person(), Person("ann", True), Person("ann", token="backup")], ids=str)
def test_explain_writes_nothing(world: World, person: Person, path: str) -> None:
    RuleFactory(application=Application.objects.get(name="Wiki"), who="signed_in")
    RuleFactory(application=Application.objects.get(name="Plain"), who="signed_in")
    for origin in ORIGINS:
        with CaptureQueriesContext(connection) as captured:
            for contract in contracts():
                explain(question_from(origin + path), standing_of(person), contract, NOW.timestamp())

        assert [each["sql"] for each in captured if each["sql"].lstrip().startswith(WRITES)] == []
    assert not GateSession.objects.exists()


def test_no_secret_is_shown(world: World) -> None:
    RuleFactory(application=Application.objects.get(name="Wiki"), who="signed_in")
    explained = explain(
        question_from(f"{ORIGINS[0]}/"), standing_of(Person("ann", True)), "nginx", NOW.timestamp()
    )

    headers = dict(explained.outcome.answer.headers)  # type: ignore[union-attr]
    assert headers[b"x-ikd-jwt"].endswith(b".(signature)")
    assert headers[b"x-auth-request-user"] == b"ann"


def test_explain_uses_no_one_time_codes_and_runs_no_endpoints(world: World) -> None:
    code = new_code(bytes(24), loader.gate_settings().state_keys[0])
    steps = []
    for path in (f"/?ikdcode={code}", "/authgate/sign_out"):
        question = question_from(ORIGINS[2] + path)
        steps.append(explain(question, standing_of(Person()), "traefik", NOW.timestamp()).outcome.step)

    assert steps == ["one-time code", "endpoint"]


def test_explain_does_not_request_tokens_of_a_provider(world: World) -> None:
    RuleFactory(application=Application.objects.get(name="Plain"), who="signed_in")
    question = question_from("http://plain.example.com/")

    found = explain(question, standing_of(Person("ann")), "nginx", NOW.timestamp()).outcome.answer

    assert found is not None
    assert dict(found.headers)[b"x-auth-request-access-token"] == PROVIDER_TOKENS.access
