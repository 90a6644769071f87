"""Every page in a browser: readable in light and dark mode, on a phone and in Chinese, and small to load."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import override_settings
from django.utils import timezone
from playwright.sync_api import Browser, Page
from pytest_django.plugin import DjangoDbBlocker

from accounts.lock_links import new_link
from accounts.models import AccessRequest, AccessReview, Group, ManagedGroup, User
from accounts.onboarding import first_administrator
from authgate.audit import record
from authgate.check.state import State, seal
from authgate.handover import ROUNDS_LIMIT
from authgate.models import (
    Application,
    AuditEvent,
    ConfigurationEvent,
    DoctorReport,
    JournalEntry,
    Rule,
    SignIn,
    TrialCount,
)
from authgate.worker.loader import gate_settings, load_trials
from openid.instructions import APPLICATIONS, WITHOUT_PKCE
from openid.models import Consent, Grant, LogoutDelivery
from tests.browser.conftest import portals_settings
from tests.browser.signing_in import sign_in
from tests.browser.visits import AXE, PHONE, WIKI, Visit, Visitor, Way, accessibility_problems
from tests.catalogues import marking, outside_marks
from tests.database_copy import DatabaseCopy
from tests.distribution import PAGE_GROUPS
from tests.factories import PASSWORD, ApplicationFactory, RuleFactory, UserFactory, person
from tests.openid.relying_party import register

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
]

PAYROLL = "https://pay.example.net"
HEAVIEST = 60_000
"""Maximum bytes of a page with everything that it loads, uncompressed."""

PRODUCTS = "|".join(re.escape(name) for name in (*(each.name for each in APPLICATIONS), *WITHOUT_PKCE))
DATA = re.compile(
    rf"(?:{PRODUCTS})|"
    r"""https?://\S+ | \S+@\S+ | \S+\.example\.\S+ | (?:127\.0\.0\.1|localhost)(?::\d+)? | [0-9a-f-]{12,}
    | \b(?:alice|bob|carol|erin|zoe|staff|guests|accountants|Wiki|Payroll|Tool\s\d|Finance|Engineering)\b
    | \bWhat\sit\sis\sfor\. | \bbackup\b | \bikD\sPortal\b | \bEnglish\b
    | \b(?:HeadlessChrome|Chrome|Linux)\b | \bMozilla/\S+.* | \b(?:ingress-nginx|nginx|traefik)\b
    | \b(?:Traefik|Caddy|HAProxy|Envoy(?:\sGateway)?|Gateway\sAPI|ExternalAuth|Docker|Kubernetes)\b
    | \b(?:caddy|haproxy|envoy|oauth2|CSV)\b | \bFor\sthe\smonth's\send\b
    | \bThe\steam\sof\sthe\snorthern\sregion\b | \bBack\sat\snoon\b | \bonly\sfor\sthe\sadministrators\b
    | \b(?:OIDC|CAS|OpenID\sConnect)\b | \b(?:Alice|Bob|Carol|Erin)\b
    | \b(?:refused|sign_in|password|unknown\sorigin|no\srule\sadmits)\b | \b(?:True|False|UTC)\b""",
    re.VERBOSE,
)
"""Texts of users and tests, names, and machine names of events, which are not translated.

Django's icons have the alternative texts True and False in English.
"""


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


def send(page: Page, button: str) -> None:
    """Send a form, and wait for the page that answers."""
    with page.expect_navigation():
        page.get_by_role("button", name=button).click()


def a_wrong_new_password(page: Page, portal: str) -> None:
    page.goto(f"{portal}/accounts/password/change/")
    page.get_by_label("Current password").fill("wrong")
    page.get_by_label("New password", exact=True).fill("123")
    page.get_by_label("New password again").fill("1234")
    send(page, "Change password")


def confirmed(path: str) -> Callable[[Page, str], object]:
    """Return a way to a page that first asks for the password again."""

    def way(page: Page, portal: str) -> None:
        page.goto(f"{portal}/accounts/reauthenticate/?next={path}")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()
        page.wait_for_url(f"{portal}{path}")

    return way


def a_wrong_address(page: Page, portal: str) -> None:
    confirmed("/accounts/addresses/")(page, portal)
    page.get_by_label("Another e-mail address").fill("alice@example.com")
    send(page, "Add address")


def a_new_token(page: Page, portal: str) -> None:
    confirmed("/accounts/tokens/new/")(page, portal)
    page.get_by_label("Name").fill("backup")
    page.get_by_label("Wiki").check()
    send(page, "Create token")


def a_wrong_code(page: Page, portal: str) -> None:
    confirmed("/accounts/second-factor/app/")(page, portal)
    page.get_by_label("Code shown in the app").fill("000000")
    send(page, "Set up")


def a_form_shown_again(page: Page, portal: str) -> None:
    page.goto(f"{portal}/admin/authgate/application/add/")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator(".errornote").wait_for()


def a_question_before_an_action(page: Page, portal: str) -> None:
    page.goto(f"{portal}/admin/accounts/user/")
    page.get_by_label("Select this object for an action - alice").check()
    page.get_by_label("Action:").select_option("end_sign_ins")
    send(page, "Go")


def an_effect(page: Page, portal: str) -> None:
    """Open an application to everyone: the page shows people, visitors and a check box."""
    wiki = Application.objects.get(name="Wiki")
    page.goto(f"{portal}/admin/authgate/application/{wiki.pk}/change/")
    page.get_by_label("Access for:").first.select_option("everyone")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("heading", name="Check who is affected").wait_for()


def row(path: str, model: Any, what: str = "change") -> Callable[[Page, str], object]:
    return lambda page, portal: page.goto(f"{portal}/admin/{path}/{model.objects.first().pk}/{what}/")


def an_explanation(page: Page, portal: str) -> None:
    """Explain a refusal of a path with several variants, so that the page has all of its parts."""
    page.goto(f"{portal}/admin/authgate/application/explain/")
    page.get_by_label("Address:", exact=True).fill(f"{WIKI}/{'a-long-path/' * 12}..%2fadmin")
    page.get_by_label("Username").fill("bob")
    page.get_by_role("button", name="Explain").click()
    page.get_by_role("heading", name="The request is refused.").wait_for()


def a_proxy_test(page: Page, portal: str) -> None:
    """Show a report with every kind of finding."""
    wiki = Application.objects.get(name="Wiki")
    line = "location = /authgate/callback { auth_request off; include ikd/ask.conf; }"
    told = {"values": {"path": "/", "status": "200", "seconds": "40"}, "origin": WIKI, "line": line}
    findings = [
        {"test": "protected", "level": "fail", "reason": "unchecked", **told},
        {"test": "clock", "level": "warn", "reason": "skew", **told},
        {"test": "paths", "level": "pass", "reason": "", **told},
    ]
    values = {"at": timezone.now(), "level": "fail", "findings": findings}
    DoctorReport.objects.update_or_create(application=wiki, defaults=values)
    page.goto(f"{portal}/admin/authgate/application/{wiki.pk}/doctor/")


def an_access_list(page: Page, portal: str) -> None:
    page.goto(f"{portal}/admin/authgate/application/{Application.objects.get(name='Wiki').pk}/access/")


def a_preview_of_an_import(page: Page, portal: str) -> None:
    page.goto(f"{portal}/admin/accounts/user/import/")
    page.get_by_label("Or its content:").fill(
        "username,display_name,email,groups\nerin,Erin,e@example.com,\nalice,,,"
    )
    send(page, "Preview")


def rules_on_trial(page: Page, portal: str) -> None:
    wiki = Application.objects.get(name="Wiki")
    rule, _ = wiki.rules.get_or_create(path="/admin", only_watch=True, note="only for the administrators")
    [trial] = load_trials([wiki.pk])
    for user, change in (
        (User.objects.get(username="alice").pk, "refused"),
        (0, "admitted"),
        (0, "left out"),
    ):
        fields = {"version": trial.version, "day": date(2026, 5, 1), "count": 7}
        TrialCount.objects.get_or_create(rule=rule.pk, person=user, change=change, defaults=fields)
    page.goto(f"{portal}/admin/authgate/application/{wiki.pk}/trials/")


def what_alice_can_open(page: Page, portal: str) -> None:
    alice = User.objects.get(username="alice")
    page.goto(f"{portal}/admin/authgate/application/opened-by/{alice.pk}/")


def a_new_secret(page: Page, portal: str) -> None:
    rp = register(Application.objects.get(name="Wiki"))
    page.goto(f"{portal}/admin/openid/client/{rp.client.pk}/secrets/")
    page.get_by_role("button", name="Create a secret").click()
    page.get_by_label("New secret").wait_for()


def a_preview(page: Page, portal: str) -> None:
    rp = register(Application.objects.get(name="Wiki"))
    page.goto(f"{portal}/admin/openid/client/{rp.client.pk}/preview/")
    page.get_by_label("Username").fill("bob")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("heading", name="The user is refused.").wait_for()


def a_setup(page: Page, portal: str) -> None:
    rp = register(Application.objects.get(name="Wiki"))
    page.goto(f"{portal}/admin/openid/client/{rp.client.pk}/setup/?for=paperless")


def a_proof(page: Page, portal: str) -> None:
    """Show a user with a gate session, a client that is notified again, and one that cannot be notified."""
    now, carol = timezone.now(), User.objects.get(username="carol")
    one, other = (register(Application.objects.get(name=name)).client for name in ("Wiki", "Tool 1"))
    for client in (one, other):
        Grant.objects.create(
            client=client,
            sign_in=SignIn.objects.latest("pk"),
            sid=client.client_id,
            subject=carol.uuid,
            scopes="openid",
            auth_time=now,
            acr="1fa",
            created_at=now,
            ended_at=now,
        )
    LogoutDelivery.objects.create(
        uri="https://wiki.example.net/",
        audience=one.client_id,
        subject=carol.uuid,
        sid=one.client_id,
        allow_private=False,
        created_at=now,
        due_at=now,
        tries=2,
        answer="status 503",
    )
    page.goto(f"{portal}/admin/openid/client/proof/user/{carol.pk}/")


def a_consent(page: Page, portal: str) -> None:
    rp = register(Application.objects.get(name="Wiki"), asks_consent=True)
    page.goto(portal + rp.url(scope="openid profile email groups offline_access"))
    page.get_by_role("heading", name="Continue to Wiki?").wait_for()


def connected_applications(page: Page, portal: str) -> None:
    """Show two applications: one with a grant of this sign-in, one with only a consent."""
    now, alice = timezone.now(), User.objects.get(username="alice")
    one, other = (register(Application.objects.get(name=name)).client for name in ("Wiki", "Tool 1"))
    Grant.objects.create(
        client=one,
        sign_in=SignIn.objects.latest("pk"),
        sid="x",
        subject=alice.uuid,
        scopes="openid profile email groups",
        auth_time=now,
        acr="1fa",
        created_at=now,
    )
    Consent.objects.create(user=alice, client=other, scopes="openid", given_at=now)
    page.goto(f"{portal}/accounts/applications/")
    page.locator("summary").first.click()


def a_page_to_ask_for() -> str:
    Application.objects.get(name="Payroll").owners.set([User.objects.get(username="carol")])
    return f"/access/ask/?page={PAYROLL}/"


def a_request_for_access() -> str:
    row = AccessRequest.objects.create(
        application=Application.objects.get(name="Payroll"),
        user=User.objects.get(username="bob"),
        rule=Rule.objects.get(application__name="Payroll"),
        path="/",
        words="For the month's end",
        asked_at=timezone.now(),
    )
    return f"/access/requests/{row.pk}/"


def managed(what: str) -> Callable[[Page, str], None]:
    """Return a way to a page of an owner and group manager with a confirmed identity."""

    def way(page: Page, portal: str) -> None:
        alice, wiki = User.objects.get(username="alice"), Application.objects.get(name="Wiki")
        wiki.owners.set([alice])
        wiki.shareable_groups.set([Group.objects.get(name="guests")])
        team = Group.objects.create(name="The team of the northern region")
        team.user_set.set(User.objects.filter(username__in=("alice", "bob")))
        ManagedGroup.objects.create(group=team).managers.set([alice])
        AccessRequest.objects.create(
            application=wiki, user=User.objects.get(username="bob"), path="/", asked_at=timezone.now()
        )
        keys = {"application": wiki.pk, "rule": wiki.rules.get().pk, "group": team.pk}
        confirmed(f"/accounts/managed/{what.format(**keys)}")(page, portal)

    return way


def maintenance_to_confirm(page: Page, portal: str) -> None:
    """Begin maintenance as an owner, up to the page with the users whom it refuses."""
    Rule.objects.get(application__name="Wiki").users.set([User.objects.get(username="bob")])
    managed("applications/{application}/")(page, portal)
    page.locator("#id_maintenance").check()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("heading", name="Check who is affected").wait_for()


def a_review(where: str) -> Callable[[Page, str], None]:
    """Return a way to a page about a review with an open entry, an answered one, and a task."""

    def way(page: Page, portal: str) -> None:
        alice, wiki = User.objects.get(username="alice"), Application.objects.get(name="Wiki")
        wiki.owners.set([alice])
        review = AccessReview.objects.create(
            application=wiki, name="Wiki", began_at=timezone.now(), asked=["alice"], people=3, left_out=1
        )
        why = [{"path": "/", "exact": False, "rule": 1, "kind": "group", "group": "The northern region"}]
        answered = {"answered_at": timezone.now(), "answered_by": "alice", "username": "carol"}
        review.entries.create(user=alice, username="alice", reasons=why)
        review.entries.create(user=User.objects.get(username="bob"), username="bob", reasons=why)
        review.entries.create(answer="remove", reasons=why, remaining=why, task_open=True, **answered)
        confirmed(where.format(key=review.pk))(page, portal)

    return way


def an_answer_to_confirm(page: Page, portal: str) -> None:
    """Select a person in a review, up to the page that asks for confirmation."""
    Rule.objects.get(application__name="Wiki").users.set([User.objects.get(username="bob")])
    a_review("/accounts/managed/reviews/{key}/")(page, portal)
    page.get_by_label("Select bob").check()
    page.get_by_role("button", name="Remove the selected").click()
    page.get_by_role("heading", name="Remove 1 person").wait_for()


def a_deletion(page: Page, portal: str) -> None:
    """Open the page that lists which rows a deletion removes, and which users it affects."""
    page.goto(f"{portal}/admin/authgate/application/{Application.objects.get(name='Wiki').pk}/delete/")
    page.get_by_role("heading", name="What is deleted").wait_for()


def a_maintenance_to_confirm(page: Page, portal: str) -> None:
    page.goto(f"{portal}/admin/authgate/application/{Application.objects.get(name='Wiki').pk}/change/")
    page.locator("#id_maintenance").check()
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("See the maintenance page").first.wait_for()


def a_removal_of_unused_access(page: Page, portal: str) -> None:
    page.goto(f"{portal}/admin/authgate/application/unused-access/")
    page.get_by_role("link", name="Remove…").first.click()
    page.get_by_role("button", name="Remove", exact=True).wait_for()


def a_new_user_to_confirm(page: Page, portal: str) -> None:
    """Add a user whom a rule for all signed-in users admits."""
    RuleFactory(application=Application.objects.get(name="Wiki"), path="/all", who="signed_in")
    page.goto(f"{portal}/admin/accounts/user/add/")
    page.get_by_label("Username:").fill("zoe")
    page.locator("#id_password1").fill("correct horse battery")
    page.locator("#id_password2").fill("correct horse battery")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("heading", name="Check who is affected").wait_for()


def a_maintenance(page: Page, portal: str) -> None:
    Application.objects.filter(name="Wiki").update(maintenance=True, maintenance_text="Back at noon.")
    page.goto(portal + link_for(WIKI))
    page.get_by_role("heading", name="Wiki is under maintenance").wait_for()


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
    "what one manages": ("alice", managed("")),
    "managed application": ("alice", managed("applications/{application}/")),
    "managed application's people": ("alice", managed("applications/{application}/people/")),
    "managed application's events": ("alice", managed("applications/{application}/events/")),
    "effect of maintenance by an owner": ("alice", maintenance_to_confirm),
    "managed rule": ("alice", managed("rules/{rule}/")),
    "managed group": ("alice", managed("groups/{group}/")),
    "access review": ("alice", a_review("/accounts/managed/reviews/{key}/")),
    "access review to confirm": ("alice", an_answer_to_confirm),
    "admin access reviews": ("carol", a_review("/admin/accounts/accessreview/")),
    "admin access review": ("carol", a_review("/admin/accounts/accessreview/{key}/change/")),
    "admin people in reviews": ("carol", a_review("/admin/accounts/accessreviewentry/")),
    "under maintenance": ("alice", a_maintenance),
    "lock link": ("", lambda page, portal: page.goto(portal + a_lock_link())),
    "lock link used up": ("", "/accounts/lock/x/"),
    "account locked": ("", "/accounts/locked/"),
    "consent": ("alice", a_consent),
    "connected applications": ("alice", connected_applications),
    "no connected application": ("alice", "/accounts/applications/"),
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
    "admin search": ("carol", "/admin/search/?q=a"),
    "admin applications": ("carol", "/admin/authgate/application/"),
    "admin application": ("carol", row("authgate/application", Application)),
    "admin application's history": ("carol", row("authgate/application", Application, "history")),
    "admin application's end": ("carol", row("authgate/application", Application, "delete")),
    "admin new application": ("carol", "/admin/authgate/application/add/"),
    "admin form shown again": ("carol", a_form_shown_again),
    "admin explain": ("carol", "/admin/authgate/application/explain/?decision=x"),
    "admin explanation": ("carol", an_explanation),
    "admin proxy test": ("carol", a_proxy_test),
    "admin proxy tests": ("carol", "/admin/authgate/application/doctor/"),
    "admin who can open": ("carol", an_access_list),
    "admin rules on trial": ("carol", rules_on_trial),
    "admin unused access": ("carol", "/admin/authgate/application/unused-access/"),
    "admin proxy configuration": ("carol", row("authgate/application", Application, "proxy")),
    "admin what a person can open": ("carol", what_alice_can_open),
    "admin users": ("carol", "/admin/accounts/user/"),
    "admin import of users": ("carol", "/admin/accounts/user/import/"),
    "admin preview of an import": ("carol", a_preview_of_an_import),
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
    "admin effect": ("carol", an_effect),
    "admin deletion": ("carol", a_deletion),
    "admin effect of maintenance": ("carol", a_maintenance_to_confirm),
    "admin removal of unused access": ("carol", a_removal_of_unused_access),
    "admin effect of a new user": ("carol", a_new_user_to_confirm),
    "admin groups": ("carol", "/admin/accounts/group/"),
    "admin sign-ins": ("carol", "/admin/authgate/signin/"),
    "admin sign-in": ("carol", row("authgate/signin", SignIn)),
    "admin gate sessions": ("carol", "/admin/authgate/gatesession/"),
    "admin events": ("carol", "/admin/authgate/auditevent/"),
    "admin mistakes": ("carol", "/admin/authgate/configurationevent/"),
    "admin event": ("carol", row("authgate/auditevent", AuditEvent)),
    "admin mistake": ("carol", row("authgate/configurationevent", ConfigurationEvent)),
    "admin changes": ("carol", "/admin/authgate/journalentry/"),
    "admin change": ("carol", row("authgate/journalentry", JournalEntry)),
    "admin undo": ("carol", row("authgate/journalentry", JournalEntry, "undo")),
    "admin identities": ("carol", "/admin/accounts/identity/"),
    "admin clients": ("carol", "/admin/openid/client/"),
    "admin client's secrets": ("carol", a_new_secret),
    "admin proof of sign-out": ("carol", a_proof),
    "admin client's setup": ("carol", a_setup),
    "admin client's preview": ("carol", a_preview),
    "admin brand": ("carol", "/admin/accounts/brand/1/change/"),
}


@pytest.fixture(scope="module")
def visitor(
    chromium: Browser,
    live_server: Any,
    empty_database: DatabaseCopy,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Visitor]:
    """A browser for all pages. Marks enclose translations: text outside them was not translated."""
    url = live_server.url
    settings = portals_settings(url) | {
        "ALLOWED_HOSTS": [live_server.thread.host],
        "LOCALE_PATHS": [marking(tmp_path_factory.mktemp("marked"))],
        "ROOT_URLCONF": "tests.browser.failing_urls",
    }
    with override_settings(**settings), django_db_blocker.unblock():
        visitor = Visitor(chromium, url, empty_database, create_rows)
        yield visitor
        visitor.close()


def create_rows() -> None:
    """Create rows for every list. Erin's sign-ins fail."""
    for name in ("alice", "bob", "carol"):
        person(name)
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


def in_groups(names: list[str]) -> list[Any]:
    """Return the names as parameters. Neighbours are in one group."""
    groups = (f"pages {number * PAGE_GROUPS // len(names)}" for number in range(len(names)))
    return [
        pytest.param(name, marks=pytest.mark.xdist_group(group))
        for name, group in zip(names, groups, strict=True)
    ]


@pytest.fixture(scope="module", params=in_groups(list(PAGES)))
def visit(request: pytest.FixtureRequest, visitor: Visitor) -> Visit:
    """The record of one visit to a page, which all tests share."""
    return visitor.visit(*PAGES[request.param])


def test_a_page_is_accessible_and_fits_every_screen(visit: Visit, request: pytest.FixtureRequest) -> None:
    is_of_staff = request.node.callspec.params["visit"].startswith("admin")

    assert visit.problems == []
    assert visit.problems_in_the_dark == []
    assert visit.complaints == []
    assert visit.width == PHONE["width"]
    assert visit.squeezed == []
    assert is_of_staff or 1_000 < visit.weight < HEAVIEST


def test_a_page_is_fully_translated(visit: Visit) -> None:
    left = [DATA.sub("", outside_marks(text)) for text in visit.texts]

    assert visit.language == "zh-hans"
    assert [words for text in left for words in re.findall(r"[A-Za-z][A-Za-z' ]+[A-Za-z]", text)] == []


def test_the_first_administrators_page_is_accessible(chromium: Browser, portal: str) -> None:
    page = chromium.new_page()
    page.add_init_script(AXE)
    page.goto(portal + urlsplit(first_administrator.make_link()).path)

    problems = accessibility_problems(page)
    page.close()

    assert problems == []


BROKEN = """cells => cells.filter(cell => {
    const text = document.createRange();
    text.selectNodeContents(cell.firstChild);
    return new Set([...text.getClientRects()].map(line => Math.round(line.top))).size > 1;
}).map(cell => cell.textContent.trim())"""
"""Find the cells and buttons with a first text on more than one line."""


def test_headings_buttons_and_addresses_of_tables_stay_on_one_line(visitor: Visitor) -> None:
    with visitor.at(*PAGES["sessions"]) as page:
        SignIn.objects.update(address="198.51.100.200")
        page.reload()

        broken = page.eval_on_selector_all("main .rows :is(thead th, button, .address)", BROKEN)

    assert broken == []
