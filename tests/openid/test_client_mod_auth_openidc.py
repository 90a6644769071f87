"""Apache's mod_auth_openidc as a client: deploy/openid-clients/mod_auth_openidc.conf, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from openid.models import Client, Grant
from tests.front.serving import eventually
from tests.openid.apache import start_apache
from tests.openid.installation import (
    Provider,
    ask_at_once,
    have_raced,
    new_user,
    register_client,
    sign_in,
    sign_out_at,
)
from tests.proxies.backend import Backend, Received
from tests.proxies.processes import free_port

pytestmark = pytest.mark.browser


@dataclass
class Site:
    url: str
    backend: Backend
    client: int

    def last(self) -> Received:
        """Return the newest request that reached the application."""
        return self.backend.take()[-1]


@pytest.fixture(scope="module")
def site(
    running_provider: Provider, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    address, backend = f"127.0.0.5:{free_port()}", Backend(("wiki",))
    url = f"http://{address}"
    with django_db_blocker.unblock(), running_provider.rows():
        client = register_client(
            "Apache",
            redirect_uris=f"{url}/openid/callback",
            post_logout_uris=f"{url}/signed-out",
            backchannel_logout_uri=f"{url}/openid/callback?logout=backchannel",
        )
    backend.start()
    folder = tmp_path_factory.mktemp("apache")
    server = start_apache(folder, address, running_provider.url, client, backend.addresses["wiki"])
    yield Site(url, backend, client.client.pk)
    server.stop()
    backend.stop()


def is_signed_in(page: Page, site: Site) -> bool:
    """Send a request as a script of the application. Return whether it is let in rather than redirected."""
    return page.request.get(f"{site.url}/data", max_redirects=0).status == 200


def enter(page: Page, site: Site) -> User:
    """Sign a new user in at the application."""
    person = new_user("staff")
    page.goto(site.url)
    sign_in(page, person)
    expect(page).to_have_url(f"{site.url}/")
    return person


def test_a_user_signs_in_and_the_application_receives_the_claims(
    provider: Provider, site: Site, page: Page
) -> None:
    person = new_user("staff")

    page.set_extra_http_headers({"OIDC_CLAIM_groups": "admins", "OIDC-CLAIM-email": "root@example.com"})
    page.goto(f"{site.url}/page?x=1")
    sign_in(page, person)

    expect(page).to_have_url(f"{site.url}/page?x=1")
    received = site.last()
    assert received.all("OIDC_CLAIM_preferred_username") == [person.username]
    assert received.all("OIDC_CLAIM_groups") == ["staff"]
    assert received.all("OIDC_CLAIM_email") == [person.email]
    assert received.all("OIDC-CLAIM-email") == received.all("OIDC_access_token") == []


def test_a_user_without_access_never_reaches_the_application(
    provider: Provider, site: Site, page: Page
) -> None:
    page.goto(site.url)
    sign_in(page, new_user("guests"))

    expect(page.locator("h1")).to_contain_text("Apache")
    assert page.url.startswith(provider.url)
    assert site.backend.take() == []
    assert not is_signed_in(page, site)


def test_signing_out_at_the_portal_ends_the_session_at_apache(
    provider: Provider, site: Site, page: Page
) -> None:
    enter(page, site)
    before = is_signed_in(page, site)

    sign_out_at(provider, page)

    assert before
    assert eventually(lambda: not is_signed_in(page, site))


def test_signing_out_in_one_browser_keeps_the_others_signed_in(
    provider: Provider, site: Site, page: Page, chromium: Browser
) -> None:
    person = enter(page, site)
    with chromium.new_context() as elsewhere:
        other = elsewhere.new_page()
        other.goto(site.url)
        sign_in(other, person)

        sign_out_at(provider, other)

        assert eventually(lambda: not is_signed_in(other, site))
    assert is_signed_in(page, site)


def test_a_disabled_user_is_signed_out(provider: Provider, site: Site, page: Page) -> None:
    person = enter(page, site)

    User.objects.filter(pk=person.pk).update(is_active=False)

    assert eventually(lambda: not is_signed_in(page, site))


def test_signing_out_at_the_application_signs_out_at_the_portal(
    provider: Provider, site: Site, page: Page
) -> None:
    enter(page, site)

    page.goto(f"{site.url}/openid/callback?logout={site.url}/signed-out")

    expect(page).to_have_url(f"{site.url}/signed-out")
    assert not is_signed_in(page, site)
    page.goto(provider.url)
    expect(page).to_have_url(re.compile("/accounts/login/"))


def test_simultaneous_refreshes_keep_the_session(provider: Provider, site: Site, page: Page) -> None:
    """Apache refreshes a minute before an access token ends, in each request that arrives then."""
    Client.objects.filter(pk=site.client).update(access_lifetime=60)
    person, statuses = enter(page, site), []

    def race() -> bool:
        statuses.extend(ask_at_once(page))
        return have_raced(person)

    assert eventually(race)
    assert set(statuses) == {200}
    assert is_signed_in(page, site)
    assert Grant.objects.filter(sign_in__user=person, revoked_at=None).exists()
