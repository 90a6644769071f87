"""Passkeys in Chromium, with its virtual authenticator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from playwright.sync_api import Browser, Page

from accounts.models import User
from authgate.models import SignIn
from tests.browser.chromium import listen_to_console
from tests.browser.signing_in import sign_in
from tests.factories import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def site(portal: str, settings: Any) -> str:
    """The portal under a host name, because browsers create no passkeys for an IP address."""
    url = portal.replace("127.0.0.1", "localhost")
    settings.IKD_PORTAL_URL = settings.IKD_PORTAL_ORIGIN = url
    return url


@pytest.fixture
def page(chromium: Browser, console: list[str]) -> Iterator[Page]:
    context = chromium.new_context()
    page = context.new_page()
    listen_to_console(page, console)
    yield page
    context.close()


def plug_in(page: Page, *, verifies: bool = True) -> None:
    """Attach a virtual authenticator with passkeys and user verification to the page."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": verifies,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def add_passkey(page: Page, site: str) -> None:
    page.goto(f"{site}/accounts/login/")
    sign_in(page)
    page.goto(f"{site}/accounts/second-factor/passkeys/add/")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("Name").fill("this laptop")
    page.get_by_role("button", name="Add address").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()


def sign_out(page: Page, site: str) -> None:
    page.goto(f"{site}/accounts/logout/")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="You are signed out").wait_for()


def test_a_user_adds_a_passkey(page: Page, site: str, alice: User, console: list[str]) -> None:
    plug_in(page)

    add_passkey(page, site)

    assert Authenticator.objects.get(type="webauthn").wrap().name == "this laptop"
    assert SignIn.objects.get().second_factor_at is not None
    assert console == []


def test_a_passkey_is_the_second_step_of_the_sign_in(
    page: Page, site: str, alice: User, console: list[str]
) -> None:
    plug_in(page)
    add_passkey(page, site)
    sign_out(page, site)
    page.goto(f"{site}/accounts/login/")
    sign_in(page)
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="My applications").wait_for()

    assert SignIn.objects.get(ended_at=None).methods == ["password", "webauthn"]
    assert console == []


def test_a_passkey_alone_signs_in_and_the_fragment_survives(
    page: Page, site: str, alice: User, console: list[str]
) -> None:
    plug_in(page)
    add_passkey(page, site)
    sign_out(page, site)
    page.goto(f"{site}/?x=1#chapter-2")
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="My applications").wait_for()

    row = SignIn.objects.get(ended_at=None)
    assert (row.methods, row.second_factor_at is not None) == (["webauthn"], True)
    assert page.url == f"{site}/?x=1#chapter-2"
    assert console == []


def test_a_disabled_user_cannot_sign_in_by_passkey(page: Page, site: str, alice: User) -> None:
    plug_in(page)
    add_passkey(page, site)
    sign_out(page, site)
    User.objects.update(is_active=False)
    page.goto(f"{site}/accounts/login/")
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="You are not signed in").wait_for()

    assert not SignIn.objects.filter(ended_at=None).exists()


def test_a_passkey_for_another_host_is_refused(page: Page, site: str, alice: User, settings: Any) -> None:
    plug_in(page)
    add_passkey(page, site)
    sign_out(page, site)
    page.goto(f"{site}/accounts/login/")
    settings.IKD_PORTAL_ORIGIN = site.replace("localhost", "sub.localhost")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_timeout(1500)

    assert not SignIn.objects.filter(ended_at=None).exists()


def test_a_passkey_confirms_the_users_identity(page: Page, site: str, alice: User) -> None:
    plug_in(page)
    add_passkey(page, site)
    sign_out(page, site)
    page.goto(f"{site}/accounts/login/")
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="My applications").wait_for()
    page.goto(f"{site}/accounts/second-factor/codes/new/")
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("heading", name="Create new recovery codes?").wait_for()

    assert "passkey" not in page.url
