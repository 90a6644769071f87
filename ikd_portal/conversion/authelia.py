"""Converts Authelia's access control. The meaning of its rules is taken from its documentation."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError

from authgate.validation import canonical_origin
from ikd_portal.configuration_file.tree import Items, Mapping, Node, Scalar
from ikd_portal.conversion.network_cells import Network
from ikd_portal.conversion.path_patterns import EVERY, Pattern, patterns_of
from ikd_portal.conversion.policies import Level, Policy, Subjects, converted
from ikd_portal.conversion.report import NotConverted, Report

LEVELS = {
    "bypass": Level.BYPASS,
    "one_factor": Level.ONE_FACTOR,
    "two_factor": Level.TWO_FACTOR,
    "deny": Level.DENY,
}
CRITERIA = (*("domain", "domain_regex", "policy", "subject", "networks", "resources", "methods", "query"),)
SKIPPED_SECTIONS = (
    *("server", "log", "theme", "session", "storage", "totp", "webauthn", "ntp", "regulation", "telemetry"),
    *("access_control", "definitions"),
)
"""Sections to skip without a report, because the portal's own settings cover them."""

_SUBJECT_DEPENDENT = re.compile(r"^\{(user|group)\}\.?(.*)$")
_OTHER_DIALECT = re.compile(r"\[\[?:|\(\?P?<(?:User|Group)>|\\[pPCQ]")
"""Syntax that Python reads differently from Go, and groups that stand for the user."""


@dataclass(slots=True)
class _Rule:
    line: int
    level: Level
    domains: list[str] = field(default_factory=list)
    regexes: list[str] = field(default_factory=list)
    patterns: list[Pattern] = field(default_factory=list)
    methods: frozenset[str] | None = None
    networks: tuple[Network, ...] | None = None
    subjects: Subjects = None
    is_certain: bool = True


def convert(root: Mapping, report: Report) -> dict[str, Any]:
    """Return the values of a configuration file. Raises NotConverted."""
    section = root.nodes.get("access_control")
    if not isinstance(section, Mapping):
        raise NotConverted("There is no section access_control.")
    for key in root.nodes.keys() - set(SKIPPED_SECTIONS):
        report.note(root.lines[key], f"The section {key} is not carried over.")
    networks = _named_networks(root, section)
    listed = section.nodes.get("rules")
    nodes = listed.nodes if isinstance(listed, Items) else []
    rules = [rule for node in nodes if (rule := _rule(node, networks, report)) is not None]
    if len(rules) < len(nodes):
        raise NotConverted("\n".join(report.lines("access_control")))
    default = _default(section)
    applications = {}
    hosts = _hosts(rules, report)
    for host in hosts:
        policies = [policy for rule in rules if (policy := _for_host(rule, host, hosts)) is not None]
        applications[host] = {
            "origins": [f"https://{host}"],
            "rules": converted(policies, default, report, is_ordered=True),
        }
    return {"version": 1, "groups": _groups(applications), "applications": applications}


def _groups(applications: dict[str, Any]) -> dict[str, Any]:
    rules = (rule for each in applications.values() for rule in each["rules"])
    return {name: {} for name in sorted({name for rule in rules for name in rule.get("groups", ())})}


def _default(section: Mapping) -> Policy:
    node = section.nodes.get("default_policy")
    text = node.text if isinstance(node, Scalar) else "deny"
    if text not in LEVELS:
        raise NotConverted(f"line {section.lines['default_policy']}: unknown policy {text[:30]!r}.")
    return Policy(section.lines.get("default_policy", 0), LEVELS[text])


# ---- hosts ------------------------------------------------------------------------------------------------


def _hosts(rules: list[_Rule], report: Report) -> list[str]:
    """Return the host names and wildcards in the rules. Names matched only by a regex are unknown."""
    found: dict[str, None] = {}
    for rule in rules:
        for domain in rule.domains:
            if _SUBJECT_DEPENDENT.match(domain):
                report.note(rule.line, f"{domain}: domains that depend on the user are not carried over.")
                continue
            try:
                canonical_origin(f"https://{domain}", without_https=False)
            except ValidationError as error:
                report.note(rule.line, f"{domain} is not carried over: {' '.join(error.messages)}")
                continue
            found[domain] = None
        if rule.regexes:
            text = "domain_regex counts only for names that other rules list as domain."
            report.note(rule.line, text)
    return sorted(found)


def _for_host(rule: _Rule, host: str, hosts: list[str]) -> Policy | None:
    """Return a rule's policy for one name or wildcard, or None if the rule never applies there."""
    is_certain = _matches_host(rule, host, hosts)
    if is_certain is None:
        return None
    return Policy(
        rule.line,
        rule.level,
        tuple(rule.patterns),
        rule.methods,
        rule.networks,
        rule.subjects,
        rule.is_certain and is_certain,
    )


def _matches_host(rule: _Rule, host: str, hosts: list[str]) -> bool | None:
    """Return True if a rule certainly applies at a host, False if it may, None if it does not.

    A name below a wildcard belongs to the wildcard's application, unless it has its own.
    """
    if not rule.domains and not rule.regexes:
        return True
    found: bool | None = None
    for domain in rule.domains:
        if domain == host or (domain.startswith("*.") and host.removeprefix("*").endswith(domain[1:])):
            return True
        dependent = _SUBJECT_DEPENDENT.match(domain)
        name = dependent[2] if dependent else domain.removeprefix("*.")
        is_below = host.startswith("*.") and f".{name}".endswith(host[1:])
        if (dependent and host.endswith(name)) or (is_below and domain not in hosts):
            found = False
    for regex in rule.regexes:
        matches = _regex_matches(regex, host)
        if matches:
            return True
        found = False if matches is None else found
    return found


def _regex_matches(regex: str, host: str) -> bool | None:
    """Return whether a regular expression matches a name, or None if that is unknown."""
    if host.startswith("*") or _OTHER_DIALECT.search(regex):
        return None
    try:
        return re.search(regex, host, re.ASCII) is not None
    except (re.error, RecursionError):
        return None


# ---- criteria ---------------------------------------------------------------------------------------------


def _rule(node: Node, networks: dict[str, tuple[Network, ...]], report: Report) -> _Rule | None:
    """Return a rule, or None if it is unreadable. The conversion then fails: later rules depend on it."""
    policy = node.nodes.get("policy") if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(policy, Scalar) or policy.text not in LEVELS:
        report.note(node.line, "A rule needs a policy: bypass, one_factor, two_factor or deny.")
        return None
    rule = _Rule(node.line, LEVELS[policy.text])
    try:
        rule.domains = [text.lower() for text in _texts(node.nodes.get("domain"))]
        rule.regexes = _texts(node.nodes.get("domain_regex"))
        regexes = _texts(node.nodes.get("resources"))
        rule.patterns = [each for text in regexes for each in patterns_of(text, sees_query=True)] or [EVERY]
        rule.methods = frozenset(text.upper() for text in _texts(node.nodes.get("methods"))) or None
        rule.networks = _networks_of(_texts(node.nodes.get("networks")), networks)
    except ValueError as mistake:
        report.note(node.line, f"This rule cannot be read: {mistake}.")
        return None
    _set_subjects(rule, node.nodes.get("subject"), report)
    for key in node.nodes.keys() - {each for each in CRITERIA if each != "query"}:
        rule.is_certain = False
        report.note(node.lines[key], f"The criterion {key} cannot be expressed, so the rule grants nothing.")
    return rule


def _texts(node: Node | None) -> list[str]:
    """Return the texts of a node that is one text or a list of texts. Raises ValueError."""
    if node is None or (isinstance(node, Scalar) and node.is_null):
        return []
    found = [node] if isinstance(node, Scalar) else node.nodes if isinstance(node, Items) else []
    texts = [each.text for each in found if isinstance(each, Scalar)]
    if len(texts) < len(found) or isinstance(node, Mapping):
        raise ValueError("expected a text or a list of texts")
    return texts


def _set_subjects(rule: _Rule, node: Node | None, report: Report) -> None:
    """Set the subjects of a rule. A subject that cannot be expressed makes the rule uncertain."""
    choices = _choices(node)
    if choices is None:
        return
    found = set()
    for choice in choices:
        kind, _colon, name = choice[0].partition(":") if len(choice) == 1 else ("", "", "")
        if kind not in ("user", "group") or not name:
            rule.is_certain, rule.subjects = False, None
            report.note(rule.line, f"The subject {' and '.join(choice)[:80]!r} cannot be expressed.")
            return
        found.add((kind, name))
    rule.subjects = frozenset(found)


def _choices(node: Node | None) -> list[list[str]] | None:
    """Return the alternatives of a subject, each with the conditions that must hold together."""
    if node is None or (isinstance(node, Scalar) and node.is_null):
        return None
    if isinstance(node, Scalar):
        return [[node.text]]
    choices = [_and_list(each) for each in node.nodes] if isinstance(node, Items) else [["?"]]
    return choices or None


def _and_list(node: Node) -> list[str]:
    try:
        return _texts(node) or ["?"]
    except ValueError:
        return ["?"]


# ---- networks ---------------------------------------------------------------------------------------------


def _named_networks(root: Mapping, section: Mapping) -> dict[str, tuple[Network, ...]]:
    found: dict[str, tuple[Network, ...]] = {}
    definitions = root.nodes.get("definitions")
    named = definitions.nodes.get("network") if isinstance(definitions, Mapping) else None
    try:
        for name, each in named.nodes.items() if isinstance(named, Mapping) else ():
            found[name] = tuple(map(_network, _texts(each)))
        for name, listed in _earlier_networks(section.nodes.get("networks")):
            found[name] = tuple(map(_network, _texts(listed)))
    except ValueError as mistake:
        raise NotConverted(f"A network cannot be read: {mistake}.") from None
    return found


def _earlier_networks(node: Node | None) -> Iterator[tuple[str, Node | None]]:
    """Yield the networks of `access_control`, their place before version 4.39."""
    for each in node.nodes if isinstance(node, Items) else ():
        name = each.nodes.get("name") if isinstance(each, Mapping) else None
        if isinstance(each, Mapping) and isinstance(name, Scalar):
            yield name.text, each.nodes.get("networks")


def _networks_of(texts: list[str], named: dict[str, tuple[Network, ...]]) -> tuple[Network, ...] | None:
    if not texts:
        return None
    return tuple(network for text in texts for network in named.get(text) or (_network(text),))


def _network(text: str) -> Network:
    return ipaddress.ip_network(text.strip(), strict=False)
