"""Properties of every application, user and path: rules only grant, filters only restrict."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from authgate.decision.evaluation import decide
from authgate.decision.paths import has_one_variant
from authgate.decision.rules import Filters, Rule, Subject, Verdict, Who
from authgate.decision.target import Target
from authgate.worker.rule_compiler import application_of

GROUPS = ("staff", "guests", "ops")
KINDS = ("recent second factor", "passkey")
group_ids = st.frozensets(st.integers(0, 2), max_size=3)
rules = st.builds(
    Rule,
    id=st.integers(1, 99),
    who=st.sampled_from(Who),
    methods=st.one_of(st.none(), st.frozensets(st.sampled_from(["GET", "POST"]), min_size=1)),
    networks=st.sampled_from([None, ("192.0.2.0/24",), ("10.0.0.0/8",)]),
    groups=group_ids,
    users=st.frozensets(st.integers(1, 3), max_size=2),
    second_factor=st.booleans(),
    proof=st.one_of(st.none(), st.tuples(st.sampled_from(KINDS), st.sampled_from([1.0, 5.0, math.inf]))),
    expires_at=st.sampled_from([None, 5.0, 15.0]),
    readable=st.sampled_from([True, True, True, False]),
)
SCOPES = ("/", "/a", "/a/b", "/A/c", "/admin", "/public")
scoped = st.lists(st.tuples(st.sampled_from(SCOPES), st.booleans(), rules), max_size=6)
subjects = st.builds(
    lambda key, groups, second, email, proofs: Subject(
        key,
        "uuid",
        f"user-{key}",
        "",
        email,
        tuple((each, GROUPS[each]) for each in sorted(groups)),
        second,
        proofs,
    ),
    st.integers(1, 3),
    group_ids,
    st.booleans(),
    st.sampled_from(["", "a@example.com", "a@sub.example.com", "b@evil.example"]),
    st.dictionaries(st.sampled_from(KINDS), st.sampled_from([4.0, 5.0, 8.0, 9.0, 10.0])),
)
paths = st.sampled_from(
    [
        None,
        "/",
        "/a",
        "/a/",
        "/a/b/x",
        "/A/B",
        "/a/c",
        "/admin",
        "/%61dmin",
        "/public/../admin",
        "/public//x",
        "/x;y/../a",
    ]
)
targets = st.builds(
    Target,
    st.just("https://a.example"),
    st.sampled_from(["GET", "HEAD", "POST", "DELETE", None]),
    paths,
    st.sampled_from(["192.0.2.1", "10.0.0.1", "::ffff:10.0.0.1", ""]),
    st.none(),
)
filters = st.builds(
    Filters,
    st.one_of(st.none(), st.frozensets(st.sampled_from([*GROUPS, "Staff"]), min_size=1)),
    st.one_of(st.none(), st.frozensets(st.sampled_from(["a@example.com", "A@example.com"]), min_size=1)),
    st.one_of(st.none(), st.just(("example.com",)), st.just((".example.com",))),
)
Scoped = list[tuple[str, bool, Rule]]


def verdict(
    rules: Scoped, target: Target, subject: Subject | None, filters: Filters | None = None
) -> Verdict:
    app = application_of(id=1, name="App", rules=rules)
    decided = decide(app, target, subject, 10.0, filters)
    if target.path is not None and has_one_variant(target.path):
        assert decide(app, target._replace(plain_path=target.path), subject, 10.0, filters) == decided
    return decided.verdict


@given(scoped, targets, st.one_of(st.none(), subjects), filters)
def test_filters_never_grant_access(
    rules: Scoped, target: Target, subject: Subject | None, filters: Filters
) -> None:
    without, narrowed = verdict(rules, target, subject), verdict(rules, target, subject, filters)

    assert narrowed.value >= without.value
    if filters and subject is None:
        assert narrowed is not Verdict.ALLOW


@given(scoped, targets, subjects)
def test_a_user_may_open_whatever_a_visitor_may_open(rules: Scoped, target: Target, subject: Subject) -> None:
    if verdict(rules, target, None) is Verdict.ALLOW:
        assert verdict(rules, target, subject) is Verdict.ALLOW


@given(scoped, targets, subjects)
def test_a_visitor_is_refused_at_once_only_if_every_user_would_be(
    rules: Scoped, target: Target, subject: Subject
) -> None:
    if verdict(rules, target, None) is Verdict.REFUSE:
        assert verdict(rules, target, subject) is Verdict.REFUSE


@given(scoped, targets, st.one_of(st.none(), subjects), rules)
def test_a_rule_for_another_scope_changes_nothing(
    rules: Scoped, target: Target, subject: Subject | None, added: Rule
) -> None:
    if target.path is not None:
        assert verdict([*rules, ("/elsewhere", False, added)], target, subject) is verdict(
            rules, target, subject
        )


@given(scoped, targets, st.one_of(st.none(), subjects), st.integers(0, 5), rules)
def test_another_rule_for_the_same_scope_only_grants(
    rules: Scoped, target: Target, subject: Subject | None, which: int, added: Rule
) -> None:
    if rules:
        path, exact, _ = rules[which % len(rules)]

        assert (
            verdict([*rules, (path, exact, added)], target, subject).value
            <= verdict(rules, target, subject).value
        )


@given(scoped, targets, st.one_of(st.none(), subjects))
def test_a_rule_that_becomes_unreadable_grants_nothing(
    rules: Scoped, target: Target, subject: Subject | None
) -> None:
    broken = [(path, exact, Rule(rule.id, Who.EVERYONE, readable=False)) for path, exact, rule in rules]

    assert verdict(broken, target, subject) is Verdict.REFUSE


@given(scoped, targets, st.one_of(st.none(), subjects), st.randoms(use_true_random=False))
def test_the_order_of_rules_does_not_matter(
    rules: Scoped, target: Target, subject: Subject | None, random: object
) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert verdict(shuffled, target, subject) is verdict(rules, target, subject)


@given(scoped, targets, subjects)
def test_an_unknown_path_is_allowed_only_if_every_path_is(
    rules: Scoped, target: Target, subject: Subject
) -> None:
    if verdict(rules, Target(target.origin, None, None, target.client), subject) is Verdict.ALLOW:
        assert verdict(rules, target, subject) is Verdict.ALLOW


@given(scoped, targets, subjects)
def test_a_later_proof_never_removes_access(rules: Scoped, target: Target, subject: Subject) -> None:
    earlier = verdict(rules, target, subject)
    now = replace(subject, proofs=dict.fromkeys(KINDS, 10.0))

    assert verdict(rules, target, now).value <= earlier.value


@given(scoped, targets, subjects)
def test_a_user_admitted_by_a_proof_has_a_recent_one(rules: Scoped, target: Target, subject: Subject) -> None:
    """Rules that require a proof admit nobody without it."""
    without = replace(subject, proofs={})
    asked = [(path, exact, rule) for path, exact, rule in rules if rule.proof is None]
    if len(asked) == len(rules) or verdict(rules, target, subject) is not Verdict.ALLOW:
        return
    if verdict(rules, target, without) is not Verdict.ALLOW:
        used = [rule.proof for _, _, rule in rules if rule.proof]
        assert any(10.0 - subject.proofs.get(kind, -math.inf) < seconds for kind, seconds in used)


@given(subjects, st.sampled_from(KINDS), st.sampled_from([1.0, 5.0, math.inf]))
def test_a_proof_counts_only_for_its_seconds(subject: Subject, kind: str, seconds: float) -> None:
    one = Rule(1, Who.SIGNED_IN, proof=(kind, seconds))
    target = Target("https://a.example", "GET", "/", "192.0.2.1", None)

    found = verdict([("/", False, one)], target, subject)

    given_at = subject.proofs.get(kind)
    is_fresh = given_at is not None and 10.0 - given_at < seconds
    assert found is (Verdict.ALLOW if is_fresh else Verdict.STEP_UP)
