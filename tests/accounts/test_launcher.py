from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from authgate.models import Favourite, Icon
from authgate.pictures import reencoded
from tests.accounts.signing_in import begin_session
from tests.factories import ApplicationFactory, UserFactory
from tests.uploads import picture


def test_the_launcher_needs_a_sign_in(client: Client, db: None) -> None:
    answer = client.get("/")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/accounts/login/?next=/")


def test_the_launcher_lists_only_what_the_user_may_open(client: Client, alice: User) -> None:
    wiki = "https://wiki.example.net"
    ApplicationFactory(name="Wiki", description="Notes & plans", origins=[wiki], groups=["staff"])
    ApplicationFactory(name="Payroll", origins=["https://pay.example.net"], groups=["accountants"])
    begin_session(client, "alice")

    body = client.get("/").content.decode()

    assert f'href="{wiki}/"' in body
    assert "Notes &amp; plans" in body
    assert "Payroll" not in body


def test_a_user_without_applications_reads_what_to_do(client: Client, bob: User) -> None:
    begin_session(client, "bob")

    body = client.get("/").content.decode()

    assert "No applications yet" in body
    assert "<code>bob</code>" in body


def test_only_staff_see_the_link_to_the_administration(
    client: Client, other_browser: Client, alice: User, carol: User
) -> None:
    begin_session(client, "alice")
    begin_session(other_browser, "carol")

    assert "Administration" not in client.get("/").content.decode()
    assert "Administration" in other_browser.get("/").content.decode()


@pytest.mark.usefixtures("known_brand")
def test_the_launcher_needs_the_same_queries_for_many_applications(
    client: Client, alice: User, django_assert_num_queries: Any
) -> None:
    for number in range(12):
        ApplicationFactory(origins=[f"https://app{number}.example.net"], groups=["staff"])
    begin_session(client, "alice")

    # Session, sign-in, user, and six for the applications.
    with django_assert_num_queries(9):
        client.get("/")


def test_a_hostile_name_is_escaped(client: Client, alice: User) -> None:
    ApplicationFactory(name="<b>Wiki</b>", origins=["https://wiki.example.net"], groups=["staff"])
    begin_session(client, "alice")

    assert "<b>Wiki" not in client.get("/").content.decode()


# ---- favourites and categories ----------------------------------------------------------------------------


def headings(body: str) -> list[str]:
    return re.findall(r"<h[23][^>]*>(?:<a [^>]*>)?([^<]+)", body)


def test_applications_are_listed_by_category_and_those_without_one_last(client: Client, alice: User) -> None:
    for name, category in (("Zoo", ""), ("Mail", "Office"), ("Bills", "finance"), ("Taxes", "Finance")):
        origin = f"https://{name.lower()}.example.net"
        ApplicationFactory(name=name, category=category, origins=[origin], groups=["staff"])
    begin_session(client, "alice")

    body = client.get("/").content.decode()

    assert headings(body) == ["finance", "Bills", "Taxes", "Office", "Mail", "Others", "Zoo"]


def test_a_favourite_is_listed_first_and_can_be_removed(client: Client, alice: User) -> None:
    ApplicationFactory(name="Mail", origins=["https://mail.example.net"], groups=["staff"])
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.net"], groups=["staff"])
    begin_session(client, "alice")

    answer = client.post(f"/favourites/{wiki.pk}", {"wanted": "yes"})
    client.post(f"/favourites/{wiki.pk}", {"wanted": "yes"})
    with_it = headings(client.get("/").content.decode())
    client.post(f"/favourites/{wiki.pk}", {"wanted": "no"})
    without_it = headings(client.get("/").content.decode())

    assert answer.headers["Location"] == f"/#application-{wiki.pk}"
    assert with_it == ["Favourites", "Wiki", "Others", "Mail"]
    assert without_it == ["Applications", "Mail", "Wiki"]


def test_a_favourite_is_one_users_alone(client: Client, other_browser: Client, alice: User) -> None:
    UserFactory(username="eve", groups=["staff"])
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.net"], groups=["staff"])
    begin_session(client, "alice")
    begin_session(other_browser, "eve")

    client.post(f"/favourites/{wiki.pk}", {"wanted": "yes"})

    assert "Favourites" not in other_browser.get("/").content.decode()


def test_an_application_that_the_user_may_not_open_cannot_be_a_favourite_nor_be_guessed(
    client: Client, alice: User
) -> None:
    payroll = ApplicationFactory(name="Payroll", origins=["https://pay.example.net"], groups=["accountants"])
    begin_session(client, "alice")

    there = client.post(f"/favourites/{payroll.pk}", {"wanted": "yes"})
    nowhere = client.post(f"/favourites/{payroll.pk + 1}", {"wanted": "yes"})

    assert (there.status_code, nowhere.status_code) == (404, 404)
    assert not Favourite.objects.exists()


def test_a_favourite_disappears_when_the_user_loses_access(client: Client, alice: User) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.net"], groups=["staff"])
    begin_session(client, "alice")
    client.post(f"/favourites/{wiki.pk}", {"wanted": "yes"})

    alice.groups.clear()

    assert "Wiki" not in client.get("/").content.decode()


def test_a_get_request_cannot_add_a_favourite(client: Client, alice: User) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.net"], groups=["staff"])
    begin_session(client, "alice")

    assert client.get(f"/favourites/{wiki.pk}?wanted=yes").status_code == 405
    assert not Favourite.objects.exists()


# ---- icons ------------------------------------------------------------------------------------------------


def test_an_icon_is_for_signed_in_users_and_runs_no_script(
    client: Client, other_browser: Client, alice: User
) -> None:
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.net"], groups=["staff"])
    content = reencoded(picture(), (128, 128))
    Icon.objects.create(application=wiki, content=content)
    begin_session(client, "alice")

    [path] = re.findall(r'src="(/icons/[^"]+)"', client.get("/").content.decode())
    answer = client.get(path)

    assert answer.content == content
    assert answer.headers["Content-Type"] == "image/webp"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert "private" in answer.headers["Cache-Control"]
    assert other_browser.get(path).status_code == 302
    assert client.get("/icons/0123").status_code == 404


def test_few_applications_need_no_search(client: Client, alice: User) -> None:
    for number in range(6):
        ApplicationFactory(origins=[f"https://app{number}.example.net"], groups=["staff"])
    begin_session(client, "alice")
    few = client.get("/").content.decode()
    ApplicationFactory(origins=["https://app6.example.net"], groups=["staff"])

    assert 'type="search"' not in few
    assert 'type="search"' in client.get("/").content.decode()
