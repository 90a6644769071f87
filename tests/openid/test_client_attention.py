"""What administrators see of clients: errors, secrets, addresses, and undelivered sign-outs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from authgate.models import Application, AuditEvent
from openid import client_notes
from openid.client_secrets import new_secret
from openid.models import Client, ClientSecret, ClientTrouble, LogoutDelivery, SecretUse
from tests.accounts.conftest import PortalClient
from tests.admin.conftest import browser_of, carols, sam  # noqa: F401
from tests.admin.test_attention import matters
from tests.openid.relying_party import RelyingParty, basic, error_of, register

ERRORS = "OpenID Connect clients with errors"
NOT_TOLD = "Clients that were not notified of a sign-out"
UNUSED = "Client secrets that were never used"
EXPIRING = "Client secrets that expire soon"
PLAIN = "Redirect URIs without https"
LONG_AGO = timezone.now() - timedelta(days=8)


@pytest.fixture(autouse=True)
def no_errors_noted(db: None) -> None:
    client_notes._troubles.clear()
    client_notes._uses.clear()
    client_notes._noted.clear()


def shown_matters(browser: Browser) -> dict[str, str]:
    client_notes.write()
    return matters(browser)


# ---- errors ----


def test_a_client_without_errors_needs_no_attention(
    browser: PortalClient,
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
) -> None:
    rp.tokens(browser)
    assert not {ERRORS, NOT_TOLD, UNUSED, EXPIRING, PLAIN} & shown_matters(carols).keys()


def test_a_wrong_secret_is_shown(browser: PortalClient, rp: RelyingParty, carols: Browser) -> None:  # noqa: F811
    wrong = basic(rp.client.client_id, "not the secret")
    rp.post("/openid/introspect", {"token": "x"}, HTTP_AUTHORIZATION=wrong)

    advice = shown_matters(carols)[ERRORS]

    assert "Wiki (a wrong secret, key or method of authentication" in advice
    assert "not the secret" not in str(list(ClientTrouble.objects.values()))


def test_a_wrong_redirect_uri_is_shown_without_its_query(
    browser: PortalClient,
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
) -> None:
    rp.authorize(browser, redirect_uri="https://wiki.example.com/other?token=secret")

    advice = shown_matters(carols)[ERRORS]

    assert "a redirect URI that is not registered: https://wiki.example.com/other)" in advice
    assert "token=secret" not in str(list(ClientTrouble.objects.values()))


def test_a_client_without_pkce_is_shown(browser: PortalClient, rp: RelyingParty, carols: Browser) -> None:  # noqa: F811
    rp.authorize(browser, code_challenge="", code_challenge_method="")

    assert "code_challenge is missing" in shown_matters(carols)[ERRORS]


def test_a_wrong_verifier_is_shown(browser: PortalClient, rp: RelyingParty, carols: Browser) -> None:  # noqa: F811
    assert error_of(rp.exchange(rp.code(browser), code_verifier="w" * 43)) == "invalid_grant"

    assert "the code verifier is missing or wrong" in shown_matters(carols)[ERRORS]


def test_a_refused_user_is_not_an_error_of_the_client(
    other_browser: PortalClient,
    rp: RelyingParty,
    bob: User,
    carols: Browser,  # noqa: F811
) -> None:
    rp.authorize(other_browser)
    rp.authorize(other_browser, prompt="none")

    assert ERRORS not in shown_matters(carols)


def test_a_flood_of_errors_writes_one_row_outside_requests(
    browser: PortalClient, rp: RelyingParty, django_assert_num_queries: Any
) -> None:
    for number in range(30):
        uri = f"https://evil.example/{number}/\u202e\x00"
        browser.get(f"/openid/authorize?{urlencode(rp.request(redirect_uri=uri))}")
    for client in ("unknown", rp.client.client_id):
        wrong = basic(client, "x")
        rp.post("/openid/token", {"grant_type": "authorization_code"}, HTTP_AUTHORIZATION=wrong)
    assert not ClientTrouble.objects.exists()

    client_notes.write()

    assert sorted(ClientTrouble.objects.values_list("kind", flat=True)) == ["authentication"]
    with django_assert_num_queries(0):
        client_notes.write()


def test_the_newest_error_replaces_the_one_before(browser: PortalClient, rp: RelyingParty) -> None:
    for path in ("first", "second"):
        rp.authorize(browser, redirect_uri=f"https://wiki.example.com/{path}")
        client_notes.write()

    row = ClientTrouble.objects.get()
    assert row.detail == "https://wiki.example.com/second"
    assert row.first_at < row.last_at


def test_old_errors_and_those_of_disabled_clients_are_not_shown(
    browser: PortalClient,
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
) -> None:
    rp.authorize(browser, redirect_uri="https://wiki.example.com/other")
    client_notes.write()
    Client.objects.update(enabled=False)
    assert ERRORS not in shown_matters(carols)
    Client.objects.update(enabled=True)
    ClientTrouble.objects.update(last_at=LONG_AGO)
    assert ERRORS not in shown_matters(carols)


def test_a_client_that_was_deleted_meanwhile_is_forgotten(browser: PortalClient, rp: RelyingParty) -> None:
    rp.authorize(browser, redirect_uri="https://wiki.example.com/other")
    Client.objects.all().delete()

    client_notes.write()

    assert not ClientTrouble.objects.exists()


def test_the_list_of_clients_shows_the_error(
    browser: PortalClient,
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
) -> None:
    rp.authorize(browser, redirect_uri="https://wiki.example.com/<b>")
    client_notes.write()

    assert "https://wiki.example.com/&lt;b&gt;" in carols.get("/admin/openid/client/").content.decode()


# ---- secrets ----


def test_an_old_unused_secret_is_shown(
    browser: PortalClient,
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
) -> None:
    ClientSecret.objects.update(created_at=LONG_AGO)
    assert "7 days: Wiki." in shown_matters(carols)[UNUSED]

    rp.tokens(browser)

    assert UNUSED not in shown_matters(carols)
    assert SecretUse.objects.get().secret.client == rp.client


def test_a_use_of_a_secret_is_written_only_sometimes(browser: PortalClient, rp: RelyingParty) -> None:
    rp.tokens(browser)
    client_notes.write()
    at = SecretUse.objects.get().at
    rp.tokens(browser)
    client_notes.write()

    assert SecretUse.objects.get().at == at


def test_an_expired_secret_is_refused(browser: PortalClient, rp: RelyingParty) -> None:
    code = rp.code(browser)
    ClientSecret.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    answer = rp.exchange(code)

    assert (answer.status_code, error_of(answer)) == (401, "invalid_client")
    ClientSecret.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    assert rp.exchange(code).status_code == 200


def test_a_secret_that_expires_soon_is_shown(rp: RelyingParty, carols: Browser) -> None:  # noqa: F811
    ClientSecret.objects.update(expires_at=timezone.now() + timedelta(days=13))
    assert "another secret: Wiki." in shown_matters(carols)[EXPIRING]

    ClientSecret.objects.update(expires_at=timezone.now() + timedelta(days=15))
    assert EXPIRING not in shown_matters(carols)


@pytest.mark.parametrize(("days", "kept"), [("90", 90), ("", None), ("7", None), ("x", None)])
def test_an_administrator_chooses_how_long_a_secret_lives(
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
    days: str,
    kept: int | None,
) -> None:
    ClientSecret.objects.all().delete()

    carols.post(f"/admin/openid/client/{rp.client.pk}/secrets/", {"days": days})

    [secret] = ClientSecret.objects.all()
    lives = secret.expires_at - secret.created_at if secret.expires_at else None
    assert (round(lives / timedelta(days=1)) if lives else None) == kept


def test_an_expired_secret_makes_room_for_a_new_one(rp: RelyingParty) -> None:
    assert new_secret(rp.client) and not new_secret(rp.client)
    ClientSecret.objects.filter(pk=ClientSecret.objects.latest("pk").pk).update(expires_at=timezone.now())

    assert new_secret(rp.client, 90)
    assert ClientSecret.objects.count() == 2


# ---- addresses, and undelivered sign-outs ----


@pytest.mark.parametrize(
    ("kind", "uri", "is_told"),
    [
        ("confidential", "https://wiki.example.com/", False),
        ("confidential", "http://wiki.example.com/", True),
        ("confidential", "http://127.0.0.1/callback", True),
        ("public", "http://127.0.0.1/callback", False),
        ("public", "http://[::1]/callback", False),
        ("public", "http://127.0.0.1.evil.example/", True),
        ("public", "com.example.app:/callback", False),
    ],
)
def test_a_redirect_uri_in_plain_http_is_shown(
    wiki: Application,
    carols: Browser,  # noqa: F811
    kind: str,
    uri: str,
    is_told: bool,
) -> None:
    Client.objects.create(application=wiki, kind=kind, redirect_uris=f"https://a.example/\n{uri}")

    assert (PLAIN in shown_matters(carols)) is is_told


@pytest.mark.parametrize(
    ("fields", "is_told"),
    [
        ({"tries": 0}, False),
        ({"tries": 1, "answer": "status 503"}, True),
        ({"tries": 5, "answer": "status 503", "done_at": timezone.now()}, True),
        ({"tries": 5, "answer": "status 503", "done_at": LONG_AGO}, False),
        ({"tries": 1, "answer": "taken", "done_at": timezone.now()}, False),
    ],
    ids=["not tried", "failing", "failed", "failed long ago", "told"],
)
def test_a_client_with_an_undelivered_sign_out_is_shown(
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
    fields: dict[str, Any],
    is_told: bool,
) -> None:
    now = timezone.now()
    values = {
        "uri": "https://x.example/",
        "audience": rp.client.client_id,
        "sid": "x",
        "allow_private": False,
    }
    LogoutDelivery.objects.create(**{**values, "created_at": now, "due_at": now, **fields})

    assert ("Wiki" in shown_matters(carols).get(NOT_TOLD, "")) is is_told


def test_users_who_may_not_view_clients_see_nothing(
    browser: PortalClient,
    rp: RelyingParty,
    sam: User,  # noqa: F811
    browser_of: Any,  # noqa: F811
) -> None:
    rp.authorize(browser, redirect_uri="https://wiki.example.com/other")
    sam.user_permissions.set(Permission.objects.filter(codename="view_auditevent"))

    assert ERRORS not in shown_matters(browser_of(sam))


def test_many_clients_need_no_more_queries(wiki: Application, carols: Browser) -> None:  # noqa: F811
    def queries_with(clients: int) -> int:
        for _ in range(clients):
            rp = register(wiki)
            client_notes.note_trouble(rp.client.pk, "request", "x")
            ClientSecret.objects.update(created_at=LONG_AGO, expires_at=timezone.now() + timedelta(days=1))
        shown_matters(carols)
        with CaptureQueriesContext(connection) as asked:
            assert {ERRORS, UNUSED, EXPIRING} <= shown_matters(carols).keys()
        return len(asked)

    few = queries_with(1)
    assert queries_with(19) <= few
    assert not AuditEvent.objects.filter(kind__startswith="openid").exists()
