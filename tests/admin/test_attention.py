"""What the admin's first page says needs attention."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts.machines.api_tokens import make_token
from accounts.models import ApiToken, Upstream, User
from authgate.audit import record
from authgate.models import Application, ConfigurationEvent, GateSession, Rule, SignIn
from tests.factories import ApplicationFactory, RuleFactory, UserFactory
from tests.front.serving import begin

WIKI = "https://wiki.example.net"


def matters(client: Client) -> dict[str, str]:
    return {matter.title: matter.advice for matter in client.get("/admin/").context["matters"]}


def make_mistake(**fields: Any) -> None:
    now = timezone.now()
    values = {"contract": "nginx", "origin": WIKI, "reason": "unknown origin", "count": 1}
    ConfigurationEvent.objects.create(**{**values, "first_at": now, "last_at": now, **fields})


def test_the_page_has_a_message_if_nothing_needs_attention(carols: Client) -> None:
    ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])

    assert matters(carols) == {}
    assert "Nothing at the moment." in carols.get("/admin/").content.decode()


def test_an_application_that_nobody_can_open_is_named(carols: Client) -> None:
    ApplicationFactory(name="Bare", origins=[WIKI])
    late = ApplicationFactory(name="Late", origins=["https://late.example.net"])
    RuleFactory(application=late, who=Rule.Who.SIGNED_IN, expires_at=timezone.now() - timedelta(hours=1))
    ApplicationFactory(name="Off", enabled=False)

    assert "Bare, Late." in matters(carols)["Applications without a rule"]


def test_an_application_without_an_origin_is_named(carols: Client) -> None:
    ApplicationFactory(name="Nowhere", groups=["staff"])

    assert "Nowhere." in matters(carols)["Applications without an origin"]


def test_an_application_open_to_everyone_is_named_but_a_public_path_is_not(carols: Client) -> None:
    ApplicationFactory(name="Shop", origins=[WIKI], who=Rule.Who.EVERYONE)
    docs = ApplicationFactory(name="Docs", origins=["https://docs.example.net"], groups=["staff"])
    RuleFactory(application=docs, path="/public", who=Rule.Who.EVERYONE)

    advice = matters(carols)["Open to everyone"]

    assert "Shop." in advice
    assert "Docs" not in advice


def test_a_configuration_error_is_listed_first_for_a_day(carols: Client) -> None:
    record("refused", subject="bob")
    make_mistake()
    make_mistake(reason="peer not trusted", last_at=timezone.now() - timedelta(days=2))

    found = matters(carols)

    assert next(iter(found)) == "Configuration errors in the last 24 hours"
    named = "https://wiki.example.net (No application has this origin)"
    assert named in found["Configuration errors in the last 24 hours"]
    assert "peer not trusted" not in found["Configuration errors in the last 24 hours"]


def test_failed_sign_ins_and_refusals_of_the_last_day_are_counted(carols: Client) -> None:
    with time_machine.travel(timezone.now() - timedelta(days=2), tick=False):
        record("sign_in_failed", subject="alice")
    record("sign_in_failed", subject="alice")
    record("sign_in_failed")
    record("refused", subject="bob")

    assert {"2 failed sign-ins in the last 24 hours", "1 refusal in the last 24 hours"} <= matters(
        carols
    ).keys()


def test_at_most_three_applications_are_named(carols: Client) -> None:
    for name in "ABCDE":
        ApplicationFactory(name=name, origins=[f"https://{name.lower()}.example.net"])

    assert "A, B, C …" in matters(carols)["Applications without a rule"]


def test_staff_see_only_entries_that_they_may_view(db: None, browser_of: Callable[..., Client]) -> None:
    ApplicationFactory(name="Bare", origins=[WIKI])
    record("refused", subject="bob")
    pat = UserFactory(username="pat", is_staff=True)
    pat.user_permissions.set(Permission.objects.filter(codename="view_auditevent"))

    assert list(matters(browser_of(pat))) == ["1 refusal in the last 24 hours"]


@pytest.mark.usefixtures("known_brand")
def test_the_page_needs_the_same_queries_for_many_applications(
    carols: Client, django_assert_num_queries: Any
) -> None:
    for number in range(20):
        ApplicationFactory(origins=[f"https://app{number}.example.net"])
        make_mistake(origin=f"https://wrong{number}.example.net")
        record("refused")
    Application.objects.update(created_at=timezone.now() - timedelta(days=60))
    carols.get("/admin/")

    # Session, sign-in, user, twenty-two entries, origins of silent applications, and Django's recent actions;
    # one for the plots, two for the live sessions, one for the times of providers.
    with django_assert_num_queries(32):
        carols.get("/admin/")


def test_an_overload_is_listed_with_the_number_of_refused_requests(carols: Client) -> None:
    for count in (5, 37):
        record("overloaded", reason="too many checks waited", details={"count": count})

    page = carols.get("/admin/").content.decode()

    assert "The portal was overloaded" in page
    assert "It refused 42 requests in the last 24 hours and asked clients to try again." in page


# ---- silent applications ----------------------------------------------------------------------------------


def create_gate_session(origin: str, *, days_ago: int = 1) -> None:
    """Create a user with a gate session at an origin."""
    at = timezone.now() - timedelta(days=days_ago)
    sign_in = begin(UserFactory())
    SignIn.objects.filter(pk=sign_in.pk).update(last_seen_at=at)
    digest = secrets.token_bytes(32)
    GateSession.objects.create(sign_in=sign_in, origin=origin, token_digest=digest, created_at=at)


def old_application(name: str, *origins: str, **fields: Any) -> None:
    made = timezone.now() - timedelta(days=60)
    ApplicationFactory(name=name, origins=list(origins), groups=["staff"], created_at=made, **fields)


def test_an_application_without_sign_ins_is_silent(carols: Client) -> None:
    old_application("Used", WIKI)
    old_application("Unused", "https://unused.example.net")
    old_application("Long ago", "https://long.example.net")
    old_application("Off", "https://off.example.net", enabled=False)
    ApplicationFactory(name="New", origins=["https://new.example.net"], groups=["staff"])
    create_gate_session(WIKI)
    create_gate_session("https://long.example.net", days_ago=31)

    assert "30 days: Long ago, Unused." in matters(carols)["Silent applications"]


def test_a_sign_in_at_a_subdomain_counts_for_a_wildcard(carols: Client, settings: Any) -> None:
    old_application("Apps", "https://*.apps.example.net")
    old_application("Others", "https://*.others.example.net")
    old_application("Shared", "https://wiki.shared.example.net")
    settings.IKD_SHARED_COOKIE_DOMAINS = ["shared.example.net"]
    create_gate_session("https://a.b.apps.example.net")
    create_gate_session("http://x.others.example.net")

    assert "30 days: Others." in matters(carols)["Silent applications"]


def test_a_user_who_stays_signed_in_counts_as_use_of_the_application(carols: Client) -> None:
    old_application("Wiki", WIKI)
    create_gate_session(WIKI, days_ago=50)
    SignIn.objects.update(last_seen_at=timezone.now())

    assert "Silent applications" not in matters(carols)


# ---- tokens and providers ---------------------------------------------------------------------------------


def test_tokens_that_end_soon_are_named_with_their_owners(carols: Client, alice: User, dave: User) -> None:
    for name, who, days in (("soon", alice, 13), ("later", alice, 15), ("over", alice, -1), ("his", dave, 2)):
        make_token(who, name, [], 3600)
        ApiToken.objects.filter(name=name).update(expires_at=timezone.now() + timedelta(days=days))
    make_token(alice, "ended", [], 3600)
    ApiToken.objects.filter(name="ended").update(ended_at=timezone.now())

    assert "will be refused within 14 days: soon (alice)." in matters(carols)["API tokens that expire soon"]


@pytest.mark.parametrize(
    ("kind", "blame", "is_listed"),
    [
        ("upstream_failed", "unavailable", True),
        ("upstream_failed", "broken", True),
        ("upstream_failed", "refused", False),
        ("upstream_failed", "stale", False),
        ("upstream_not_asked", None, True),
        ("upstream_sign_out_failed", None, True),
        ("backchannel_logout_failed", None, True),
    ],
)
def test_a_failing_provider_is_listed_but_not_a_refused_user(
    carols: Client, kind: str, blame: str | None, is_listed: bool
) -> None:
    Upstream.objects.create(
        name="Corporate", slug="corporate", kind="cas", server_url="https://cas.example.net"
    )
    details = {"upstream": "corporate"} | ({"blame": blame} if blame else {})
    record(kind, reason="it does not answer", details=details)

    assert (matters(carols).get("Providers with errors", "").find("Corporate (1)") > 0) is is_listed


def test_a_disabled_provider_and_old_failures_are_not_listed(carols: Client) -> None:
    server = "https://cas.example.net"
    Upstream.objects.create(name="Off", slug="off", kind="cas", server_url=server, enabled=False)
    Upstream.objects.create(name="Mended", slug="mended", kind="cas", server_url=server)
    record("upstream_failed", details={"upstream": "off", "blame": "broken"})
    with time_machine.travel(timezone.now() - timedelta(days=2)):
        record("upstream_failed", details={"upstream": "mended", "blame": "broken"})

    assert "Providers with errors" not in matters(carols)
