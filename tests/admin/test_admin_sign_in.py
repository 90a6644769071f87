from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client, RequestFactory

from accounts.models import User
from authgate.models import SignIn
from tests.admin.conftest import PortalClient
from tests.factories import PASSWORD

PAGES = ["/admin/", "/admin/accounts/user/", "/admin/password_change/", "/admin/autocomplete/", "/admin/no/"]


@pytest.fixture
def stranger(db: None) -> Client:
    return PortalClient(HTTP_HOST="sso.example.com")


@pytest.mark.parametrize("page", PAGES)
def test_a_visitor_is_sent_to_the_portals_sign_in_page(stranger: Client, page: str) -> None:
    response = stranger.get(page)

    assert (response.status_code, response["Location"]) == (302, f"/accounts/login/?next={page}")


NEXT = {
    "a page of the admin": ("/admin/accounts/user/?q=x", "/admin/accounts/user/%3Fq%3Dx"),
    "an absolute URL of it": ("https://sso.example.com/admin/accounts/", "/admin/accounts/"),
    "nothing": ("", "/admin/"),
    "another page of the portal": ("/accounts/logout/", "/admin/"),
    "another site": ("https://evil.example/admin/", "/admin/"),
    "another site without a scheme": ("//evil.example/admin/", "/admin/"),
    "another site by a backslash": ("/\\evil.example/admin/", "/admin/"),
    "another site in the user name": ("https://sso.example.com@evil.example/admin/", "/admin/"),
    "script": ("javascript:alert(1)//admin/", "/admin/"),
    "a line break": ("/admin/\r\nX: y", "/admin/"),
}


@pytest.mark.parametrize(("asked", "kept"), NEXT.values(), ids=NEXT)
def test_the_admins_sign_in_page_redirects_to_the_portals(stranger: Client, asked: str, kept: str) -> None:
    response = stranger.get("/admin/login/", {"next": asked})

    assert response["Location"] == f"/accounts/login/?next={kept}"


@pytest.mark.parametrize(("asked", "kept"), NEXT.values(), ids=NEXT)
def test_signed_in_staff_reach_the_requested_page(carols: Client, asked: str, kept: str) -> None:
    response = carols.get("/admin/login/", {"next": asked})

    assert response["Location"] == kept.replace("%3F", "?").replace("%3D", "=")


def test_a_password_sent_to_the_admins_sign_in_page_signs_nobody_in(stranger: Client, carol: User) -> None:
    response = stranger.post("/admin/login/", {"username": "carol", "password": PASSWORD})

    assert response["Location"].startswith("/accounts/login/")
    assert not SignIn.objects.exists()


def test_staff_with_a_live_sign_in_are_let_in(carols: Client) -> None:
    assert carols.get("/admin/").status_code == 200


def test_staff_with_an_ended_sign_in_are_not_let_in(carols: Client) -> None:
    SignIn.objects.update(ended_at="2020-01-01T00:00Z")

    assert carols.get("/admin/").status_code == 302


@pytest.mark.parametrize("page", [*PAGES, "/admin/login/?next=/admin/"])
def test_a_user_who_is_not_staff_reads_why_and_is_not_redirected_forever(
    alice: User, browser_of: Callable[[User], Client], page: str
) -> None:
    response = browser_of(alice).get(page)

    assert response.status_code == 403
    assert b"without staff status" in response.content
    assert b"/switch-account?next=" in response.content


def test_a_user_who_is_not_staff_sees_no_link_of_the_administration(
    alice: User, browser_of: Callable[[User], Client]
) -> None:
    response = browser_of(alice).get("/admin/accounts/user/")

    assert b"/admin/accounts/" not in response.content.replace(b"next=/admin/accounts/user/", b"")


@pytest.mark.parametrize("page", ["/admin/logout", "/admin/logout/"])
def test_signing_out_redirects_to_the_portal(carols: Client, page: str) -> None:
    assert carols.get(page)["Location"] == "/accounts/logout/"


def test_changing_the_own_password_redirects_to_the_portal(carols: Client, carol: User) -> None:
    for page in ("/admin/password_change/", f"/admin/accounts/user/{carol.pk}/password/"):
        assert carols.get(page)["Location"] == "/accounts/password/change/"


def test_no_page_of_the_admin_is_cached(carols: Client) -> None:
    for page in ("/admin/", "/admin/jsi18n/", "/admin/login/"):
        assert "no-store" in carols.get(page)["Cache-Control"]


def test_only_these_models_are_in_the_admin(db: None) -> None:
    registered = {model._meta.label for model in admin.site._registry}

    assert registered == {
        "accounts.AccessRequest",
        "accounts.AccessReview",
        "accounts.AccessReviewEntry",
        "accounts.ApiToken",
        "accounts.Brand",
        "accounts.Group",
        "accounts.Identity",
        "accounts.Invitation",
        "accounts.Upstream",
        "accounts.User",
        "auth.Group",
        "authgate.Application",
        "authgate.AuditEvent",
        "authgate.ConfigurationEvent",
        "authgate.GateSession",
        "authgate.JournalEntry",
        "authgate.SignIn",
        "openid.Client",
    }


@pytest.mark.parametrize(
    "page", ["/admin/auth/group/", "/admin/auth/group/add/", "/admin/account/emailaddress/"]
)
def test_pages_that_would_bypass_the_rules_do_not_exist(carols: Client, page: str) -> None:
    assert carols.get(page).status_code == 404


def test_a_superuser_can_open_every_page(carols: Client, carol: User) -> None:
    def status(page: str) -> Any:
        return carols.get(page).status_code

    names = ("accounts/user", "accounts/group", "authgate/application", "authgate/signin")
    logs = ("authgate/gatesession", "authgate/auditevent", "authgate/configurationevent")

    assert {status(f"/admin/{name}/") for name in (*names, *logs)} == {200}
    assert {status(f"/admin/{name}/add/") for name in names[:3]} == {200}
    assert {status(f"/admin/{name}/add/") for name in (names[3], *logs)} == {403}
    assert status(f"/admin/accounts/user/{carol.pk}/change/") == 200


def test_a_user_without_a_sign_in_has_no_permission(carol: User) -> None:
    request = RequestFactory().get("/admin/")
    request.user = carol

    assert not admin.site.has_permission(request)
