"""OpenID Connect clients in the administration: created with their application, secrets shown once."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client as Browser

from accounts.models import User
from authgate.models import Application, AuditEvent
from openid.grants import digest
from openid.models import Client, ClientSecret
from tests.admin.forms import errors_in, save
from tests.admin.test_applications import change, rows
from tests.factories import ApplicationFactory

CALLBACK = "https://wiki.example.com/callback"


@pytest.fixture
def wiki(db: None) -> Application:
    return ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])


def clients(*uris: str, before: int = 0, **more: Any) -> dict[str, Any]:
    fields = {"kind": "confidential", "enabled": "on", "scopes": "openid email", "access_lifetime": 300}
    return rows("clients", "redirect_uris", *uris, before=before, refresh_lifetime=3600, **{**fields, **more})


@pytest.fixture
def made(carols: Browser, wiki: Application) -> Client:
    response = save(carols, change(wiki), **clients(CALLBACK))
    assert errors_in(response) == ""
    return Client.objects.get()


def secrets_page(client: Client) -> str:
    return f"/admin/openid/client/{client.pk}/secrets/"


def create(browser: Browser, client: Client) -> str:
    found = re.search(rb'id="secret" type="text" value="([^"]+)"', browser.post(secrets_page(client)).content)
    return found[1].decode() if found else ""


def test_a_client_is_created_in_its_applications_form(made: Client, wiki: Application) -> None:
    assert (made.application, made.redirect_uris, made.scopes) == (wiki, CALLBACK, "openid email")
    assert re.fullmatch("[0-9a-f]{20}", made.client_id)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (clients("http://wiki.example.com/"), "must begin with https"),
        (clients("javascript:alert(1)"), "must begin with https"),
        (clients("https://wiki.example.com/#f"), "fragment"),
        (clients("https://*.example.com/"), "wildcard"),
        (clients("https://a.example/\u202e"), "invisible character"),
        (clients(""), "required"),
        (clients("\n".join(f"https://a.example/{n}" for n in range(21))), "Enter at most 20"),
        (clients(CALLBACK, scopes="openid phone"), "Unknown scope: phone"),
        (clients(CALLBACK, access_lifetime=7200), "3600"),
        (clients(CALLBACK, post_logout_uris="ftp://a"), "must begin with https"),
        (clients(CALLBACK, backchannel_logout_uri="http://a.example/"), "must begin with https"),
    ],
)
def test_invalid_clients_are_refused(
    carols: Browser, wiki: Application, fields: dict[str, Any], words: str
) -> None:
    response = save(carols, change(wiki), **fields)

    assert words in errors_in(response)
    assert not Client.objects.exists()


def test_a_logout_uri_over_http_needs_the_check_box_for_private_addresses(
    carols: Browser, wiki: Application
) -> None:
    uri = "http://wiki.internal/logout"
    save(carols, change(wiki), **clients(CALLBACK, backchannel_logout_uri=uri, allow_private="on"))

    assert Client.objects.get().backchannel_logout_uri == uri


def test_a_secret_is_shown_once_and_stored_as_a_digest(carols: Browser, made: Client) -> None:
    secret = create(carols, made)

    assert ClientSecret.objects.filter(client=made, digest=digest(secret)).exists()
    assert secret.encode() not in carols.get(secrets_page(made)).content
    assert secret not in str(list(AuditEvent.objects.values()))
    assert AuditEvent.objects.filter(kind="openid_secret_made", actor="carol").count() == 1


def test_the_page_with_the_secret_is_not_cached(carols: Browser, made: Client) -> None:
    assert "no-store" in carols.post(secrets_page(made))["Cache-Control"]


def test_a_client_has_at_most_two_secrets_and_one_can_be_deleted(carols: Browser, made: Client) -> None:
    first, second, third = (create(carols, made) for _ in range(3))
    carols.post(secrets_page(made), {"delete": ClientSecret.objects.first().pk})  # type: ignore[union-attr]

    assert first and second and not third
    assert [bytes(each.digest) for each in ClientSecret.objects.all()] == [digest(second)]
    assert AuditEvent.objects.filter(kind="openid_secret_deleted").count() == 1


@pytest.mark.parametrize("key", ["0", "x", "9" * 30, "-1", ""])
def test_deleting_an_unknown_secret_changes_nothing(carols: Browser, made: Client, key: str) -> None:
    create(carols, made)
    carols.post(secrets_page(made), {"delete": key})

    assert ClientSecret.objects.count() == 1


def test_the_secret_of_another_client_cannot_be_deleted(
    carols: Browser, made: Client, wiki: Application
) -> None:
    other = Client.objects.create(application=wiki, redirect_uris=CALLBACK)
    create(carols, other)
    carols.post(secrets_page(made), {"delete": ClientSecret.objects.get().pk})

    assert ClientSecret.objects.count() == 1


def test_a_public_client_has_no_secret(carols: Browser, made: Client) -> None:
    Client.objects.update(kind="public")

    assert carols.post(secrets_page(made)).status_code == 302
    assert not ClientSecret.objects.exists()


def test_creating_a_secret_needs_the_permission_to_change_clients(
    made: Client, alice: User, browser_of: Any
) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    alice.refresh_from_db()

    for method in ("get", "post"):
        assert getattr(browser_of(alice), method)(secrets_page(made)).status_code == 403
    assert not ClientSecret.objects.exists()


def test_the_list_names_clients_with_their_applications(carols: Browser, made: Client) -> None:
    body = carols.get("/admin/openid/client/").content.decode()

    assert made.client_id in body and "Wiki" in body


def test_a_change_of_a_client_leaves_an_event(carols: Browser, made: Client, wiki: Application) -> None:
    save(carols, change(wiki), **{"clients-0-redirect_uris": f"{CALLBACK}2"})

    event = AuditEvent.objects.filter(kind="changed").latest("pk")
    assert f"{CALLBACK}2" in str(event.details)
