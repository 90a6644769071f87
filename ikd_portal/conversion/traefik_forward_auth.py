"""Converts the configuration of thomseddon's traefik-forward-auth.

All its rules have the same priority and no order. If several match, any of them may decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ikd_portal.conversion.options import Options, is_on, line_of, listed, options_in, single
from ikd_portal.conversion.path_patterns import EVERY, Kind, Pattern, patterns_of
from ikd_portal.conversion.people import People
from ikd_portal.conversion.policies import Level, Policy, Subjects, converted
from ikd_portal.conversion.report import NotConverted, Report
from ikd_portal.conversion.router_rules import Condition, UnreadableRule, alternatives_of
from ikd_portal.conversion.single_sign_on import GOOGLE, canonical_origins, name_of_origin, provider

WITHOUT_EFFECT = (
    *("log-level", "log-format", "auth-host", "config", "cookie-domain", "insecure-cookie", "cookie-name"),
    *("csrf-cookie-name", "lifetime", "logout-redirect", "url-path", "secret", "port", "cookie-domains"),
    *("cookie-secret", "cookie-secure", "default-provider"),
)
CARRIED = ("default-action", "domain", "whitelist", "match-whitelist-or-domain", "client-id", "client-secret")


@dataclass(frozen=True, slots=True)
class _Rule:
    """One alternative of a rule. `hosts` is None for every host."""

    hosts: frozenset[str] | None
    policy: Policy


def convert(text: str, origins: list[str], report: Report) -> tuple[dict[str, Any], People]:
    """Return the values of a configuration file, and the users of its whitelists. Raises NotConverted."""
    options = options_in(text)
    emails: set[str] = set()
    rules = _rules(options, emails, report)
    level, subjects = _effect(options, "", single(options, "default-action", "auth"), emails, report)
    default = Policy(line_of(options, "default-action"), level, subjects=subjects)
    named = {f"https://{host}" for rule in rules for host in rule.hosts or ()}
    applications = {}
    for origin in canonical_origins([*sorted(named), *origins]):
        host = name_of_origin(origin)
        policies = [rule.policy for rule in rules if rule.hosts is None or host in rule.hosts]
        applications[host] = {
            "origins": [origin],
            "rules": converted(policies, default, report, is_ordered=False),
        }
    _report_unknown(options, report)
    values = {"version": 1, "identity_providers": _providers(options, report), "applications": applications}
    people = [{"username": email, "email": email} for email in sorted(emails)]
    if people:
        report.note(0, "Users have their address as name. Link them to their provider accounts.")
    return values, people


def _report_unknown(options: Options, report: Report) -> None:
    for name in options:
        is_known = name.startswith(("rule.", "providers")) or name in WITHOUT_EFFECT or name in CARRIED
        if not is_known:
            report.note(line_of(options, name), f"{name} is not carried over.")


# ---- rules ------------------------------------------------------------------------------------------------


def _rules(options: Options, emails: set[str], report: Report) -> list[_Rule]:
    names = dict.fromkeys(
        key.split(".")[1] for key in options if key.count(".") == 2 and key.startswith("rule.")
    )
    found = []
    for name in names:
        key = f"rule.{name}"
        line = line_of(options, f"{key}.rule")
        action = single(options, f"{key}.action", "auth")
        level, subjects = _effect(options, f"{key}.", action, emails, report)
        if f"{key}.provider" in options:
            report.note(line_of(options, f"{key}.provider"), "A rule cannot ask for a provider.")
        for conditions in _alternatives(single(options, f"{key}.rule"), line, report):
            hosts, patterns, methods, is_certain = _criteria(conditions, line, report)
            policy = Policy(line, level, patterns, methods, None, subjects, is_certain)
            found.append(_Rule(hosts, policy))
    return found


def _alternatives(text: str, line: int, report: Report) -> list[list[Condition]]:
    try:
        return alternatives_of(text)
    except UnreadableRule:
        report.note(line, "The rule cannot be read, so nothing that it may match is granted without others.")
        return [[Condition("?", (), is_negated=True)]]


def _criteria(
    conditions: list[Condition], line: int, report: Report
) -> tuple[frozenset[str] | None, tuple[Pattern, ...], frozenset[str] | None, bool]:
    """Return hosts, paths and methods of an alternative, and whether it has no other conditions."""
    hosts: frozenset[str] | None = None
    methods: frozenset[str] | None = None
    patterns: tuple[Pattern, ...] = (EVERY,)
    is_certain, seen = True, set()
    for each in conditions:
        kind = "Path" if each.name == "PathPrefix" else each.name
        is_plain = not each.is_negated and kind not in seen
        seen.add(kind)
        if kind == "Host" and is_plain and not any("{" in word for word in each.words):
            hosts = frozenset(word.lower() for word in each.words)
        elif kind == "Method" and is_plain:
            methods = frozenset(word.upper() for word in each.words)
        elif kind == "Path" and is_plain:
            patterns = tuple(_pattern(each.name, word) for word in each.words)
        else:
            is_certain = False
            report.note(line, f"The condition {each.name} cannot be expressed.")
    return hosts, patterns, methods, is_certain


def _pattern(name: str, path: str) -> Pattern:
    """Return a path of Traefik's router. PathPrefix compares texts: `/api` is a prefix of `/apis`."""
    if path == "/" and name == "PathPrefix":
        return EVERY
    literal = path.partition("{")[0]
    escaped = literal.replace(".", r"\.")
    if "{" in path:
        return Pattern(Kind.UNKNOWN, literal)
    [found] = patterns_of(f"^{escaped}" if name == "PathPrefix" else f"^{escaped}$", sees_query=False)
    return Pattern(Kind.UNKNOWN, literal) if found.kind is Kind.UNKNOWN else found


def _effect(
    options: Options, prefix: str, action: str, emails: set[str], report: Report
) -> tuple[Level, Subjects]:
    """Return the level that a rule requires, and for which subjects."""
    if action == "allow":
        return Level.BYPASS, None
    if action != "auth":
        line = line_of(options, f"{prefix}action")
        raise NotConverted(f"line {line}: the action {action[:30]!r} is unknown.")
    own = prefix and (f"{prefix}whitelist" in options or f"{prefix}domains" in options)
    whitelist = [*listed(options, f"{prefix}whitelist" if own else "whitelist")]
    domains = [*listed(options, f"{prefix}domains" if own else "domain")]
    if not whitelist and not domains:
        return Level.ONE_FACTOR, None
    if domains and (not whitelist or is_on(options, "match-whitelist-or-domain")):
        text = (
            "Rules do not know e-mail domains, so nobody is admitted by one. Put allowed_email_domains into "
            "the query of the check's URL in your proxy, and then let signed-in users in."
        )
        report.note(domains[0][0], text)
    emails |= {text.lower() for _line, text in whitelist}
    return Level.ONE_FACTOR, frozenset(("user", text.lower()) for _line, text in whitelist)


def _providers(options: Options, report: Report) -> dict[str, Any]:
    found: dict[str, Any] = {}
    google = single(options, "providers.google.client-id") or single(options, "client-id")
    if google:
        found |= provider("Google", GOOGLE, google, report)
    if issuer := single(options, "providers.oidc.issuer-url"):
        found |= provider("OIDC", issuer, single(options, "providers.oidc.client-id"), report)
    for name in options:
        if name.startswith("providers.generic-oauth."):
            report.note(line_of(options, name), "Providers without OpenID Connect are not carried over.")
    return found
