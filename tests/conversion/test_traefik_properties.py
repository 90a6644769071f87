"""traefik-forward-auth has no order of rules. If any matching rule refuses a user, the portal must, too."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from authgate.decision.evaluation import decide
from authgate.decision.rules import Rule, Subject, Verdict, Who
from authgate.decision.target import Target
from authgate.worker.rule_compiler import application_of
from ikd_portal.conversion import traefik_forward_auth
from ikd_portal.conversion.report import Report

HOST = "app.example.com"
PEOPLE = ("jane@example.com", "joe@example.com")
PATHS = ("/", "/api", "/api/", "/api/x", "/apix", "/public", "/public/a", "/x")
MATCHERS = {
    "Host(`app.example.com`)": lambda path, method: True,
    "Host(`other.example.com`)": lambda path, method: False,
    "PathPrefix(`/api`)": lambda path, method: path.startswith("/api"),
    "PathPrefix(`/api/`)": lambda path, method: path.startswith("/api/"),
    "Path(`/public`)": lambda path, method: path == "/public",
    "PathPrefix(`/public`) && Method(`POST`)": lambda path, method: (
        path.startswith("/public") and method == "POST"
    ),
    "PathPrefix(`/x`) || Path(`/`)": lambda path, method: path.startswith("/x") or path == "/",
    "!PathPrefix(`/api`)": lambda path, method: not path.startswith("/api"),
    "Headers(`X`, `y`)": lambda path, method: True,
}
"""Each rule matches at most these requests, because a request can have any headers."""

rules = st.tuples(
    st.sampled_from(list(MATCHERS)),
    st.sampled_from(["allow", "auth"]),
    st.sampled_from(["", PEOPLE[0], ",".join(PEOPLE)]),
)


def text_of(found: list[tuple[str, str, str]], default: str, whitelist: str) -> str:
    lines = [f"default-action = {default}", *([f"whitelist = {whitelist}"] if whitelist else [])]
    for number, (rule, action, own) in enumerate(found):
        lines += [f"rule.r{number}.rule = {rule}", f"rule.r{number}.action = {action}"]
        lines += [f"rule.r{number}.whitelist = {own}"] if own else []
    return "\n".join(lines)


def all_admit(
    found: list[tuple[str, str, str]], default: str, whitelist: str, path: str, method: str, person: str
) -> bool:
    """Return whether every rule that may decide about a request admits the person."""
    deciding = [(action, own or whitelist) for rule, action, own in found if MATCHERS[rule](path, method)]
    certain = [
        rule for rule, _action, _own in found if "Headers" not in rule and MATCHERS[rule](path, method)
    ]
    if not certain:
        deciding.append((default, whitelist))
    return all(action == "allow" or (person and (not own or person in own)) for action, own in deciding)


@settings(max_examples=80, deadline=None)
@given(
    found=st.lists(rules, max_size=4),
    default=st.sampled_from(["auth", "allow"]),
    whitelist=st.sampled_from(["", PEOPLE[1]]),
    seed=st.integers(0, 2**32),
)
def test_nobody_is_admitted_whom_a_matching_rule_refuses(
    found: list[tuple[str, str, str]], default: str, whitelist: str, seed: int
) -> None:
    text, origins = text_of(found, default, whitelist), [f"https://{HOST}"]
    values, _people = traefik_forward_auth.convert(text, origins, Report())
    compiled = application_of(id=1, name="x", rules=_compiled(values["applications"][HOST]["rules"]))
    chance = random.Random(seed)

    for path in PATHS:
        for person in ("", *PEOPLE, "stranger@example.com"):
            method = chance.choice(["GET", "POST", "HEAD", "DELETE"])
            number = PEOPLE.index(person) if person in PEOPLE else 9
            subject = Subject(number, "", person) if person else None
            decision = decide(compiled, Target(f"https://{HOST}", method, path, "192.0.2.1"), subject, 0.0)
            if decision.verdict is Verdict.ALLOW:
                assert all_admit(found, default, whitelist, path, method, person), (path, method, person)


def _compiled(values: list[dict[str, Any]]) -> list[tuple[str, bool, Rule]]:
    return [
        (
            rule["path"],
            rule["exact"],
            Rule(
                number,
                Who(rule.get("who", "chosen")),
                methods=frozenset(rule["methods"]) if "methods" in rule else None,
                users=frozenset(map(PEOPLE.index, rule.get("users", ()))),
            ),
        )
        for number, rule in enumerate(values)
    ]
