"""`manage.py explain` on a terminal, and as JSON."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from authgate.models import Application, AuditEvent
from tests.factories import ApplicationFactory, RuleFactory

pytestmark = pytest.mark.django_db
WIKI = "https://wiki.example.com"


@pytest.fixture(autouse=True)
def wiki(alice: User, bob: User) -> Application:
    wiki = ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])
    RuleFactory(application=wiki, path="/public", who="everyone")
    return wiki


def output_of(*arguments: str) -> str:
    out = io.StringIO()
    call_command("explain", *arguments, stdout=out)
    return out.getvalue()


def values(*arguments: str) -> Any:
    return json.loads(output_of(*arguments, "--json"))


def test_a_refusal_is_explained_on_a_terminal() -> None:
    text = output_of(f"{WIKI}/a", "--user", "bob")

    assert text.startswith("The request is refused.")
    assert "The user is in one of the groups: staff." in text
    assert "x-auth-decision: 000000000000" in text


def test_an_allowed_request_is_explained_as_json() -> None:
    found = values(f"{WIKI}/a", "--user", "alice", "--proxy", "traefik")

    assert (found["verdict"], found["reason"], found["application"]) == ("allow", "admitted", "Wiki")
    answers = {each["proxy"]: each for each in found["answers"]}
    assert answers["traefik"]["status"] == answers["nginx"]["status"] == 200
    assert ["x-auth-request-user", "alice"] in answers["traefik"]["headers"]


def test_each_rule_is_explained_as_json() -> None:
    found = values(f"{WIKI}/a", "--user", "bob", "--method", "POST", "--client", "10.0.0.1")

    first, second = found["rules"]
    assert (first["path"], first["covers"], first["failed"]) == ("/", True, ["group"])
    assert (second["path"], second["covers"], second["failed"]) == ("/public", False, [])


def test_a_recorded_decision_is_explained() -> None:
    details = {"contract": "caddy", "method": "POST", "url": f"{WIKI}/a"}
    AuditEvent.objects.create(
        at=timezone.now(), kind="refused", actor="bob", decision_id="0123456789ab", details=details
    )

    found = values("--decision", "0123456789ab")

    assert found["request"]["url"] == f"{WIKI}/a" and found["request"]["proxy"] == "caddy"
    assert found["person"]["username"] == "bob" and found["verdict"] == "refuse"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Name an address or a decision."),
        (["--decision", "x"], "No refusal with this id is stored."),
        ([f"{WIKI}/", "--user", "nobody"], "There is no user with this name."),
        ([f"{WIKI}/", "--token", "x"], "Name the user of the API token."),
        ([f"{WIKI}/", "--user", "alice", "--token", "x"], "no API token with this name"),
        (["javascript:alert(1)"], "Enter a host name"),
        ([f"{WIKI}/", "--client", "x"], "Enter an IPv4 or IPv6 address."),
        ([f"{WIKI}/", "--proxy", "apache"], "invalid choice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_named(arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        output_of(*arguments)
