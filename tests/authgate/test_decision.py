"""The decision: each criterion of a rule alone, and several together."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from authgate.decision.evaluation import decide
from authgate.decision.paths import has_one_variant
from authgate.decision.rules import Application, Decision, Filters, Rule, Subject, Verdict, Who
from authgate.decision.target import Target
from authgate.worker.rule_compiler import application_of

ALLOW, STEP_UP, SIGN_IN, REFUSE = Verdict.ALLOW, Verdict.STEP_UP, Verdict.SIGN_IN, Verdict.REFUSE
STAFF, GUESTS = 1, 2
ALICE = Subject(10, "uuid-a", "alice", "Alice", "alice@example.com", ((STAFF, "staff"),))
BOB = Subject(11, "uuid-b", "bob", "Bob", "bob@example.com", ((GUESTS, "guests"),))
ALICE_TWICE = Subject(10, "uuid-a", "alice", groups=((STAFF, "staff"),), second_factor=True)
NOW = 1_000_000.0


def rule(who: Who = Who.SIGNED_IN, id: int = 1, **criteria: Any) -> Rule:
    return Rule(id=id, who=who, **criteria)


def app(*rules: Rule | tuple[str, Rule], enabled: bool = True) -> Application:
    scopes = [each if isinstance(each, tuple) else ("/", each) for each in rules]
    return application_of(
        id=1, name="App", enabled=enabled, rules=[(path, False, each) for path, each in scopes]
    )


def decided(
    application: Application,
    subject: Subject | None = None,
    path: str | None = "/x",
    method: str | None = "GET",
    client: str = "192.0.2.1",
    now: float = NOW,
    filters: Filters | None = None,
) -> Decision:
    plain_path = path if path and has_one_variant(path) else None
    target = Target("https://a.example", method, path, client, plain_path)
    return decide(application, target, subject, now, filters)


def verdict(*arguments: Any, **more: Any) -> Verdict:
    return decided(*arguments, **more).verdict


# ---- who --------------------------------------------------------------------------------------------------

CHOSEN = Who.CHOSEN
PEOPLE = {
    "everyone": (rule(Who.EVERYONE), ALLOW, ALLOW, ALLOW),
    "anyone signed in": (rule(), SIGN_IN, ALLOW, ALLOW),
    "a group": (rule(CHOSEN, groups=frozenset({STAFF})), SIGN_IN, ALLOW, REFUSE),
    "groups": (rule(CHOSEN, groups=frozenset({STAFF, GUESTS})), SIGN_IN, ALLOW, ALLOW),
    "another group": (rule(CHOSEN, groups=frozenset({99})), SIGN_IN, REFUSE, REFUSE),
    "a user": (rule(CHOSEN, users=frozenset({11})), SIGN_IN, REFUSE, ALLOW),
    "a user or a group": (
        rule(CHOSEN, users=frozenset({11}), groups=frozenset({STAFF})),
        SIGN_IN,
        ALLOW,
        ALLOW,
    ),
    "a user of a group's number": (rule(CHOSEN, users=frozenset({STAFF})), SIGN_IN, REFUSE, REFUSE),
    "a group of a user's number": (rule(CHOSEN, groups=frozenset({10})), SIGN_IN, REFUSE, REFUSE),
    "nobody": (rule(CHOSEN), REFUSE, REFUSE, REFUSE),
    "groups, but everyone": (rule(Who.EVERYONE, groups=frozenset({99})), ALLOW, ALLOW, ALLOW),
    "unreadable for everyone": (rule(Who.EVERYONE, readable=False), REFUSE, REFUSE, REFUSE),
}


@pytest.mark.parametrize(("only", "nobody", "alice", "bob"), PEOPLE.values(), ids=PEOPLE)
def test_each_choice_of_people_admits_exactly_those(
    only: Rule, nobody: Verdict, alice: Verdict, bob: Verdict
) -> None:
    assert [verdict(app(only), who) for who in (None, ALICE, BOB)] == [nobody, alice, bob]


def test_an_application_without_a_rule_admits_nobody() -> None:
    assert decided(app(), ALICE) == Decision(REFUSE, "no rule covers the path")


def test_a_disabled_application_admits_nobody() -> None:
    assert decided(app(rule(Who.EVERYONE), enabled=False), ALICE) == Decision(REFUSE, "application disabled")


# ---- when, where from, how --------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "expected"), [(NOW - 0.001, ALLOW), (NOW, REFUSE), (NOW + 0.001, REFUSE)])
def test_a_rule_ends_exactly_at_its_expiry_time(now: float, expected: Verdict) -> None:
    assert verdict(app(rule(expires_at=NOW)), ALICE, now=now) is expected


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("10.1.2.3", ALLOW),
        ("::ffff:10.1.2.3", ALLOW),
        ("::ffff:a01:203", ALLOW),
        ("11.0.0.1", REFUSE),
        ("2001:db8::1", ALLOW),
        ("2001:db9::1", REFUSE),
        ("", REFUSE),
        ("junk", REFUSE),
    ],
)
def test_a_rule_for_networks_admits_only_addresses_in_them(client: str, expected: Verdict) -> None:
    assert verdict(app(rule(networks=("10.0.0.0/8", "2001:db8::/32"))), ALICE, client=client) is expected


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", ALLOW),
        ("HEAD", ALLOW),
        ("POST", REFUSE),
        ("OPTIONS", REFUSE),
        ("GETX", REFUSE),
        (None, REFUSE),
    ],
)
def test_a_rule_for_get_covers_head(method: str | None, expected: Verdict) -> None:
    assert verdict(app(rule(methods=frozenset({"GET"}))), ALICE, method=method) is expected


def test_a_rule_for_post_covers_only_post() -> None:
    methods = frozenset({"POST"})

    assert [verdict(app(rule(methods=methods)), ALICE, method=m) for m in ("POST", "GET", "HEAD")] == [
        ALLOW,
        REFUSE,
        REFUSE,
    ]


def test_a_visitor_is_refused_at_once_if_a_sign_in_would_not_help() -> None:
    for hopeless in (rule(expires_at=NOW), rule(networks=("10.0.0.0/8",)), rule(methods=frozenset({"POST"}))):
        assert verdict(app(hopeless)) is REFUSE


# ---- second factor ----------------------------------------------------------------------------------------

SECOND = rule(CHOSEN, groups=frozenset({STAFF}), second_factor=True)


def test_only_users_whom_the_rule_names_are_asked_for_a_second_factor() -> None:
    assert [verdict(app(SECOND), who) for who in (None, ALICE, ALICE_TWICE, BOB)] == [
        SIGN_IN,
        STEP_UP,
        ALLOW,
        REFUSE,
    ]


def test_a_rule_for_everyone_with_a_second_factor_needs_a_sign_in() -> None:
    everyone = app(rule(Who.EVERYONE, second_factor=True))

    assert [verdict(everyone, who) for who in (None, ALICE, ALICE_TWICE)] == [SIGN_IN, STEP_UP, ALLOW]


def test_no_second_factor_is_asked_for_when_the_rule_has_expired() -> None:
    expired = rule(CHOSEN, groups=frozenset({STAFF}), second_factor=True, expires_at=NOW)

    assert verdict(app(expired), ALICE) is REFUSE


def test_a_user_admitted_by_another_rule_is_not_asked_for_a_second_factor() -> None:
    assert verdict(app(SECOND, rule(id=2)), ALICE) is ALLOW


def test_a_user_whom_a_filter_excludes_is_not_asked_for_a_second_factor() -> None:
    assert verdict(app(SECOND), ALICE, filters=Filters(groups=frozenset({"ops"}))) is REFUSE


# ---- scopes -----------------------------------------------------------------------------------------------


def test_only_the_most_specific_scope_decides() -> None:
    nested = app(("/", rule(Who.EVERYONE)), ("/a", rule(CHOSEN, groups=frozenset({99}))), ("/a/b", rule()))

    assert [verdict(nested, ALICE, path=path) for path in ("/", "/a", "/a/c", "/a/b", "/a/b/c", "/ab")] == [
        ALLOW,
        REFUSE,
        REFUSE,
        ALLOW,
        ALLOW,
        ALLOW,
    ]


def test_an_unreadable_rule_still_claims_its_scope() -> None:
    broken = app(("/", rule(Who.EVERYONE)), ("/admin", rule(Who.EVERYONE, readable=False)))

    assert [verdict(broken, ALICE, path=path) for path in ("/", "/admin", "/admin/x")] == [
        ALLOW,
        REFUSE,
        REFUSE,
    ]


def test_an_expired_rule_still_claims_its_scope() -> None:
    expired = app(("/", rule(Who.EVERYONE)), ("/admin", rule(expires_at=NOW)))

    assert verdict(expired, ALICE, path="/admin") is REFUSE


def test_an_exact_scope_covers_only_its_path() -> None:
    exact = application_of(
        id=1, name="App", rules=[("/", False, rule()), ("/login", True, rule(Who.EVERYONE))]
    )

    assert [verdict(exact, path=path) for path in ("/login", "/login/x", "/login/", "/loginx")] == [
        ALLOW,
        SIGN_IN,
        SIGN_IN,
        SIGN_IN,
    ]


def test_an_exact_scope_protects_every_spelling_of_its_path() -> None:
    exact = application_of(
        id=1,
        name="App",
        rules=[("/", False, rule(Who.EVERYONE)), ("/admin", True, rule(CHOSEN, users=frozenset({99})))],
    )

    for path in ("/admin", "/admin/", "/ADMIN", "//admin", "/%61dmin", "/admin;x", "/x/../admin"):
        assert verdict(exact, ALICE, path=path) is REFUSE
    assert verdict(exact, ALICE, path="/admin/x") is ALLOW


def test_the_query_does_not_affect_the_decision() -> None:
    nested = app(("/", rule(CHOSEN, groups=frozenset({99}))), ("/public", rule(Who.EVERYONE)))

    assert verdict(nested, ALICE, path="/x?/public") is REFUSE
    assert verdict(nested, ALICE, path="/public?/../x") is ALLOW


UNKNOWN_PATH = {
    "one scope for all": ([("/", rule())], ALLOW),
    "a stricter scope": ([("/", rule()), ("/admin", rule(CHOSEN, groups=frozenset({99})))], REFUSE),
    "a milder scope": ([("/", rule()), ("/public", rule(Who.EVERYONE))], ALLOW),
    "no scope for all": ([("/a", rule()), ("/b", rule())], REFUSE),
    "a scope for a method": ([("/", rule()), ("/a", rule(methods=frozenset({"GET"})))], REFUSE),
    "nothing": ([], REFUSE),
}


@pytest.mark.parametrize(("rules", "expected"), UNKNOWN_PATH.values(), ids=UNKNOWN_PATH)
def test_every_scope_must_admit_if_the_path_is_unknown(
    rules: list[tuple[str, Rule]], expected: Verdict
) -> None:
    assert verdict(app(*rules), ALICE, path=None, method=None) is expected


def test_an_exact_scope_must_admit_too_if_the_path_is_unknown() -> None:
    exact = application_of(
        id=1, name="App", rules=[("/", False, rule()), ("/admin", True, rule(CHOSEN, users=frozenset({99})))]
    )

    assert verdict(exact, ALICE, path=None, method=None) is REFUSE


def test_an_exact_scope_for_the_root_is_not_enough_if_the_path_is_unknown() -> None:
    exact = application_of(id=1, name="App", rules=[("/", True, rule(Who.EVERYONE))])

    assert verdict(exact, ALICE, path=None, method=None) is REFUSE


# ---- reasons ----------------------------------------------------------------------------------------------


def test_an_allowed_decision_names_its_rule() -> None:
    decision = decided(app(rule(CHOSEN, id=7, groups=frozenset({99})), rule(id=8)), ALICE)

    assert (decision.reason, decision.rule) == ("admitted", 8)


def test_a_refusal_names_the_first_failed_criterion_of_each_rule() -> None:
    decision = decided(
        app(
            rule(id=1, readable=False),
            rule(id=2, expires_at=NOW, methods=frozenset({"POST"})),
            rule(id=3, methods=frozenset({"POST"})),
            rule(id=4, networks=("10.0.0.0/8",)),
            rule(CHOSEN, id=5, groups=frozenset({99})),
        ),
        ALICE,
    )

    assert decision.failed == (
        (1, "cannot be evaluated"),
        (2, "expired"),
        (3, "method"),
        (4, "network"),
        (5, "group"),
    )


# ---- a recent second factor, or a passkey ----

RECENT, PASSKEY = ("recent second factor", 300.0), ("passkey", 300.0)


def with_proofs(**proofs: float) -> Subject:
    names = {"factor": "recent second factor", "passkey": "passkey"}
    return replace(ALICE, proofs={names[name]: at for name, at in proofs.items()})


@pytest.mark.parametrize(
    ("proof", "proofs", "verdict"),
    [
        (RECENT, {}, STEP_UP),
        (RECENT, {"factor": NOW - 299.9}, ALLOW),
        (RECENT, {"factor": NOW - 300}, STEP_UP),
        (PASSKEY, {"factor": NOW}, STEP_UP),
        (PASSKEY, {"factor": NOW, "passkey": NOW - 299.9}, ALLOW),
        (PASSKEY, {"factor": NOW, "passkey": NOW - 300}, STEP_UP),
        (("passkey", math.inf), {"passkey": NOW - 1e6}, ALLOW),
        (("passkey", math.inf), {"factor": NOW}, STEP_UP),
        (("passkey", math.inf), {}, STEP_UP),
        (("recent second factor", 0.0), {"factor": NOW}, STEP_UP),
    ],
)
def test_a_proof_must_be_as_recent_as_the_rule_requires(
    proof: tuple[str, float], proofs: dict[str, float], verdict: Verdict
) -> None:
    decision = decided(app(rule(proof=proof)), with_proofs(**proofs))

    assert decision.verdict is verdict
    assert decision.reason == ("admitted" if verdict is ALLOW else proof[0])


def test_a_rule_for_everyone_with_a_proof_needs_a_sign_in() -> None:
    everyone = app(rule(Who.EVERYONE, proof=RECENT))

    assert decided(everyone).verdict is SIGN_IN
    assert decided(everyone, with_proofs(factor=NOW)).verdict is ALLOW


def test_only_users_whom_the_rule_names_are_asked_for_a_proof() -> None:
    members = app(rule(CHOSEN, groups=frozenset({STAFF}), proof=RECENT))

    assert decided(members, BOB).verdict is REFUSE
    assert decided(members, ALICE).verdict is STEP_UP
