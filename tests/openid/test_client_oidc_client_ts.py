"""oidc-client-ts in a page as a public client: deploy/openid-clients/spa.mjs, in a real browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from openid.models import Client, Grant
from tests.openid.installation import Provider, new_user, register_client, sign_in
from tests.openid.relying_party import RelyingParty
from tests.proxies.proxy import DEPLOY
from tests.proxies.substitution import substituted
from tests.upstreams.real import installed

pytestmark = pytest.mark.browser

FILE = DEPLOY / "openid-clients" / "spa.mjs"
PAGE = """<!doctype html><meta charset="utf-8"><title>Page</title><output>waits</output>
<script type="importmap">{"imports": {
"oidc-client-ts": "/node_modules/oidc-client-ts/dist/esm/oidc-client-ts.js",
"jwt-decode": "/node_modules/jwt-decode/build/esm/index.js"}}</script>
<script type="module">
import { manager, user } from '/spa.mjs'
window.manager = manager
const found = await user()
document.querySelector('output').textContent = found ? JSON.stringify(found.profile) : 'nobody'
</script>"""


@dataclass
class Site:
    url: str
    elsewhere: str
    client: RelyingParty


@pytest.fixture(scope="module")
def site(running_provider: Provider, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    packages = installed(Path(__file__).parent / "npm", "openid-client", "client.mjs")
    files: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/node_modules/"):
                body, kind = (packages / path[1:]).read_text(), "text/javascript"
            else:
                body, kind = files.get(path, PAGE), "text/javascript" if path in files else "text/html"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    servers = [ThreadingHTTPServer((host, 0), Handler) for host in ("127.0.0.8", "127.0.0.9")]
    url, elsewhere = (f"http://{host}:{port}" for host, port in (each.server_address[:2] for each in servers))
    with django_db_blocker.unblock(), running_provider.rows():
        client = register_client(
            "Page",
            kind=Client.Kind.PUBLIC,
            redirect_uris=f"{url}/callback",
            post_logout_uris=f"{url}/",
            backchannel_logout_uri="",
        )
    replacements = {
        "https://sso.example.com": running_provider.url,
        "https://wiki.example.com": url,
        "'wiki-page'": f"'{client.client.client_id}'",
    }
    files["/spa.mjs"] = substituted(FILE.read_text(), replacements)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Site(url, elsewhere, client)
    for server in servers:
        server.shutdown()
        server.server_close()


def enter(page: Page, site: Site) -> User:
    """Sign a new user in on the page."""
    person = new_user("staff")
    page.goto(site.url)
    expect(page.locator("output")).to_have_text("nobody")
    page.evaluate("() => void manager.signinRedirect()")
    page.wait_for_url("**/accounts/login/**")
    sign_in(page, person)
    expect(page.locator("output")).to_contain_text(str(person.uuid))
    return person


def test_a_page_signs_in_and_reads_userinfo(provider: Provider, site: Site, page: Page) -> None:
    person = enter(page, site)

    claims = json.loads(page.inner_text("output"))
    assert (claims["preferred_username"], claims["groups"]) == (person.username, ["staff"])
    assert (claims["email"], claims["email_verified"]) == (person.email, True)
    assert page.url == f"{site.url}/"


def test_a_page_refreshes_revokes_and_signs_out(provider: Provider, site: Site, page: Page) -> None:
    person = enter(page, site)
    before = page.evaluate("async () => (await manager.getUser()).access_token")

    after = page.evaluate("async () => (await manager.signinSilent()).access_token")
    page.evaluate("() => void manager.signoutRedirect()")

    expect(page.locator("output")).to_have_text("nobody")
    assert before.startswith("oat_") and after.startswith("oat_") and before != after
    grant = Grant.objects.get(sign_in__user=person)
    assert grant.revoked_at and grant.sign_in.ended_at


FETCH = """async ([url, headers]) => {
    try { return (await fetch(url, {method: 'POST', headers, body: new URLSearchParams({x: 'y'})})).status }
    catch (error) { return error.name }
}"""


def test_a_page_of_another_origin_reads_nothing(provider: Provider, site: Site, page: Page) -> None:
    answers = {}
    for origin in (site.url, site.elsewhere):
        page.goto(origin)
        answers[origin] = [
            page.evaluate(FETCH, [f"{provider.url}/openid/{path}", {"Authorization": "Bearer x"}])
            for path in ("token", "userinfo", "revoke")
        ]

    assert answers[site.url] == [401, 401, 401]
    assert answers[site.elsewhere] == ["TypeError"] * 3
