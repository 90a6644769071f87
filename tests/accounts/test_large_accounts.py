"""Pages stay fast for an account with ten thousand sessions and ten thousand API tokens."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import ApiToken, User
from authgate.models import Application, AuditEvent, GateSession, SignIn
from openid.models import Client as OpenidClient
from openid.models import Consent, Grant
from tests.accounts.conftest import PortalClient
from tests.accounts.signing_in import is_signed_in, sign_in
from tests.factories import PASSWORD, ApplicationFactory, person

pytestmark = pytest.mark.django_db

MANY = 10_000
WIKI = "https://wiki.example.com"
PAGES = {
    "/": 12,
    "/accounts/": 6,
    "/accounts/sessions/": 9,
    "/accounts/sessions/?page=200": 9,
    "/accounts/sessions/?page=99999": 9,
    "/accounts/tokens/": 9,
    "/accounts/tokens/?page=100": 9,
    "/accounts/events/": 8,
    "/accounts/addresses/": 12,
    "/accounts/second-factor/": 9,
    "/accounts/providers/": 9,
    "/accounts/tokens/new/": 15,
    "/accounts/managed/": 9,
    "/accounts/applications/": 15,
    "/accounts/applications/?page=3": 15,
}
"""The maximum number of queries for each page."""


@pytest.fixture(scope="module")
def cookies(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[SimpleCookie]:
    """The cookies of alice's browser. Its sign-in is her oldest one, and so is her only live token.

    All rows are created once, in a transaction around those of the tests: creating them takes longest.
    """
    with django_db_blocker.unblock(), transaction.atomic():
        person("bob")
        browser = PortalClient(HTTP_HOST="sso.example.com")
        crowd(browser, person("alice"), ApplicationFactory(origins=[WIKI], groups=["staff"]))
        yield browser.cookies
        transaction.set_rollback(True)


@pytest.fixture
def crowded(cookies: SimpleCookie, client: Client) -> Client:
    client.cookies = copy(cookies)
    return client


def crowd(client: Client, alice: User, wiki: Application) -> None:
    cache.clear()
    sign_in(client, "alice")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    now = timezone.now()
    facts = {"user": alice, "last_seen_at": now, "expires_at": now + timedelta(hours=1), "idle_timeout": 3600}
    later = (now + timedelta(seconds=n) for n in range(MANY))
    SignIn.objects.bulk_create((SignIn(started_at=at, **facts) for at in later), batch_size=1000)
    newest = SignIn.objects.order_by("-started_at").first()
    GateSession.objects.bulk_create(
        GateSession(
            sign_in=newest,
            origin=f"https://{n}.example.com",
            token_digest=n.to_bytes(32, "big"),
            created_at=now,
        )
        for n in range(1000)
    )
    tokens = [
        ApiToken(
            user=alice,
            name=f"token {n}",
            token_digest=n.to_bytes(32, "big"),
            created_at=now + timedelta(seconds=n),
            expires_at=now + timedelta(days=1),
            ended_at=now if n else None,
        )
        for n in range(MANY)
    ]
    ApiToken.objects.bulk_create(tokens, batch_size=1000)
    through = ApiToken.applications.through
    rows = ApiToken.objects.values_list("pk", flat=True)
    through.objects.bulk_create(
        (through(apitoken_id=pk, application_id=wiki.pk) for pk in rows), batch_size=1000
    )
    connect_sixty(alice, wiki)
    client.get("/accounts/")


def connect_sixty(alice: User, wiki: Application) -> None:
    """Create sixty OpenID Connect clients with grants from alice's first sign-in, some by consent."""
    sign_in, now = SignIn.objects.order_by("pk").first(), timezone.now()
    clients = OpenidClient.objects.bulk_create(
        OpenidClient(application=wiki, client_id=f"client-{n}", redirect_uris="https://wiki.example.com/")
        for n in range(60)
    )
    grants = (
        Grant(
            client=client,
            sign_in=sign_in,
            sid=f"{client.pk}-{n}",
            subject=alice.uuid,
            scopes="openid profile email groups",
            auth_time=now,
            acr="1fa",
            created_at=now,
        )
        for client in clients
        for n in range(50)
    )
    Grant.objects.bulk_create(grants, batch_size=1000)
    Consent.objects.bulk_create(
        Consent(user=alice, client=client, scopes="openid email", given_at=now) for client in clients
    )


def test_each_page_needs_few_queries_and_shows_fifty_rows_at_most(
    crowded: Client, django_assert_max_num_queries: Any
) -> None:
    for page, most in PAGES.items():
        with django_assert_max_num_queries(most):
            answer = crowded.get(page)

        assert answer.status_code == 200, page
        assert answer.content.count(b"<tr>") <= 51, page
        assert len(answer.content) < 60_000, page


def test_the_current_session_and_live_tokens_are_on_the_first_page(crowded: Client) -> None:
    sessions = crowded.get("/accounts/sessions/").content.decode()
    tokens = crowded.get("/accounts/tokens/").content.decode()

    assert "current session" in sessions
    assert ">token 0<" in tokens


def test_all_other_sessions_are_ended_at_once(
    crowded: Client, other_browser: Client, django_assert_max_num_queries: Any
) -> None:
    sign_in(other_browser, "bob")

    with django_assert_max_num_queries(14):
        crowded.post("/accounts/sessions/end-others/")

    assert SignIn.objects.filter(user__username="alice", ended_at=None).count() == 1
    assert is_signed_in(crowded)
    assert is_signed_in(other_browser)
    assert AuditEvent.objects.get(kind="session_ended").details == {"sign_ins": MANY}


def test_another_sign_in_needs_few_queries(
    crowded: Client, other_browser: Client, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(60):
        sign_in(other_browser, "alice")

    assert is_signed_in(other_browser)


def test_another_token_can_be_created_and_revoked(crowded: Client) -> None:
    wiki = Application.objects.get()
    typed = {"name": "one more", "applications": str(wiki.pk), "days": "30"}
    crowded.post("/accounts/tokens/new/", typed)
    row = ApiToken.objects.get(name="one more")

    crowded.post(f"/accounts/tokens/{row.pk}/end/")

    row.refresh_from_db()
    assert row.ended_at is not None
    assert ApiToken.objects.get(name="token 0").ended_at is None
