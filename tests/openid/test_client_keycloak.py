"""Keycloak as a broker: its users sign in with the portal, as docs/openid-clients.md describes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from tests.front.serving import eventually
from tests.openid.installation import Provider, new_user, register_client, sign_in, sign_out_at
from tests.upstreams.keycloak import Keycloak

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("keycloak")]

DOCS = Path(__file__).resolve().parents[2] / "docs" / "openid-clients.md"
REALM = "brokered"
SITE = {"clientId": "site", "publicClient": True, "standardFlowEnabled": True}


def shown_provider() -> dict[str, Any]:
    """Return the identity provider on the page."""
    found = re.search(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found
    provider: dict[str, Any] = json.loads(found[1])
    return provider


@dataclass
class Broker:
    keycloak: Keycloak

    @property
    def realm(self) -> str:
        return f"{self.keycloak.url}/realms/{REALM}"

    @property
    def sign_in_url(self) -> str:
        """Return the address for sign-ins at a site. Browsers return to an address of the realm."""
        asked = f"client_id=site&response_type=code&scope=openid&redirect_uri={self.realm}"
        return f"{self.realm}/protocol/openid-connect/auth?{asked}"

    def sessions(self, person: User) -> list[Any]:
        """Return the user's sessions in the realm."""
        users = self.keycloak.admin("GET", f"/{REALM}/users?username={person.username}&exact=true")
        return [
            session
            for user in users
            for session in self.keycloak.admin("GET", f"/{REALM}/users/{user['id']}/sessions")
        ]


@pytest.fixture(scope="module")
def broker(
    running_provider: Provider, keycloak: Keycloak, django_db_blocker: DjangoDbBlocker
) -> Iterator[Broker]:
    made = Broker(keycloak)
    pages = f"{made.realm}/broker/portal/endpoint"
    with django_db_blocker.unblock(), running_provider.rows():
        client = register_client(
            "Keycloak",
            redirect_uris=pages,
            post_logout_uris=f"{pages}/logout_response",
            backchannel_logout_uri=f"{made.realm}/protocol/openid-connect/logout/backchannel-logout",
        )
    shown = json.dumps(shown_provider()).replace("https://sso.example.com", running_provider.url)
    identity_provider = json.loads(shown)
    identity_provider["config"] |= {"clientId": client.client.client_id, "clientSecret": client.secret}
    keycloak.admin("POST", "", {"realm": REALM, "enabled": True, "sslRequired": "none"})
    keycloak.admin("POST", f"/{REALM}/identity-provider/instances", identity_provider)
    keycloak.admin("POST", f"/{REALM}/clients", {**SITE, "redirectUris": [made.realm]})
    yield made
    keycloak.admin("DELETE", f"/{REALM}")


def enter(page: Page, broker: Broker) -> User:
    """Sign a new user in at the realm's site with the portal."""
    person = new_user("staff")
    person.display_name = "Robin Smith"
    person.save(update_fields=["display_name"])
    page.goto(broker.sign_in_url)
    page.get_by_role("link", name="Portal").click()
    sign_in(page, person)
    expect(page).to_have_url(re.compile(rf"^{re.escape(broker.realm)}\?.*code="))
    return person


def test_a_user_signs_in_with_the_portal(provider: Provider, broker: Broker, page: Page) -> None:
    person = enter(page, broker)

    [user] = broker.keycloak.admin("GET", f"/{REALM}/users?username={person.username}&exact=true")
    assert (user["email"], user["firstName"], user["lastName"]) == (person.email, "Robin", "Smith")
    assert len(broker.sessions(person)) == 1


def test_signing_out_at_the_portal_ends_the_session_in_keycloak(
    provider: Provider, broker: Broker, page: Page
) -> None:
    person = enter(page, broker)
    before = broker.sessions(person)

    sign_out_at(provider, page)

    assert len(before) == 1
    assert eventually(lambda: broker.sessions(person) == [], every=0.5)


def test_a_disabled_user_is_signed_out_of_keycloak(provider: Provider, broker: Broker, page: Page) -> None:
    person = enter(page, broker)

    User.objects.filter(pk=person.pk).update(is_active=False)

    assert eventually(lambda: broker.sessions(person) == [], every=0.5)


def test_signing_out_at_keycloak_signs_out_at_the_portal(
    provider: Provider, broker: Broker, page: Page
) -> None:
    person = enter(page, broker)

    page.goto(f"{broker.realm}/protocol/openid-connect/logout")
    page.click("#kc-logout")

    assert eventually(lambda: broker.sessions(person) == [], every=0.5)
    page.goto(provider.url)
    expect(page).to_have_url(re.compile("/accounts/login/"))
