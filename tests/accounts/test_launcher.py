from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from tests.accounts.signing_in import sign_in
from tests.factories import ApplicationFactory


def test_it_needs_a_sign_in(client: Client, db: None) -> None:
    answer = client.get("/")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/accounts/login/?next=/")


def test_it_lists_what_one_may_open_and_nothing_else(client: Client, alice: User) -> None:
    wiki = "https://wiki.example.net"
    ApplicationFactory(name="Wiki", description="Notes & plans", origins=[wiki], groups=["staff"])
    ApplicationFactory(name="Payroll", origins=["https://pay.example.net"], groups=["accountants"])
    sign_in(client, "alice")

    body = client.get("/").content.decode()

    assert f'href="{wiki}/"' in body
    assert "Notes &amp; plans" in body
    assert "Payroll" not in body


def test_who_may_open_nothing_is_told_what_to_do(client: Client, bob: User) -> None:
    sign_in(client, "bob")

    body = client.get("/").content.decode()

    assert "Nothing to open yet" in body
    assert "<code>bob</code>" in body


def test_only_staff_is_shown_the_way_to_the_admin(
    client: Client, other_browser: Client, alice: User, carol: User
) -> None:
    sign_in(client, "alice")
    sign_in(other_browser, "carol")

    assert "Administration" not in client.get("/").content.decode()
    assert "Administration" in other_browser.get("/").content.decode()


@pytest.mark.usefixtures("known_brand")
def test_it_costs_the_same_however_many_applications_there_are(
    client: Client, alice: User, django_assert_num_queries: Any
) -> None:
    for number in range(12):
        ApplicationFactory(origins=[f"https://app{number}.example.net"], groups=["staff"])
    sign_in(client, "alice")

    # Session, sign-in, user, and seven for the applications.
    with django_assert_num_queries(10):
        client.get("/")


def test_a_name_is_text_and_not_markup(client: Client, alice: User) -> None:
    ApplicationFactory(name="<b>Wiki</b>", origins=["https://wiki.example.net"], groups=["staff"])
    sign_in(client, "alice")

    assert "<b>Wiki" not in client.get("/").content.decode()
