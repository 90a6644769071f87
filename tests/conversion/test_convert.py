"""Realistic configurations of other portals: converted parts, and parts reported with their line."""

from __future__ import annotations

import json
import stat
from io import StringIO
from pathlib import Path
from typing import Any

import argon2
import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError

from accounts.models import User
from authgate.models import Application
from ikd_portal.conversion import oauth2_proxy, traefik_forward_auth
from ikd_portal.conversion.options import options_in
from ikd_portal.conversion.report import NotConverted, Report
from ikd_portal.conversion.router_rules import UnreadableRule, alternatives_of

AUTHELIA = """\
theme: dark
identity_providers:
  oidc: {clients: []}
access_control:
  default_policy: deny
  networks:
    - name: internal
      networks: [10.10.0.0/16, 192.168.2.0/24]
  rules:
    - domain: public.example.com
      policy: bypass
    - domain: secure.example.com
      policy: one_factor
      networks: [internal]
      subject: ['group:staff', 'user:john']
    - domain: secure.example.com
      policy: two_factor
      subject: ['group:staff']
      resources: ['^/admin([/?].*)?$', '^/reports/[0-9]+$']
    - domain_regex: '^(?P<User>\\w+)\\.example\\.com$'
      policy: one_factor
    - domain: '{user}.example.com'
      policy: one_factor
    - domain: '*.example.com'
      policy: two_factor
      query: [[{operator: present, key: token}]]
"""
PASSWORD = "correct horse battery"
HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def users_of_authelia() -> str:
    return f"""
users:
  john:
    disabled: false
    displayname: John Doe
    password: '{HASH}'
    email: john.doe@authelia.com
    groups: [staff, dev]
  old:
    displayname: Old
    password: '$6$rounds=50000$BpLnfgDsc2WD8F2q$Zis.ixdg9s/UOJYrs56b5QEZFiZECu0qZVNsIYxBaNJ7ucIL'
    email: old@authelia.com
"""


def convert(tmp_path: Path, program: str, text: str, *options: str) -> tuple[dict[str, Any], str]:
    """Return the written files and the command's output."""
    source, output = tmp_path / "source", tmp_path / "portal.yaml"
    source.write_text(text)
    said = StringIO()
    files = ("--output", str(output), "--people", str(tmp_path / "users.json"))
    call_command("convert", program, str(source), *options, *files, stdout=said)
    return yaml.safe_load(output.read_text()) if output.exists() else {}, said.getvalue()


def test_authelias_rules_are_converted_and_losses_reported(tmp_path: Path) -> None:
    values, said = convert(tmp_path, "authelia", AUTHELIA)

    applications = values["applications"]
    assert list(applications) == ["*.example.com", "public.example.com", "secure.example.com"]
    assert applications["public.example.com"]["rules"] == [{"path": "/", "exact": False, "who": "everyone"}]
    first = applications["secure.example.com"]["rules"][0]
    assert first["groups"] == ["staff"]
    assert first["users"] == ["john"]
    assert first["networks"] == ["10.10.0.0/16", "192.168.2.0/24"]
    admin = [rule for rule in applications["secure.example.com"]["rules"] if rule["path"] == "/admin"]
    assert {rule.get("second_factor", False) for rule in admin} == {False, True}
    assert applications["*.example.com"]["rules"] == []
    assert values["groups"] == {"staff": {}}
    for line, words in (
        (2, "The section identity_providers is not carried over."),
        (16, "Not carried over where its criteria cannot be expressed."),
        (20, "domain_regex counts only for names that other rules list"),
        (22, "domains that depend on the user"),
        (26, "The criterion query cannot be expressed"),
    ):
        assert any(f"source:{line}: " in told and words in told for told in said.splitlines()), (line, said)


@pytest.mark.django_db
def test_users_of_authelia_sign_in_with_their_old_password(tmp_path: Path, settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["accounts.password_hasher.PasswordHasher"]
    users = tmp_path / "users.yml"
    users.write_text(users_of_authelia())
    _values, said = convert(tmp_path, "authelia", AUTHELIA, "--users", str(users))
    people = tmp_path / "users.json"

    call_command("import_users", str(people), "--yes", "--create-groups", stdout=StringIO())
    call_command("apply", str(tmp_path / "portal.yaml"), "--yes", stdout=StringIO())

    john, old = User.objects.order_by("username")
    assert john.check_password(PASSWORD)
    assert not john.check_password("wrong")
    assert {group.name for group in john.groups.all()} == {"staff", "dev"}
    assert not old.has_usable_password()
    assert "old: the hash (SHA-512 crypt) is not carried over" in said
    assert HASH not in said
    assert stat.S_IMODE(people.stat().st_mode) == 0o600
    assert Application.objects.count() == 3


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("[{domain: a.example.com, policy: three_factor}]", "needs a policy"),
        ("[{domain: a.example.com, policy: deny, networks: [nowhere]}]", "cannot be read"),
        ("[{domain: {a: b}, policy: deny}]", "cannot be read"),
        ("[a]", "needs a policy"),
    ],
)
def test_an_unreadable_rule_of_authelia_stops_the_conversion(tmp_path: Path, rules: str, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        convert(tmp_path, "authelia", f"access_control:\n  rules: {rules}\n")
    assert not (tmp_path / "portal.yaml").exists()


def test_htpasswd_keeps_what_the_portal_can_verify(tmp_path: Path) -> None:
    text = f"""# users
alice:$apr1$ww.oSFLL$jdeAFEMwPLA8bFIH0AwdB1
bob:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC
carol:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=
dave:{HASH}
no colon
bob:again
"""
    _values, said = convert(tmp_path, "htpasswd", text)

    people = json.loads((tmp_path / "users.json").read_text())["users"]
    assert {person["username"]: bool(person["password_hash"]) for person in people} == {
        "alice": False,
        "bob": False,
        "carol": False,
        "dave": True,
    }
    for line, kind in ((2, "MD5"), (3, "bcrypt"), (4, "SHA-1"), (6, "not a user"), (7, "there twice")):
        assert any(f"source:{line}: " in told and kind in told for told in said.splitlines())
    assert "5en6G6" not in said


OAUTH2_PROXY = """
provider = "oidc"
oidc_issuer_url = "https://id.example.com"
client_id = "proxy"
client_secret = "never-copied"
redirect_url = "https://wiki.example.com/oauth2/callback"
email_domains = ["*"]
allowed_groups = ["staff"]
skip_auth_routes = ["^/public/", "GET=^/health$", "POST!=^/x", "/anywhere"]
skip_auth_preflight = true
trusted_ips = ["10.0.0.0/8"]
cookie_secret = "x"
pass_access_token = true
"""


def test_a_file_of_oauth2_proxy_is_converted(tmp_path: Path) -> None:
    values, said = convert(tmp_path, "oauth2-proxy", OAUTH2_PROXY)

    [(name, application)] = values["applications"].items()
    assert name == "wiki.example.com"
    by_path: dict[str, list[dict[str, Any]]] = {}
    for rule in application["rules"]:
        by_path.setdefault(rule["path"], []).append(rule)
    assert {"path": "/", "exact": False, "who": "everyone", "methods": ["OPTIONS"]} in by_path["/"]
    assert any(rule.get("networks") == ["10.0.0.0/8"] and rule["who"] == "everyone" for rule in by_path["/"])
    assert any(rule.get("groups") == ["staff"] for rule in by_path["/"])
    assert any(rule["who"] == "everyone" and "networks" not in rule for rule in by_path["/public"])
    assert "/health" not in by_path
    [provider] = values["identity_providers"].values()
    assert provider["client_secret"] == {"environment": "PORTAL_SECRET_OAUTH2_PROXY"}
    assert provider["group_mappings"] == [
        {"claim": "groups", "value": "staff", "group": "staff", "mode": "mirror"}
    ]
    written = (tmp_path / "portal.yaml").read_text()
    assert "never-copied" not in written + said
    for words in (
        "GET and not for HEAD",
        "'POST!=^/x' cannot be expressed",
        "pass-access-token is not carried",
    ):
        assert words in said


@pytest.mark.parametrize(
    "text",
    [
        "--email-domain=example.com",
        "OAUTH2_PROXY_EMAIL_DOMAINS=example.com,example.org",
        "- --email-domain=*\n- --github-org=acme",
        'email_domains = ["*"]\nallowed_roles = ["x"]',
        "",
    ],
    ids=["domain", "variable", "organisation", "role", "nothing"],
)
def test_a_restriction_that_cannot_be_expressed_admits_nobody(text: str) -> None:
    report = Report()
    values, _people = oauth2_proxy.convert(text, ["https://a.example.com"], report, [])

    assert values["applications"]["a.example.com"]["rules"] == []
    assert any("admit nobody" in finding.text for finding in report.findings)


def test_a_list_of_addresses_is_converted_to_users() -> None:
    text = 'authenticated_emails_file = "/etc/emails"\n'
    values, people = oauth2_proxy.convert(text, ["https://a.example.com"], Report(), ["a@example.com"])

    [rule] = values["applications"]["a.example.com"]["rules"]
    assert rule["users"] == ["a@example.com"]
    assert people == [{"username": "a@example.com", "email": "a@example.com"}]


TRAEFIK = """
default-provider = oidc
providers.oidc.issuer-url = https://id.example.com
providers.oidc.client-id = portal
providers.oidc.client-secret = never-copied
rule.public.action = allow
rule.public.rule = Host(`app.example.com`) && PathPrefix(`/public/`)
rule.health.action = allow
rule.health.rule = Path(`/health`) || Path(`/ready`)
rule.json.action = allow
rule.json.rule = PathPrefix(`/api`) && Headers(`Content-Type`, `application/json`)
rule.jane.rule = Host(`jane.example.com`)
rule.jane.whitelist = Jane@example.com
"""


def test_a_file_of_traefik_forward_auth_is_converted(tmp_path: Path) -> None:
    values, said = convert(tmp_path, "traefik-forward-auth", TRAEFIK)

    app, jane = values["applications"]["app.example.com"], values["applications"]["jane.example.com"]
    assert {"path": "/", "exact": False, "who": "signed_in"} in app["rules"]
    assert {"path": "/public", "exact": False, "who": "everyone"} in app["rules"]
    assert {"path": "/health", "exact": True, "who": "everyone"} in app["rules"]
    assert not any(rule["path"].startswith("/api") for rule in app["rules"])
    assert {rule["path"]: rule.get("users") for rule in jane["rules"]} == {"/": ["jane@example.com"]}
    assert json.loads((tmp_path / "users.json").read_text())["users"][0]["username"] == "jane@example.com"
    assert "source:11: The condition Headers cannot be expressed." in said
    assert "never-copied" not in said + (tmp_path / "portal.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("rule.a.action=allow\nrule.a.rule=!PathPrefix(`/admin`)", {}),
        ("rule.a.action=allow\nrule.a.rule=HostRegexp(`{x:.*}`)", {}),
        ("rule.a.action=allow\nrule.a.rule=nonsense(", {}),
        ("rule.a.action=allow\nrule.a.rule=Path(`/{x:[a-z]+}`)", {}),
        ("domain=example.com", None),
        ("rule.a.action=allow\nrule.a.rule=PathPrefix(`/a/`)\nrule.b.rule=PathPrefix(`/a/b/`)", {"/a"}),
        ("--rule.a.action=allow\n--rule.a.rule=PathPrefix(`/`)\n--default-action=auth", {"/"}),
        ("DEFAULT_ACTION=allow", {"/"}),
    ],
    ids=["not", "host", "nonsense", "template", "domain", "overlap", "everything", "default"],
)
def test_a_request_that_traefik_forward_auth_may_refuse_is_not_granted(
    text: str, paths: set[str] | None
) -> None:
    values, _people = traefik_forward_auth.convert(text, ["https://a.example.com"], Report())

    rules = values["applications"]["a.example.com"]["rules"]
    public = {rule["path"] for rule in rules if rule.get("who") == "everyone" and not rule["exact"]}
    assert public == (paths or set())
    assert any(rule.get("who") == "signed_in" for rule in rules) is (paths is not None and paths != {"/"})


def test_nothing_is_converted_without_an_origin() -> None:
    with pytest.raises(NotConverted, match="--origin"):
        traefik_forward_auth.convert("secret=x", [], Report())


@pytest.mark.parametrize(
    "entry",
    [
        "--skip-auth-route=^/x",
        '- "--skip-auth-route=^/x"',
        "skip_auth_route = '^/x'",
        "OAUTH2_PROXY_SKIP_AUTH_ROUTE=^/x",
        "export OAUTH2_PROXY_SKIP_AUTH_ROUTE='^/x'",
        'OAUTH2_PROXY_SKIP_AUTH_ROUTE: "^/x"',
        "--skip-auth-route ^/x",
    ],
)
def test_options_are_read_as_flags_variables_and_lines(entry: str) -> None:
    assert options_in(f"# comment\n{entry}\n", "OAUTH2_PROXY_") == {"skip-auth-route": [(2, "^/x")]}


@pytest.mark.parametrize("text", ["", "Path(`/a`", "Path(`/a`) &&", "(" * 200, "Path(/a)", "a && b"])
def test_a_malformed_rule_is_refused(text: str) -> None:
    with pytest.raises(UnreadableRule):
        alternatives_of(text)


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "portal.yaml").write_text("mine")

    with pytest.raises(CommandError, match="exists"):
        convert(tmp_path, "traefik-forward-auth", TRAEFIK)
    assert (tmp_path / "portal.yaml").read_text() == "mine"
