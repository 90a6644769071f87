"""Converts oauth2-proxy's configuration file, flags or variables."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from typing import Any
from urllib.parse import urlsplit

from ikd_portal.conversion.options import Options, is_on, line_of, listed, options_in, single
from ikd_portal.conversion.path_patterns import Kind, Pattern, patterns_of
from ikd_portal.conversion.people import People
from ikd_portal.conversion.policies import Level, Policy, Subjects, converted
from ikd_portal.conversion.report import NotConverted, Report
from ikd_portal.conversion.single_sign_on import GOOGLE, canonical_origins, name_of_origin, provider

PLURAL = {
    "email-domains": "email-domain",
    "allowed-groups": "allowed-group",
    "skip-auth-routes": "skip-auth-route",
    "trusted-ips": "trusted-ip",
}
"""Names in the configuration file, with the names of the same flags."""

RESTRICTIONS = (
    *("allowed-role", "allowed-roles", "github-org", "github-team", "github-repo", "github-user"),
    *("github-users", "gitlab-group", "gitlab-groups", "gitlab-project", "gitlab-projects", "google-group"),
    *("google-groups", "bitbucket-team", "bitbucket-repository", "azure-tenant", "keycloak-group"),
    *("keycloak-groups", "authenticated-emails-file"),
)
"""Restrictions that rules cannot express. If one of them is set, the rules admit nobody."""

CARRIED = frozenset(
    (
        *("email-domain", "allowed-group", "skip-auth-route", "skip-auth-regex", "trusted-ip"),
        *("skip-auth-preflight", "provider", "oidc-issuer-url", "client-id", "client-secret", "redirect-url"),
        *("oidc-groups-claim", "client-secret-file", "scope", "provider-display-name", "reverse-proxy"),
    )
)
WITHOUT_EFFECT = re.compile(r"(?:cookie|http|https|metrics|tls|templates?)-.*|upstreams?|.*-log.*")


def convert(
    text: str, origins: list[str], report: Report, emails: list[str]
) -> tuple[dict[str, Any], People]:
    """Return the values of a configuration file, and the users of `emails`. Raises NotConverted.

    `emails` are the addresses in authenticated_emails_file.
    """
    options = _options(text)
    if not origins and (url := urlsplit(single(options, "redirect-url"))).netloc:
        origins = [f"{url.scheme}://{url.netloc}"]
    subjects, level = _allowed_subjects(options, emails, report)
    default = Policy(0, level, subjects=subjects)
    policies = _bypasses(options, report)
    rules = converted(policies, default, report, is_ordered=True)
    for name in options.keys() - CARRIED - set(RESTRICTIONS):
        if not WITHOUT_EFFECT.fullmatch(name):
            report.note(line_of(options, name), f"{name} is not carried over.")
    groups = sorted(name for kind, name in subjects or () if kind == "group")
    values: dict[str, Any] = {"version": 1, "groups": {name: {} for name in groups}}
    values["identity_providers"] = _provider(options, groups, report)
    values["applications"] = {
        name_of_origin(origin): {"origins": [origin], "rules": rules} for origin in canonical_origins(origins)
    }
    return values, [{"username": email, "email": email} for email in emails]


def _options(text: str) -> Options:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        found = options_in(text, prefix="OAUTH2_PROXY_")
        return {PLURAL.get(name, name): values for name, values in found.items()}
    options: Options = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        texts = value if isinstance(value, list) else [value]
        lines = enumerate(text.splitlines(), 1)
        line = next((number for number, each in lines if re.match(rf"\s*{re.escape(key)}\s*=", each)), 0)
        words = [str(each).lower() if isinstance(each, bool) else str(each) for each in texts]
        options[PLURAL.get(name, name)] = [(line, word) for word in words]
    return options


def _allowed_subjects(options: Options, emails: list[str], report: Report) -> tuple[Subjects, Level]:
    """Return who may sign in. A restriction that cannot be expressed admits nobody."""
    level = Level.ONE_FACTOR
    for name in RESTRICTIONS:
        if single(options, name) and not (emails and name == "authenticated-emails-file"):
            level = Level.DENY
            text = f"{name} restricts who has access. The rules admit nobody: add groups or users to them."
            report.note(line_of(options, name), text)
    domains = [text for _line, text in listed(options, "email-domain")]
    if "*" not in domains and not emails and level is not Level.DENY:
        level = Level.DENY
        text = (
            "Rules do not know e-mail domains, so they admit nobody. Put allowed_email_domains into the "
            "query of the check's URL in your proxy, and then let signed-in users in."
        )
        report.note(line_of(options, "email-domain"), text)
    groups = frozenset(("group", text) for _line, text in listed(options, "allowed-group"))
    if groups and emails:
        report.note(line_of(options, "allowed-group"), "Rules cannot ask for a group and an address at once.")
        return groups, Level.DENY
    if emails:
        report.note(0, "Users have their address as name. Link them to their provider accounts.")
    return frozenset(("user", email) for email in emails) or groups or None, level


def _bypasses(options: Options, report: Report) -> list[Policy]:
    """Return policies for requests that need no sign-in: routes, addresses and preflights."""
    found = []
    for line, route in options.get("skip-auth-route", ()):
        method, patterns = _route(line, route, report)
        found.append(Policy(line, Level.BYPASS, patterns, method))
    for line, regex in options.get("skip-auth-regex", ()):
        found.append(Policy(line, Level.BYPASS, tuple(patterns_of(regex, sees_query=False))))
    for line, text in listed(options, "trusted-ip"):
        try:
            networks = (ipaddress.ip_network(text, strict=False),)
        except ValueError:
            raise NotConverted(f"line {line}: {text[:60]!r} is not a network.") from None
        found.append(Policy(line, Level.BYPASS, networks=networks))
    if is_on(options, "skip-auth-preflight"):
        line = line_of(options, "skip-auth-preflight")
        found.append(Policy(line, Level.BYPASS, methods=frozenset(("OPTIONS",))))
    return found


def _route(line: int, route: str, report: Report) -> tuple[frozenset[str] | None, tuple[Pattern, ...]]:
    match = re.fullmatch(r"([A-Za-z]*)(!?=)(.*)", route)
    if match is None and "=" not in route:
        return None, tuple(patterns_of(route, sees_query=False))
    if match is None or match[2] == "!=":
        report.note(line, f"The route {route[:80]!r} cannot be expressed.")
        return None, (Pattern(Kind.UNKNOWN),)
    methods = frozenset((match[1].upper(),)) if match[1] else None
    return methods, tuple(patterns_of(match[3], sees_query=False))


def _provider(options: Options, groups: list[str], report: Report) -> dict[str, Any]:
    kind = single(options, "provider", "google")
    issuer = single(options, "oidc-issuer-url") or (GOOGLE if kind == "google" else "")
    if not issuer:
        text = f"The provider {kind} is not carried over: the portal needs one with OpenID Connect or CAS."
        report.note(line_of(options, "provider"), text)
        return {}
    claim = single(options, "oidc-groups-claim", "groups")
    name = single(options, "provider-display-name") or "oauth2-proxy"
    mapped = {group: group for group in groups}
    return provider(name, issuer, single(options, "client-id"), report, groups=mapped, claim=claim)
