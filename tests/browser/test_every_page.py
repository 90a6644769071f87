"""Every page, as a browser judges it: readable for all, in light and dark, on a phone, and light itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Browser, ConsoleMessage, Page

from accounts.lock_links import new_link
from accounts.models import AccessRequest, Group, User
from accounts.onboarding import first_administrator
from authgate.audit import record
from authgate.check.state import State, seal
from authgate.handover import ROUNDS_LIMIT
from authgate.models import Application, AuditEvent, ConfigurationEvent, GateSession, SignIn
from authgate.worker.loader import gate_settings
from tests.browser.signing_in import sign_in, sign_in_and_wait
from tests.factories import PASSWORD, ApplicationFactory, UserFactory
from tests.openid.relying_party import register

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
]

WIKI = "https://wiki.example.net"
PAYROLL = "https://pay.example.net"
HEAVIEST = 60_000
"""Octets of a page with all that it loads, unpacked."""
PHONE = 360
NARROW_CELLS = "cells => cells.filter(e => e.offsetWidth && e.offsetWidth < 200).map(e => e.textContent)"
"""On a phone a row of a table takes the whole width, or its words break into single letters."""


def link_for(origin: str, rounds: int = 0) -> str:
    state = State(origin, "/", "0" * 32, "", int(time.time()), rounds)
    return f"/continue?state={seal(state, gate_settings().state_keys[0])}"


def a_wrong_password(page: Page, portal: str) -> None:
    page.goto(f"{portal}/accounts/login/")
    sign_in(page, "not the password", who="erin")
    page.get_by_role("alert").wait_for()


def too_many_attempts(page: Page, portal: str) -> None:
    for _ in range(6):
        a_wrong_password(page, portal)
    page.get_by_text("Too many attempts").wait_for()


def a_stale_form(page: Page, portal: str) -> None:
    page.goto(f"{portal}/accounts/login/")
    page.context.clear_cookies()
    sign_in(page)
    page.get_by_role("heading", name="This form has expired").wait_for()


def a_wrong_new_password(page: Page, portal: str) -> None:
    page.goto(f"{portal}/accounts/password/change/")
    page.get_by_label("Current password").fill("wrong")
    page.get_by_label("New password", exact=True).fill("123")
    page.get_by_label("New password again").fill("1234")
    page.get_by_role("button", name="Change password").click()


def confirmed(path: str) -> Callable[[Page, str], object]:
    """Come to a page that asks for the password once more."""

    def way(page: Page, portal: str) -> None:
        page.goto(f"{portal}/accounts/reauthenticate/?next={path}")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()
        page.wait_for_url(f"{portal}{path}")

    return way


def a_wrong_address(page: Page, portal: str) -> None:
    confirmed("/accounts/addresses/")(page, portal)
    page.get_by_label("Another e-mail address").fill("alice@example.com")
    page.get_by_role("button", name="Add address").click()


def a_new_token(page: Page, portal: str) -> None:
    confirmed("/accounts/tokens/new/")(page, portal)
    page.get_by_label("Name").fill("backup")
    page.get_by_label("Wiki").check()
    page.get_by_role("button", name="Create token").click()


def a_wrong_code(page: Page, portal: str) -> None:
    confirmed("/accounts/second-factor/app/")(page, portal)
    page.get_by_label("Code shown in the app").fill("000000")
    page.get_by_role("button", name="Set up").click()


def a_form_shown_again(page: Page, portal: str) -> None:
    page.goto(f"{portal}/admin/authgate/application/add/")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator(".errornote").wait_for()


def a_question_before_an_action(page: Page, portal: str) -> None:
    page.goto(f"{portal}/admin/accounts/user/")
    page.get_by_label("Select this object for an action - alice").check()
    page.get_by_label("Action:").select_option("end_sign_ins")
    page.get_by_role("button", name="Go").click()


def row(path: str, model: Any, what: str = "change") -> Callable[[Page, str], object]:
    return lambda page, portal: page.goto(f"{portal}/admin/{path}/{model.objects.first().pk}/{what}/")


def an_explanation(page: Page, portal: str) -> None:
    """Explain a refusal of a path with several readings: the result with all of its parts."""
    page.goto(f"{portal}/admin/authgate/application/explain/")
    page.get_by_label("Address:", exact=True).fill(f"{WIKI}/{'a-long-path/' * 12}..%2fadmin")
    page.get_by_label("Username").fill("bob")
    page.get_by_role("button", name="Explain").click()
    page.get_by_role("heading", name="The request is refused.").wait_for()


def an_access_list(page: Page, portal: str) -> None:
    page.goto(f"{portal}/admin/authgate/application/{Application.objects.get(name='Wiki').pk}/access/")


def what_alice_can_open(page: Page, portal: str) -> None:
    alice = User.objects.get(username="alice")
    page.goto(f"{portal}/admin/authgate/application/opened-by/{alice.pk}/")


def a_new_secret(page: Page, portal: str) -> None:
    rp = register(Application.objects.get(name="Wiki"))
    page.goto(f"{portal}/admin/openid/client/{rp.client.pk}/secrets/")
    page.get_by_role("button", name="Create a secret").click()
    page.get_by_label("New secret").wait_for()


def a_consent(page: Page, portal: str) -> None:
    rp = register(Application.objects.get(name="Wiki"), asks_consent=True)
    page.goto(portal + rp.url(scope="openid profile email groups offline_access"))
    page.get_by_role("heading", name="Continue to Wiki?").wait_for()


def a_page_to_ask_for() -> str:
    Application.objects.get(name="Payroll").owners.set([User.objects.get(username="carol")])
    return f"/access/ask/?page={PAYROLL}/"


def a_request_for_access() -> str:
    row = AccessRequest.objects.create(
        application=Application.objects.get(name="Payroll"),
        user=User.objects.get(username="bob"),
        path="/",
        words="For the month's end",
        asked_at=timezone.now(),
    )
    return f"/access/requests/{row.pk}/"


def a_lock_link() -> str:
    return urlsplit(new_link(User.objects.get(username="alice").pk, "alice@example.com")).path


def a_device(page: Page, portal: str) -> None:
    rp = register(Application.objects.get(name="Wiki"), kind="public", redirect_uris="", allows_devices=True)
    asked = {"client_id": rp.client.client_id, "scope": "openid profile"}
    begun = page.request.post(f"{portal}/openid/device_authorization", form=asked).json()
    page.goto(f"{portal}/openid/device?user_code={begun['user_code']}")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Let a device sign in at Wiki?").wait_for()


def an_answered_device(page: Page, portal: str) -> None:
    a_device(page, portal)
    page.get_by_role("button", name="Allow").click()
    page.get_by_role("heading", name="The device is signed in").wait_for()


def a_refused_device(page: Page, portal: str) -> None:
    a_device(page, portal)
    page.get_by_role("button", name="Refuse").click()
    page.get_by_role("heading", name="The device was refused").wait_for()


Way = str | Callable[[Page, str], object]
PAGES: dict[str, tuple[str, Way]] = {
    "sign in": ("", "/accounts/login/"),
    "sign in for an application": ("", lambda page, portal: page.goto(portal + link_for(WIKI))),
    "wrong password": ("", a_wrong_password),
    "too many attempts": ("", too_many_attempts),
    "stale form": ("", a_stale_form),
    "inactive": ("", "/accounts/inactive/"),
    "signed out": ("", "/signed-out"),
    "400": ("", "/fails/400"),
    "403": ("alice", "/fails/403"),
    "404": ("", "/no-such-page"),
    "500": ("", "/fails/500"),
    "broken link": ("", "/continue?state=x"),
    "cookies off": ("", lambda page, portal: page.goto(portal + link_for(WIKI, ROUNDS_LIMIT))),
    "refused": ("alice", lambda page, portal: page.goto(portal + link_for(PAYROLL))),
    "link used up": ("", "/first-administrator/x"),
    "launcher": ("alice", "/"),
    "launcher without anything": ("bob", "/"),
    "change password": ("alice", "/accounts/password/change/"),
    "password not changed": ("alice", a_wrong_new_password),
    "confirm": ("alice", "/accounts/reauthenticate/"),
    "account": ("alice", "/accounts/"),
    "profile": ("alice", "/accounts/profile/"),
    "addresses": ("alice", confirmed("/accounts/addresses/")),
    "address not added": ("alice", a_wrong_address),
    "sessions": ("alice", "/accounts/sessions/"),
    "own events": ("alice", "/accounts/events/"),
    "providers": ("alice", confirmed("/accounts/providers/")),
    "tokens": ("alice", "/accounts/tokens/"),
    "new token": ("alice", confirmed("/accounts/tokens/new/")),
    "token made": ("alice", a_new_token),
    "second factors": ("alice", "/accounts/second-factor/"),
    "second factor required": ("alice", "/accounts/second-factor/needed/"),
    "passkey required": ("alice", "/accounts/second-factor/passkey-needed/"),
    "set up an app": ("alice", confirmed("/accounts/second-factor/app/")),
    "wrong code of an app": ("alice", a_wrong_code),
    "add a passkey": ("alice", confirmed("/accounts/second-factor/passkeys/add/")),
    "forgotten password": ("", "/accounts/password/reset/"),
    "mail sent": ("", "/accounts/password/reset/sent/"),
    "reset link used up": ("", "/accounts/password/reset/key/1-x/"),
    "invitation used up": ("", "/invitation/x/"),
    "ask for access": ("alice", lambda page, portal: page.goto(portal + a_page_to_ask_for())),
    "nothing to ask for": ("alice", "/access/ask/"),
    "a request for access": ("carol", lambda page, portal: page.goto(portal + a_request_for_access())),
    "admin access requests": ("carol", "/admin/accounts/accessrequest/"),
    "lock link": ("", lambda page, portal: page.goto(portal + a_lock_link())),
    "lock link used up": ("", "/accounts/lock/x/"),
    "account locked": ("", "/accounts/locked/"),
    "consent": ("alice", a_consent),
    "logout for an application": ("alice", "/openid/logout"),
    "code of a device": ("alice", "/openid/device"),
    "question for a device": ("alice", a_device),
    "allowed device": ("alice", an_answered_device),
    "refused device": ("alice", a_refused_device),
    "broken request of an application": ("", "/openid/authorize"),
    "switch account": ("alice", "/switch-account"),
    "sign out": ("alice", "/accounts/logout/"),
    "still signed in": ("alice", "/signed-out"),
    "not staff": ("alice", "/admin/"),
    "admin": ("carol", "/admin/"),
    "admin applications": ("carol", "/admin/authgate/application/"),
    "admin application": ("carol", row("authgate/application", Application)),
    "admin application's history": ("carol", row("authgate/application", Application, "history")),
    "admin application's end": ("carol", row("authgate/application", Application, "delete")),
    "admin new application": ("carol", "/admin/authgate/application/add/"),
    "admin form shown again": ("carol", a_form_shown_again),
    "admin explain": ("carol", "/admin/authgate/application/explain/?decision=x"),
    "admin explanation": ("carol", an_explanation),
    "admin who can open": ("carol", an_access_list),
    "admin what a person can open": ("carol", what_alice_can_open),
    "admin users": ("carol", "/admin/accounts/user/"),
    "admin user": ("carol", row("accounts/user", User)),
    "admin new password": ("carol", row("accounts/user", User, "password")),
    "admin user's history": ("carol", row("accounts/user", User, "history")),
    "admin user's end": ("carol", row("accounts/user", User, "delete")),
    "admin new user": ("carol", "/admin/accounts/user/add/"),
    "admin invitations": ("carol", "/admin/accounts/invitation/"),
    "admin new invitation": ("carol", "/admin/accounts/invitation/add/"),
    "admin providers": ("carol", "/admin/accounts/upstream/"),
    "admin new provider": ("carol", "/admin/accounts/upstream/add/"),
    "admin tokens": ("carol", "/admin/accounts/apitoken/"),
    "admin group": ("carol", row("accounts/group", Group)),
    "admin question": ("carol", a_question_before_an_action),
    "admin groups": ("carol", "/admin/accounts/group/"),
    "admin sign-ins": ("carol", "/admin/authgate/signin/"),
    "admin sign-in": ("carol", row("authgate/signin", SignIn)),
    "admin gate sessions": ("carol", "/admin/authgate/gatesession/"),
    "admin events": ("carol", "/admin/authgate/auditevent/"),
    "admin mistakes": ("carol", "/admin/authgate/configurationevent/"),
    "admin event": ("carol", row("authgate/auditevent", AuditEvent)),
    "admin mistake": ("carol", row("authgate/configurationevent", ConfigurationEvent)),
    "admin identities": ("carol", "/admin/accounts/identity/"),
    "admin clients": ("carol", "/admin/openid/client/"),
    "admin client's secrets": ("carol", a_new_secret),
    "admin brand": ("carol", "/admin/accounts/brand/1/change/"),
}
FAILING_RESPONSE = "Failed to load resource: the server responded with a status of"


@pytest.fixture
def furnished(settings: Any, alice: User, bob: User, carol: User) -> None:
    """Rows for every list. Erin is who mistypes: her attempts are counted on, past the end of a test."""
    settings.ROOT_URLCONF = "tests.browser.failing_urls"
    for number in range(8):
        ApplicationFactory(
            name=f"Tool {number}",
            description="What it is for." if number % 2 else "",
            category=("Finance", "Engineering", "")[number % 3],
            origins=[f"https://tool{number}.example.net"],
            groups=["staff"],
        )
    ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])
    ApplicationFactory(name="Payroll", origins=[PAYROLL], groups=["accountants"])
    UserFactory(username="erin", is_active=False)
    record("refused", subject="bob", application="Wiki", reason="no rule admits", details={"path": "/"})
    now = timezone.now()
    ConfigurationEvent.objects.create(
        contract="nginx", origin=WIKI, reason="unknown origin", count=3, first_at=now, last_at=now
    )


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_everybody(
    chromium: Browser, portal: str, furnished: None, console: list[str], name: str
) -> None:
    page = chromium.new_page(reduced_motion="reduce")
    listen(page, console)
    come_to(page, portal, name)
    weight, complaints = weight_of(page), list(console)

    problems = unfit_for_people(page)
    page.emulate_media(color_scheme="dark")
    problems += unfit_for_people(page)
    page.set_viewport_size({"width": PHONE, "height": 740})
    width = page.evaluate("document.documentElement.scrollWidth")
    squeezed = page.eval_on_selector_all("main .rows :is(th, td)", NARROW_CELLS)
    page.close()

    assert problems == []
    assert complaints == []
    assert width == PHONE
    assert squeezed == []
    assert name.startswith("admin") or 1_000 < weight < HEAVIEST


def test_the_first_administrators_page_is_for_everybody(chromium: Browser, portal: str) -> None:
    page = chromium.new_page()
    page.goto(portal + urlsplit(first_administrator.make_link()).path)

    problems = unfit_for_people(page)
    page.close()

    assert problems == []


def come_to(page: Page, portal: str, name: str) -> None:
    """Sign in as whom the page is for, and open it."""
    who, way = PAGES[name]
    if who:
        page.goto(portal)
        sign_in_and_wait(page, who)
        add_a_gate_session()
    if isinstance(way, str):
        page.goto(portal + way)
    else:
        way(page, portal)
    page.wait_for_load_state("networkidle")


def weight_of(page: Page) -> int:
    """Return the uncompressed size in bytes of a page with everything it loads."""
    entries = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
    return int(page.evaluate(f"{entries}.reduce((sum, each) => sum + each.decodedBodySize, 0)"))


def add_a_gate_session() -> None:
    newest = SignIn.objects.latest("pk")
    now = timezone.now()
    GateSession.objects.create(sign_in=newest, origin=WIKI, token_digest=bytes(32), created_at=now)


FOCUSED_ALREADY = "Autofocus processing was blocked because a document already has a focused element"
"""A field was focused before the browser came to it: by the driver, on a slow machine."""


def listen(page: Page, console: list[str]) -> None:
    """Collect what the browser complains of; that a page itself answers with an error is meant."""
    documents: set[str] = set()
    page.on("request", lambda request: request.is_navigation_request() and documents.add(request.url))

    def heard(message: ConsoleMessage) -> None:
        if message.text.startswith(FOCUSED_ALREADY):
            return
        if message.location.get("url") not in documents or not message.text.startswith(FAILING_RESPONSE):
            console.append(f"{message.text} at {message.location.get('url')}")

    page.on("console", heard)
    page.on("pageerror", lambda error: console.append(str(error)))


def unfit_for_people(page: Page) -> list[str]:
    """Return the serious and critical findings of axe-core for a page."""
    return [
        f"{each['id']}: {node['html']} {node['failureSummary']}"
        for each in Axe().run(page).response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


BROKEN = """cells => cells.filter(cell => {
    const text = document.createRange();
    text.selectNodeContents(cell.firstChild);
    return new Set([...text.getClientRects()].map(line => Math.round(line.top))).size > 1;
}).map(cell => cell.textContent.trim())"""
"""The cells and buttons whose first text takes more than one line."""


def test_headings_buttons_and_addresses_of_tables_stay_on_one_line(
    chromium: Browser, portal: str, furnished: None
) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    come_to(page, portal, "sessions")
    SignIn.objects.update(address="198.51.100.200")
    page.reload()

    broken = page.eval_on_selector_all("main .rows :is(thead th, button, .address)", BROKEN)
    page.close()

    assert broken == []
