"""What the admin's first page says needs attention."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from authgate.audit import record
from authgate.models import ConfigurationEvent, Rule
from tests.factories import ApplicationFactory, RuleFactory, UserFactory

WIKI = "https://wiki.example.net"


def matters(client: Client) -> dict[str, str]:
    return {matter.title: matter.advice for matter in client.get("/admin/").context["matters"]}


def make_mistake(**fields: Any) -> None:
    now = timezone.now()
    values = {"contract": "nginx", "origin": WIKI, "reason": "unknown origin", "count": 1}
    ConfigurationEvent.objects.create(**{**values, "first_at": now, "last_at": now, **fields})


def test_where_all_is_well_it_says_so(carols: Client) -> None:
    ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])

    assert matters(carols) == {}
    assert "Nothing at the moment." in carols.get("/admin/").content.decode()


def test_an_application_that_nobody_can_enter_is_named(carols: Client) -> None:
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


def test_a_proxys_mistake_is_told_for_a_day_and_comes_first(carols: Client) -> None:
    record("refused", subject="bob")
    make_mistake()
    make_mistake(reason="peer not trusted", last_at=timezone.now() - timedelta(days=2))

    found = matters(carols)

    assert next(iter(found)) == "Configuration mistakes within a day"
    assert "unknown origin (https://wiki.example.net)" in found["Configuration mistakes within a day"]
    assert "peer not trusted" not in found["Configuration mistakes within a day"]


def test_failed_sign_ins_and_refusals_of_the_last_day_are_counted(carols: Client) -> None:
    with time_machine.travel(timezone.now() - timedelta(days=2), tick=False):
        record("sign_in_failed", subject="alice")
    record("sign_in_failed", subject="alice")
    record("sign_in_failed")
    record("refused", subject="bob")

    assert {"2 failed sign-ins within a day", "1 refusal within a day"} <= matters(carols).keys()


def test_of_many_only_three_are_named(carols: Client) -> None:
    for name in "ABCDE":
        ApplicationFactory(name=name, origins=[f"https://{name.lower()}.example.net"])

    assert "A, B, C …" in matters(carols)["Applications without a rule"]


def test_nobody_is_told_of_what_they_may_not_see(db: None, browser_of: Callable[..., Client]) -> None:
    ApplicationFactory(name="Bare", origins=[WIKI])
    record("refused", subject="bob")
    pat = UserFactory(username="pat", is_staff=True)
    pat.user_permissions.set(Permission.objects.filter(codename="view_auditevent"))

    assert list(matters(browser_of(pat))) == ["1 refusal within a day"]


@pytest.mark.usefixtures("known_brand")
def test_it_asks_the_database_the_same_for_many(carols: Client, django_assert_num_queries: Any) -> None:
    for number in range(20):
        ApplicationFactory(origins=[f"https://app{number}.example.net"])
        make_mistake(origin=f"https://wrong{number}.example.net")
        record("refused")
    carols.get("/admin/")

    # Session, sign-in, user, six matters, and Django's list of one's own recent actions.
    with django_assert_num_queries(10):
        carols.get("/admin/")
