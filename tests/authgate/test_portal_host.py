"""The portal's host on another port or scheme. Browsers send the portal's session cookie there, too."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import DatabaseError, connection
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from authgate.check.memory import Memory
from authgate.check.state import State, seal
from authgate.checks import check_origins
from authgate.models import Origin, Rule
from authgate.validation import canonical_origin
from authgate.worker import loader
from tests.authgate.asking import NAVIGATION, endpoint
from tests.authgate.test_ports import ask, both_memories
from tests.factories import ApplicationFactory

pytestmark = pytest.mark.django_db

BESIDE = ["https://sso.example.com:8443", "http://sso.example.com", "http://sso.example.com:8080"]
COVERING = {
    "the origin itself": "https://sso.example.com:8443",
    "a wildcard at that port": "https://*.example.com:8443",
}
CHECKS = ["/authgate/nginx", "/authgate/traefik", "/authgate/caddy", "/authgate/haproxy", "/authgate/envoy"]


@pytest.mark.parametrize("origin", BESIDE)
def test_an_origin_on_the_portals_host_cannot_be_saved(origin: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        canonical_origin(origin, without_https=True)

    assert "same host, sso.example.com" in refusal.value.messages[0]
    assert "such as app.example.com" in refusal.value.messages[0]


@pytest.mark.parametrize(
    ("portal", "origin", "name"),
    [
        ("http://localhost:8000", "http://localhost:3000", "app.localhost"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:3000", "app.localhost"),
        ("http://[::1]:8000", "http://[::1]:3000", "app.localhost"),
        ("http://sso.localhost:8000", "https://sso.localhost", "app.localhost"),
        ("https://192.0.2.7", "https://192.0.2.7:8443", "app.example.com"),
        ("https://example.com", "https://example.com:8443", "app.example.com"),
        ("https://sso.lan", "https://sso.lan:8443", "app.lan"),
    ],
)
def test_the_message_suggests_a_host_that_can_be_saved(
    portal: str, origin: str, name: str, settings: Settings
) -> None:
    settings.IKD_PORTAL_ORIGIN = portal

    with pytest.raises(ValidationError, match=f"such as {name}"):
        canonical_origin(origin, without_https=True)


@pytest.mark.parametrize(
    "origin", ["https://sso2.example.com:8443", "https://a.sso.example.com", "https://*.example.com:8443"]
)
def test_other_hosts_and_wildcards_can_be_saved(origin: str) -> None:
    assert canonical_origin(origin, without_https=False) == origin


@both_memories
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("claimed", COVERING.values(), ids=COVERING)
def test_an_existing_row_for_the_portals_host_admits_nobody(
    claimed: str, check: str, memory: Callable[[], Memory]
) -> None:
    ApplicationFactory(origins=[claimed], who=Rule.Who.EVERYONE)

    answer = ask(check, "https://sso.example.com:8443/", memory())

    assert answer.status == 403
    assert answer.refusal is not None and answer.refusal.is_configuration
    assert answer.refusal.reason == "the portal's host at another port or scheme"


def test_a_wildcard_still_opens_other_hosts_of_the_domain() -> None:
    ApplicationFactory(origins=["https://*.example.com:8443"], who=Rule.Who.EVERYONE)

    assert (
        ask("/authgate/nginx", "https://app.example.com:8443/", loader.memory_for_one_request()).status == 200
    )


@pytest.mark.parametrize("name", ["start", "callback", "sign_out", "userinfo", "refused"])
def test_no_endpoint_answers_on_the_portals_host(name: str) -> None:
    ApplicationFactory(origins=["https://sso.example.com:8443"], who=Rule.Who.EVERYONE)

    assert endpoint(f"/authgate/{name}", "https://sso.example.com:8443", NAVIGATION).status_code == 403


def test_no_code_and_no_redirect_leads_to_the_portals_host(alice: User) -> None:
    origin = "https://sso.example.com:8443"
    ApplicationFactory(origins=[origin], who=Rule.Who.EVERYONE)
    client = Client(HTTP_HOST="sso.example.com")
    client.force_login(alice)
    sealed = seal(State(origin, "/", "0" * 32, "", int(time.time())), loader.gate_settings().state_keys[0])

    assert client.get(f"/continue?state={sealed}", secure=True).status_code == 400
    assert not loader.is_allowed_origin(origin)


@pytest.mark.parametrize(
    "origin", ["https://wiki.example.com:8443", "http://wiki.example.com", "https://wiki.example.com"]
)
def test_moving_the_portal_to_the_host_of_an_application_fails_the_system_check(
    origin: str, settings: Settings
) -> None:
    ApplicationFactory(name="Wiki", origins=[origin])
    assert check_origins() == []

    settings.IKD_PORTAL_ORIGIN = "https://wiki.example.com"
    with pytest.raises(SystemCheckError, match=r"authgate\.E005") as failure:
        call_command("check", stderr=StringIO())

    assert f"'Wiki' ({origin})" in str(failure.value)


def test_the_system_check_reports_nothing_before_the_tables_exist() -> None:
    def fail(*args: object) -> object:
        raise DatabaseError("no such table: authgate_origin")

    with connection.execute_wrapper(fail):
        assert check_origins() == []
    assert Origin.objects.count() == 0
