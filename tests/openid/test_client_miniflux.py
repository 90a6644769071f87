"""Miniflux, a whole application, as a client: deploy/openid-clients/miniflux.conf, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from pytest_django.plugin import DjangoDbBlocker

from tests.feed.cluster import Cluster
from tests.openid.go import PROGRAMS, built
from tests.openid.installation import Provider, new_user, register_client, sign_in
from tests.proxies.processes import Server, free_port
from tests.proxies.proxy import DEPLOY
from tests.proxies.substitution import substituted

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("built by go")]

FILE = DEPLOY / "openid-clients" / "miniflux.conf"


@pytest.fixture(scope="module")
def feeds(
    running_provider: Provider,
    cluster: Cluster,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Return the address of Miniflux."""
    program = built("miniflux.app")
    host, port = "127.0.0.10", free_port()
    url = f"http://{host}:{port}"
    with django_db_blocker.unblock(), running_provider.rows():
        client = register_client("Miniflux", redirect_uris=f"{url}/oauth2/oidc/callback")
    folder = tmp_path_factory.mktemp("miniflux")
    (folder / "client-secret").write_text(client.secret)
    (folder / "database-url").write_text(f"{cluster.database('miniflux').url}?sslmode=disable")
    replacements = {
        "LISTEN_ADDR=127.0.0.1:8080": f"LISTEN_ADDR={host}:{port}",
        "https://feeds.example.com": url,
        "https://sso.example.com": running_provider.url,
        "OAUTH2_CLIENT_ID=feeds": f"OAUTH2_CLIENT_ID={client.client.client_id}",
        "/etc/miniflux": str(folder),
    }
    file = folder / "miniflux.conf"
    file.write_text(substituted(FILE.read_text(), replacements))
    server = Server([str(program), "-config-file", str(file)], log=folder / "miniflux.log")
    server.wait_for((host, port))
    yield url
    server.stop()


def test_a_user_signs_in_and_has_an_account(provider: Provider, feeds: str, page: Page) -> None:
    person = new_user("staff")
    page.goto(feeds)
    page.get_by_role("link", name="Sign in with Portal").click()
    sign_in(page, person)

    expect(page).to_have_url(f"{feeds}/unread")
    expect(page.get_by_title(f"Logged in as {person.username}")).to_have_count(1)


def test_a_user_without_access_has_no_account(provider: Provider, feeds: str, page: Page) -> None:
    page.goto(feeds)
    page.get_by_role("link", name="Sign in with Portal").click()
    sign_in(page, new_user("guests"))

    expect(page.locator("h1")).to_contain_text("Miniflux")
    page.goto(f"{feeds}/unread")
    expect(page.get_by_role("link", name="Sign in with Portal")).to_be_visible()


def test_the_file_names_the_version_that_is_built() -> None:
    assert f"Tested with Miniflux {PROGRAMS['miniflux.app'][1].removeprefix('v')} " in FILE.read_text()
