"""express-openid-connect as a client: deploy/openid-clients/express.mjs, in a real browser."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from tests.front.serving import eventually
from tests.openid.installation import Provider, new_user, register_client, sign_in, sign_out_at
from tests.proxies.processes import Server, binary, free_port
from tests.proxies.proxy import DEPLOY
from tests.proxies.substitution import substituted
from tests.upstreams.real import installed

pytestmark = pytest.mark.browser

FILE = DEPLOY / "openid-clients" / "express.mjs"


@dataclass
class Site:
    url: str


@pytest.fixture(scope="module")
def site(
    running_provider: Provider, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    packages = installed(Path(__file__).parent / "npm", "openid-client", "client.mjs")
    host, port = "127.0.0.7", free_port()
    url = f"http://{host}:{port}"
    with django_db_blocker.unblock(), running_provider.rows():
        client = register_client(
            "Express",
            redirect_uris=f"{url}/callback",
            post_logout_uris=url,
            backchannel_logout_uri=f"{url}/backchannel-logout",
        )
    folder = tmp_path_factory.mktemp("express")
    (folder / "node_modules").symlink_to(packages / "node_modules")
    (folder / "client-secret").write_text(client.secret)
    (folder / "session-secret").write_text(secrets.token_hex(32))
    replacements = {
        "https://sso.example.com": running_provider.url,
        "https://wiki.example.com": url,
        "clientID: 'wiki'": f"clientID: '{client.client.client_id}'",
        "/etc/wiki": str(folder),
        "3000, '127.0.0.1'": f"{port}, '{host}'",
    }
    (folder / "express.mjs").write_text(substituted(FILE.read_text(), replacements))
    server = Server([binary("node", "nodejs"), "express.mjs"], log=folder / "express.log", cwd=folder)
    server.wait_for((host, port))
    yield Site(url)
    server.stop()


def is_signed_in(page: Page, site: Site) -> bool:
    return page.request.get(site.url, max_redirects=0).status == 200


def enter(page: Page, site: Site) -> User:
    """Sign a new user in at the application."""
    person = new_user("staff")
    page.goto(site.url)
    sign_in(page, person)
    expect(page).to_have_url(f"{site.url}/")
    return person


def test_a_user_signs_in(provider: Provider, site: Site, page: Page) -> None:
    person = enter(page, site)

    assert json.loads(page.inner_text("body")) == {"name": person.username, "groups": ["staff"]}


def test_a_user_without_access_is_refused(provider: Provider, site: Site, page: Page) -> None:
    page.goto(site.url)
    sign_in(page, new_user("guests"))

    expect(page.locator("h1")).to_contain_text("Express")
    assert not is_signed_in(page, site)


def test_signing_out_at_the_portal_ends_the_session_in_its_store(
    provider: Provider, site: Site, page: Page
) -> None:
    enter(page, site)
    before = is_signed_in(page, site)

    sign_out_at(provider, page)

    assert before
    assert eventually(lambda: not is_signed_in(page, site))


def test_signing_out_at_the_application_signs_out_at_the_portal(
    provider: Provider, site: Site, page: Page
) -> None:
    enter(page, site)

    page.goto(f"{site.url}/logout")

    # The application sends the browser to the portal again, where no user is signed in now.
    expect(page).to_have_url(re.compile("/accounts/login/"))
    assert not is_signed_in(page, site)


def test_the_file_names_the_versions_that_are_installed() -> None:
    wanted = json.loads((Path(__file__).parent / "npm" / "package.json").read_text())["dependencies"]
    head = FILE.read_text().partition("\nimport")[0]

    for package in ("express-openid-connect", "express", "memorystore"):
        assert re.search(rf"(?i)\b{package} {re.escape(wanted[package])}", head)
