"""For any rules of Authelia, the converted file admits nobody whom Authelia refuses.

The model below was written from Authelia's documentation: rules in order, the first match counts.
"""

from __future__ import annotations

import ipaddress
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from authgate.decision.evaluation import decide
from authgate.decision.rules import Application, Rule, Subject, Verdict, Who
from authgate.decision.target import Target
from authgate.models import Rule as RuleRow
from authgate.validation import canonical_networks
from authgate.worker.rule_compiler import application_of
from ikd_portal.configuration_file.parser import parse
from ikd_portal.conversion.authelia import convert
from ikd_portal.conversion.report import Report

GROUPS = ("admins", "dev", "guests")
USERS = ("john", "jane")
LEVELS = {"bypass": 0, "one_factor": 1, "two_factor": 2, "deny": 9}

RESOURCES = (
    *("^/api([/?].*)?$", "^/api/.*$", "^/api", "^/api$", "^/$", "^/api(/.*)?$", "^/(api|admin)([/?].*)?$"),
    *("^/admin/users/.*", "^/apis?$", "/admin", r"\.png$", "^/static/.*[.](js|css)$", "^/.*$", "(?i)^/API"),
    *("^/api|^/admin", "^/(api|static)?/x", "^/admin/?$", r"^/a\.b([/?].*)?$", "^/api/v[0-9]+/.*$"),
)
PATHS = (
    *(
        "/",
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/x",
        "/apix",
        "/admin",
        "/admin/users",
        "/admin/users/7",
        "/x",
    ),
    *("/static/a.js", "/static/", "/img.png", "/a.b", "/acb", "/api/v2/../../admin", "/API", "/admin/api/x"),
)
NETWORKS = ("10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32", "home", "192.0.2.7")
CLIENTS = ("10.0.0.1", "10.1.2.3", "192.0.2.7", "198.51.100.1", "2001:db8::1", "2001:db9::1")
HOSTS = ("wiki.example.net", "shop.example.net", "deep.shop.example.net", "other.example.org")
DOMAINS = (
    "wiki.example.net",
    "shop.example.net",
    "*.example.net",
    "*.shop.example.net",
    "{user}.example.net",
)


def several(values: tuple[str, ...], most: int = 2) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True)


subject = st.one_of(
    st.sampled_from([*(f"group:{name}" for name in GROUPS), *(f"user:{name}" for name in USERS)]),
    st.just(["group:admins", "group:dev"]),
)
rules = st.fixed_dictionaries(
    {"policy": st.sampled_from(list(LEVELS))},
    optional={
        "domain": st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=2, unique=True),
        "domain_regex": st.sampled_from([r"^(wiki|shop)\.example\.net$", r"^.*\.example\.net$"]),
        "resources": several(RESOURCES),
        "methods": st.sampled_from([["GET", "HEAD"], ["POST"], ["GET"], ["OPTIONS", "DELETE"]]),
        "networks": several(NETWORKS),
        "subject": st.lists(subject, max_size=2),
        "query": st.just([[{"operator": "present", "key": "x"}]]),
    },
).filter(lambda rule: "domain" in rule or "domain_regex" in rule)
configurations = st.fixed_dictionaries(
    {
        "default_policy": st.sampled_from(["deny", "one_factor", "two_factor", "bypass"]),
        "networks": st.just([{"name": "home", "networks": ["10.0.0.0/8", "2001:db8::/32"]}]),
        "rules": st.lists(rules, min_size=1, max_size=6),
    }
)


@dataclass(frozen=True)
class Request:
    host: str
    path: str
    query: str
    method: str
    client: str
    user: str
    groups: tuple[str, ...]
    factors: int


def asked(chance: random.Random) -> Iterator[Request]:
    """Yield requests to every path and host, with random users, methods and addresses."""
    for host in HOSTS:
        for path in PATHS:
            for factors in (0, 1, 2):
                yield Request(
                    host,
                    path,
                    chance.choice(["", "", "?x=1", "?y=/api"]),
                    chance.choice(["GET", "GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE"]),
                    chance.choice(CLIENTS),
                    chance.choice(USERS),
                    tuple(chance.sample(GROUPS, chance.randrange(3))),
                    factors,
                )


# ---- the model --------------------------------------------------------------------------------------------


def authelia_admits(configuration: dict[str, Any], request: Request) -> bool:
    policy = configuration["default_policy"]
    for rule in configuration["rules"]:
        if _matches(configuration, rule, request):
            policy = rule["policy"]
            break
    return request.factors >= LEVELS[policy]


def _matches(configuration: dict[str, Any], rule: dict[str, Any], request: Request) -> bool:
    named = {each["name"]: each["networks"] for each in configuration["networks"]}
    networks = [n for name in rule.get("networks", ()) for n in named.get(name, [name])]
    client = ipaddress.ip_address(request.client)
    resources, query = rule.get("resources"), rule.get("query")
    target = _clean(request.path) + request.query
    return (
        _is_domain(rule, request)
        and (not resources or any(re.search(each, target) for each in resources))
        and (not query or "x=" in request.query)
        and (not rule.get("methods") or request.method in rule["methods"])
        and (not networks or any(client in ipaddress.ip_network(each) for each in networks))
        and _is_subject(rule.get("subject"), request)
    )


def _clean(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/" + "/".join(parts)


def _is_domain(rule: dict[str, Any], request: Request) -> bool:
    for domain in rule.get("domain", ()):
        if domain.startswith("*.") and request.host.endswith(domain[1:]):
            return True
        if domain == request.host:
            return True
        if request.factors and domain.replace("{user}", request.user) == request.host:
            return True
    return "domain_regex" in rule and re.search(rule["domain_regex"], request.host) is not None


def _is_subject(choices: list[Any] | None, request: Request) -> bool:
    if not choices or request.factors == 0:  # a visitor may still sign in as this subject
        return True
    own = {f"user:{request.user}", *(f"group:{name}" for name in request.groups)}
    return any(own.issuperset([choice] if isinstance(choice, str) else choice) for choice in choices)


# ---- the portal -------------------------------------------------------------------------------------------

WHO = {who.value: who for who in Who}


def compiled_of(values: dict[str, Any]) -> dict[str, Application]:
    return {
        host: application_of(
            id=1,
            name=host,
            rules=[
                (rule["path"], rule["exact"], _compiled(number, rule))
                for number, rule in enumerate(application["rules"])
            ],
        )
        for host, application in values["applications"].items()
    }


def portal_admits(applications: dict[str, Application], request: Request) -> bool:
    application = _application_at(applications, request.host)
    if application is None:
        return False
    person = None
    if request.factors:
        groups = tuple((GROUPS.index(name), name) for name in request.groups)
        person = Subject(
            USERS.index(request.user), "", request.user, groups=groups, second_factor=request.factors == 2
        )
    target = Target(f"https://{request.host}", request.method, request.path + request.query, request.client)
    return decide(application, target, person, 0.0).verdict is Verdict.ALLOW


def _application_at(applications: dict[str, Application], host: str) -> Application | None:
    names = [host]
    while "." in host:
        host = host.partition(".")[2]
        names.append(f"*.{host}")
    return next((applications[name] for name in names if name in applications), None)


def _compiled(number: int, rule: dict[str, Any]) -> Rule:
    networks = rule.get("networks")
    assert networks is None or canonical_networks(" ".join(networks))
    return Rule(
        number,
        WHO[rule.get("who", RuleRow.Who.CHOSEN.value)],
        methods=frozenset(rule["methods"]) if "methods" in rule else None,
        networks=None if networks is None else tuple(networks),
        groups=frozenset(map(GROUPS.index, rule.get("groups", ()))),
        users=frozenset(map(USERS.index, rule.get("users", ()))),
        second_factor=rule.get("second_factor", False),
    )


def read(configuration: dict[str, Any]) -> dict[str, Any]:
    return convert(parse(json.dumps({"access_control": configuration})), Report())


@settings(max_examples=100, deadline=None)
@given(configuration=configurations, seed=st.integers(0, 2**32))
def test_the_portal_admits_nobody_whom_authelia_refuses(configuration: dict[str, Any], seed: int) -> None:
    applications = compiled_of(read(configuration))

    wrong = [
        request
        for request in asked(random.Random(seed))
        if portal_admits(applications, request) and not authelia_admits(configuration, request)
    ]

    assert wrong == []


def test_rules_that_can_be_expressed_are_converted_exactly() -> None:
    """Otherwise a conversion that refuses everything would pass."""
    configuration: dict[str, Any] = {
        "default_policy": "deny",
        "networks": [{"name": "home", "networks": ["10.0.0.0/8"]}],
        "rules": [
            {"domain": ["wiki.example.net"], "policy": "bypass", "resources": ["^/static([/?].*)?$"]},
            {"domain": ["wiki.example.net"], "policy": "deny", "networks": ["192.0.2.0/24"]},
            {
                "domain": ["wiki.example.net"],
                "policy": "two_factor",
                "resources": ["^/admin([/?].*)?$"],
                "subject": ["group:admins", "user:john"],
            },
            {"domain": ["wiki.example.net"], "policy": "deny", "resources": ["^/admin([/?].*)?$"]},
            {"domain": ["wiki.example.net"], "policy": "one_factor", "subject": ["group:dev"]},
            {"domain": ["*.example.net"], "policy": "one_factor", "methods": ["GET", "HEAD"]},
        ],
    }
    applications = compiled_of(read(configuration))

    differing = [
        request
        for host in HOSTS
        for path in ("/", "/x", "/static", "/static/a.js", "/admin", "/admin/users/7")
        for method in ("GET", "POST")
        for client in CLIENTS
        for user in USERS
        for groups in ((), ("dev",), ("admins",), ("dev", "admins"))
        for factors in (0, 1, 2)
        if (request := Request(host, path, "", method, client, user, groups, factors))
        and portal_admits(applications, request) != authelia_admits(configuration, request)
    ]
    assert differing == []
