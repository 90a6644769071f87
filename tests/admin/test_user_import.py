"""The page that imports users: who may use it, what it shows, and what it creates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from authgate.models import AuditEvent
from tests.factories import GroupFactory, UserFactory

pytestmark = pytest.mark.django_db

URL = "/admin/accounts/user/import/"
GOOD = "username,display_name,email,groups\nerin,Erin,erin@example.com,crew\n"


def with_permissions(*names: str) -> User:
    pat = UserFactory(username="pat", is_staff=True)
    pat.user_permissions.set(Permission.objects.filter(codename__in=names))
    return pat


def page(browser: Client, text: str, **more: str) -> str:
    return browser.post(URL, {"text": text, **more}, follow=True).content.decode()


def test_a_file_is_shown_and_then_created(carols: Client) -> None:
    file = SimpleUploadedFile("users.csv", GOOD.encode("utf-8-sig"), "text/csv")

    shown = carols.post(URL, {"file": file, "create_groups": "on"}).content.decode()

    assert "new, without a password" in shown
    assert "New groups: crew" in shown
    assert not User.objects.filter(username="erin").exists()

    done = page(carols, GOOD, create_groups="on", confirmed="yes")

    assert "1 user was created." in done
    assert [group.name for group in User.objects.get(username="erin").groups.all()] == ["crew"]
    assert {event.subject for event in AuditEvent.objects.filter(kind="added", actor="carol")} == {
        "erin",
        "crew",
    }


def test_a_confirmation_is_checked_again(carols: Client) -> None:
    UserFactory(username="frank", email="erin@example.com")

    shown = page(carols, GOOD, create_groups="on", confirmed="yes")

    assert "Another user has this e-mail address" in shown
    assert not User.objects.filter(username="erin").exists()
    assert not Group.objects.filter(name="crew").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Choose a file, or enter its text."),
        ("username,is_superuser\nerin,1\n", "An import cannot grant administration rights."),
        ("username,password\nerin,hunter2\n", "A file must not contain passwords."),
        ("username\n" + "".join(f"u{number}\n" for number in range(501)), "more than 500 users"),
        ("username\n<script>alert(1)</script>\n", "&lt;script&gt;"),
    ],
    ids=["nothing", "rights", "passwords", "many", "markup"],
)
def test_problems_of_a_file_are_shown(carols: Client, text: str, words: str) -> None:
    before = User.objects.count()

    shown = page(carols, text, confirmed="yes")

    assert words in shown
    assert "<script>alert" not in shown
    assert User.objects.count() == before


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 200_001], ids=["no UTF-8", "large"])
def test_a_file_that_cannot_be_read_is_refused(carols: Client, content: bytes) -> None:
    shown = carols.post(URL, {"file": SimpleUploadedFile("users.csv", content)}).content.decode()

    assert 'class="error"' in shown


@pytest.mark.parametrize(
    ("permissions", "status"),
    [
        (("add_user", "change_user"), 200),
        (("add_user",), 403),
        (("change_user",), 403),
        (("view_user",), 403),
    ],
)
def test_an_import_needs_the_permissions_to_add_and_change_users(
    browser_of: Callable[[User], Client], permissions: tuple[str, ...], status: int
) -> None:
    browser = browser_of(with_permissions(*permissions))

    assert browser.get(URL).status_code == status
    assert browser.post(URL, {"text": "username\nerin\n", "confirmed": "yes"}).status_code == (
        302 if status == 200 else 403
    )
    assert User.objects.filter(username="erin").exists() is (status == 200)


def test_staff_cannot_add_users_to_a_group_with_permissions(sams: Client) -> None:
    group = GroupFactory(name="crew")
    group.permissions.set(Permission.objects.all()[:1])

    shown = page(sams, GOOD, confirmed="yes")

    assert "Only superusers can add users to groups with permissions: crew." in shown
    assert not User.objects.filter(username="erin").exists()


def test_creating_groups_needs_the_permission_to_add_groups(browser_of: Callable[[User], Client]) -> None:
    browser = browser_of(with_permissions("add_user", "change_user"))

    shown = page(browser, GOOD, create_groups="on", confirmed="yes")

    assert "There is no group crew." in shown
    assert not Group.objects.filter(name="crew").exists()


@pytest.mark.parametrize("method", ["put", "delete", "patch", "options"])
def test_other_methods_are_refused(carols: Client, method: str) -> None:
    answer: Any = getattr(carols, method)(URL)

    assert answer.status_code == 405


def test_the_list_of_users_links_to_the_import(carols: Client) -> None:
    assert URL in carols.get("/admin/accounts/user/").content.decode()


def test_each_imported_user_needs_few_queries(carols: Client, django_assert_max_num_queries: Any) -> None:
    text = "username\n" + "".join(f"user{number:03}\n" for number in range(20, 60))

    with django_assert_max_num_queries(40 * 10 + 20):
        carols.post(URL, {"text": text})
