"""oauth2-proxy as a client: deploy/openid-clients/oauth2-proxy.cfg, in a real browser."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from playwright.sync_api import Page, expect
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from tests.front.serving import eventually
from tests.openid.go import PROGRAMS, built
from tests.openid.installation import Provider, ask_at_once, have_raced, new_user, register_client, sign_in
from tests.openid.relying_party import RelyingParty
from tests.proxies.backend import Backend
from tests.proxies.processes import Server, free_port
from tests.proxies.proxy import DEPLOY
from tests.proxies.substitution import substituted

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("built by go")]

FILE = DEPLOY / "openid-clients" / "oauth2-proxy.cfg"


@dataclass
class Site:
    url: str
    backend: Backend
    client: RelyingParty


def configuration(
    folder: Path, address: str, provider: Provider, client: RelyingParty, backend: Backend
) -> Path:
    """Write the shipped file for plain http, with a refresh each second."""
    (folder / "client-secret").write_text(client.secret)
    (folder / "cookie-secret").write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    text = substituted(
        FILE.read_text(),
        {
            "127.0.0.1:4180": address,
            "http://127.0.0.1:9001/": f"http://{backend.addresses['wiki']}/",
            '"https://sso.example.com"': f'"{provider.url}"',
            'client_id = "wiki"': f'client_id = "{client.client.client_id}"',
            "/etc/oauth2-proxy": str(folder),
            "https://wiki.example.com": f"http://{address}",
            "__Host-": "",
            "cookie_secure = true": "cookie_secure = false",
            '"1m"': '"1s"',
            '["sso.example.com"]': f'["{provider.url.removeprefix("http://")}"]',
        },
    )
    file = folder / "oauth2-proxy.cfg"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def site(
    running_provider: Provider, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    program = built("oauth2-proxy")
    port = free_port()
    backend, url = Backend(("wiki",)), f"http://127.0.0.6:{port}"
    with django_db_blocker.unblock(), running_provider.rows():
        client = register_client(
            "Proxied", redirect_uris=f"{url}/oauth2/callback", post_logout_uris=f"{url}/"
        )
    backend.start()
    folder = tmp_path_factory.mktemp("oauth2-proxy")
    file = configuration(folder, f"127.0.0.6:{port}", running_provider, client, backend)
    server = Server([str(program), f"--config={file}"], log=folder / "oauth2-proxy.log")
    server.wait_for(("127.0.0.6", port))
    yield Site(url, backend, client)
    server.stop()
    backend.stop()


def is_signed_in(page: Page, site: Site) -> bool:
    return page.request.get(f"{site.url}/data", max_redirects=0).status == 200


def enter(page: Page, site: Site) -> User:
    """Sign a new user in at the application."""
    person = new_user("staff")
    page.goto(f"{site.url}/page?x=1")
    sign_in(page, person)
    expect(page).to_have_url(f"{site.url}/page?x=1")
    return person


def test_a_user_signs_in_and_the_application_receives_the_claims(
    provider: Provider, site: Site, page: Page
) -> None:
    page.set_extra_http_headers({"X-Forwarded-Groups": "admins", "X_Forwarded_Email": "root@example.com"})

    person = enter(page, site)

    received = site.backend.take()[-1]
    assert received.all("X-Forwarded-User") == [str(person.uuid)]
    assert received.all("X-Forwarded-Preferred-Username") == [person.username]
    assert received.all("X-Forwarded-Email") == [person.email]
    assert received.all("X-Forwarded-Groups") == ["staff"]
    assert received.all("X_Forwarded_Email") == []


def test_a_user_without_access_never_reaches_the_application(
    provider: Provider, site: Site, page: Page
) -> None:
    site.backend.take()
    page.goto(site.url)
    sign_in(page, new_user("guests"))

    expect(page.locator("h1")).to_contain_text("Proxied")
    assert site.backend.take() == []
    assert not is_signed_in(page, site)


def test_simultaneous_refreshes_keep_the_session(provider: Provider, site: Site, page: Page) -> None:
    person, statuses = enter(page, site), []

    def race() -> bool:
        statuses.extend(ask_at_once(page))
        return have_raced(person)

    assert eventually(race)
    assert set(statuses) == {200}
    assert is_signed_in(page, site)


def test_a_user_who_leaves_the_group_is_signed_out_at_the_next_refresh(
    provider: Provider, site: Site, page: Page
) -> None:
    person = enter(page, site)
    before = is_signed_in(page, site)

    person.groups.clear()

    assert before
    assert eventually(lambda: not is_signed_in(page, site))
    page.goto(site.url)
    expect(page.locator("h1")).to_contain_text("Proxied")


def test_signing_out_leads_to_the_portal_which_asks(provider: Provider, site: Site, page: Page) -> None:
    enter(page, site)
    logout = f"{provider.url}/openid/logout?client_id={site.client.client.client_id}"

    page.goto(f"{site.url}/oauth2/sign_out?rd={logout}")
    page.get_by_role("button", name="Sign out").click()

    expect(page.locator("h1")).to_have_text("You are signed out")
    assert not is_signed_in(page, site)


def test_a_user_without_a_verified_address_is_refused_by_oauth2_proxy(
    provider: Provider, site: Site, page: Page
) -> None:
    person = new_user("staff")
    EmailAddress.objects.filter(user=person).update(verified=False)
    page.goto(site.url)
    with page.expect_response(lambda answer: "/oauth2/callback" in answer.url) as answer:
        sign_in(page, person)

    assert answer.value.status == 500
    assert not is_signed_in(page, site)


def test_the_file_names_the_version_that_is_built() -> None:
    version = PROGRAMS["oauth2-proxy"][1].removeprefix("v")

    assert f"Tested with oauth2-proxy {version}. " in FILE.read_text()
