"""docs/keycloak.md, with a real Keycloak behind a real nginx, in a real browser."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.behaviour import FETCH
from tests.browser.driver import Driver
from tests.browser.test_story import DOMAINS, resolver
from tests.forks import printed_by
from tests.own_database import environment_in
from tests.proxies.backend import Backend
from tests.proxies.nginx import start_nginx
from tests.proxies.portal import Portal, start_portal
from tests.proxies.proxy import Proxy
from tests.upstreams.keycloak import PAGE, PASSWORD, REALM, Keycloak, shown_client, shown_command
from tests.upstreams.keycloak_console import CLIENT, enter_client

pytestmark = [pytest.mark.browser, pytest.mark.proxy, pytest.mark.xdist_group("keycloak")]

AT_THE_PORTAL = re.compile(r"//sso\.localhost:\d+/accounts/login/")

SETTING_UP = """
import django; django.setup()
from django.contrib.auth.models import Group
from accounts.models import GroupMapping, Upstream
from authgate.models import Application, Rule
keycloak = Upstream.objects.get(slug="keycloak")
Upstream.objects.update(recheck_every={recheck_every})
Application.objects.filter(name="Wiki").update(access_token=True, id_token=True)
crew = Group.objects.get_or_create(name="crew")[0]
GroupMapping.objects.get_or_create(
    upstream=keycloak, claim="groups", value="crew", group=crew, mode="mirror")
Rule.objects.create(
    application=Application.objects.get(name="App"), path="/crew", who="chosen").groups.add(crew)
"""
SESSIONS = """
import django, json; django.setup()
from accounts.models import UpstreamSession
print(json.dumps([
    [session.sign_in.user.username, session.checked_at.timestamp(), session.sign_in.ended_at is None,
     bool(session.sid and session.id_token and session.refresh_token)]
    for session in UpstreamSession.objects.select_related("sign_in__user").order_by("pk")]))
"""


@dataclass
class Installation:
    """A portal behind nginx with users from Keycloak."""

    portal: Portal
    proxy: Proxy
    keycloak: Keycloak
    folder: Path

    def manage(self, *arguments: str) -> str:
        return printed_by([*arguments], environment_in(self.folder, self.portal.origin("portal")))

    def app(self, path: str = "/") -> str:
        return f"{self.portal.origin('app')}{path}"


@pytest.fixture(scope="module")
def installation(keycloak: Keycloak, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    backend, folder = Backend(("app", "wiki", "ops")), tmp_path_factory.mktemp("portal")
    backend.start()
    portal = start_portal(folder, scheme="http", domains=DOMAINS)
    proxy = start_nginx(portal, backend, tmp_path_factory.mktemp("nginx"))
    made = Installation(portal, proxy, keycloak, folder)
    secret = folder / "keycloak-secret"
    secret.write_text(keycloak.add_client(portal.origin("portal")))
    shown = {"https://id.example.com/realms/campus": keycloak.issuer, "/run/secrets/keycloak": str(secret)}
    told = made.manage("manage.py", *(shown.get(word, word) for word in shown_command()), "--allow-private")
    findings = [line.split()[0] for line in told.splitlines()[1:]]
    assert sorted(findings) == ["doubtful", "good", "good", "good", "good"], told
    made.manage("-c", SETTING_UP.format(recheck_every=2))
    yield made
    for server in (proxy.server, portal.server, backend):
        server.stop()


@pytest.fixture(scope="module")
def chromium(driver: Driver, playwright: Playwright, installation: Installation) -> Browser:
    return driver.browser(resolver(installation.proxy, "*.localhost"))


@pytest.fixture
def page(installation: Installation, chromium: Browser) -> Iterator[Page]:
    installation.proxy.backend.take()
    context = chromium.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def person(installation: Installation, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A user of the group crew whom no other test uses: name and id in Keycloak."""
    name = f"robin{abs(hash(request.node.name)) % 10**6}"
    return name, installation.keycloak.add_person(name, ("crew",))


def sign_in(page: Page, url: str, name: str = "") -> None:
    """Open a page and sign in with Keycloak on the way. Without a name, Keycloak knows the browser."""
    page.goto(url)
    expect(page).to_have_url(AT_THE_PORTAL)
    page.get_by_role("link", name="Sign in with Keycloak").click()
    if name:
        page.fill("#username", name)
        page.fill("#password", PASSWORD)
        page.click("#kc-login")
    expect(page).to_have_url(url)


def eventually(what: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def is_let_in(page: Page, installation: Installation) -> bool:
    """Send a request as the application's script, which is never redirected."""
    cookies = page.context.cookies(installation.app())
    line = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in cookies)
    status = installation.proxy.ask("/data", headers=FETCH | {"Cookie": line}).status
    assert status in (200, 401)
    return status == 200


def test_a_first_sign_in_returns_to_the_page_with_name_and_groups(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    name, _ = person

    sign_in(page, installation.app("/crew/plan?week=3&x=%23"), name)

    received = installation.proxy.backend.take()[0]
    assert received.request_line == "GET /crew/plan?week=3&x=%23 HTTP/1.1"
    assert received.all("X-Auth-Request-User") == [name]
    assert received.all("X-Auth-Request-Groups") == ["crew"]


def test_an_application_that_asks_for_them_gets_keycloaks_tokens(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, f"{installation.portal.origin('wiki')}/", person[0])

    received = installation.proxy.backend.take()[0]
    [access], [authorization] = (received.all(n) for n in ("X-Auth-Request-Access-Token", "Authorization"))
    unverified = {"verify_signature": False}
    assert jwt.decode(access, options=unverified)["iss"] == installation.keycloak.issuer
    claims = jwt.decode(authorization.removeprefix("Bearer "), options=unverified)
    assert (claims["aud"], claims["preferred_username"]) == (shown_client()["clientId"], person[0])


def test_while_keycloak_knows_the_browser_the_user_is_not_asked_again(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, installation.app("/first"), person[0])
    page.context.clear_cookies(domain=re.compile(r".*\.localhost"))

    sign_in(page, installation.app("/second"))

    assert installation.proxy.backend.take()[-1].all("X-Auth-Request-User") == [person[0]]


def test_a_user_who_leaves_a_group_in_keycloak_loses_its_access_at_the_next_sign_in(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    name, id = person
    sign_in(page, installation.app("/crew/plan"), name)
    group = installation.keycloak.admin("GET", f"/{REALM}/groups")[0]["id"]
    installation.keycloak.admin("DELETE", f"/{REALM}/users/{id}/groups/{group}")
    page.context.clear_cookies(domain=re.compile(r".*\.localhost"))

    sign_in(page, installation.app("/"))
    refused = page.goto(installation.app("/crew/plan"))

    assert refused is not None and refused.status == 403


def test_signing_out_here_signs_out_of_keycloak_and_shows_it(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, installation.app("/"), person[0])

    page.goto(installation.app("/authgate/sign_out"))

    expect(page).to_have_url(f"{installation.portal.origin('portal')}/signed-out")
    expect(page.locator("h1")).to_have_text("You are signed out")
    page.goto(installation.app("/"))
    page.get_by_role("link", name="Sign in with Keycloak").click()
    expect(page.locator("#kc-login")).to_be_visible()


def test_signing_out_at_the_portal_leads_through_keycloak_to_the_requested_page(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, installation.app("/"), person[0])
    target = f"{installation.portal.origin('portal')}/accounts/login/?local=1"

    page.goto(f"{installation.portal.origin('portal')}/accounts/logout/?rd={target}")
    page.get_by_role("button", name="Sign out").click()

    expect(page).to_have_url(target)
    assert not is_let_in(page, installation)


def test_an_administrator_of_keycloak_signs_a_user_out_of_every_application(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, installation.app("/"), person[0])
    assert is_let_in(page, installation)

    installation.keycloak.sign_out(person[1])

    assert eventually(lambda: not is_let_in(page, installation), 3)
    page.goto(installation.app("/"))
    expect(page).to_have_url(AT_THE_PORTAL)


def test_a_user_who_signs_out_at_keycloak_is_signed_out_here(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, installation.app("/"), person[0])
    other = page.context.new_page()

    other.goto(f"{installation.keycloak.issuer}/protocol/openid-connect/logout")
    other.click("#kc-logout")

    assert eventually(lambda: not is_let_in(page, installation), 5)


def sessions_of(installation: Installation, name: str) -> list[Any]:
    """Return each session of a user: the time of the last recheck, and whether it is live and complete."""
    return [row[1:] for row in json.loads(installation.manage("-c", SESSIONS)) if row[0] == name]


def test_at_a_recheck_users_known_to_keycloak_stay_signed_in(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, installation.app("/"), person[0])
    [[before, _, all_kept]] = sessions_of(installation, person[0])

    again = eventually(lambda: sessions_of(installation, person[0])[0][0] > before + 1)

    assert all_kept and again
    assert is_let_in(page, installation)


def test_at_a_recheck_a_user_disabled_in_keycloak_is_signed_out(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, installation.app("/"), person[0])

    installation.keycloak.disable(person[1])

    assert eventually(lambda: not is_let_in(page, installation))
    page.goto(installation.app("/"))
    page.get_by_role("link", name="Sign in with Keycloak").click()
    expect(page.locator("#kc-login")).to_be_visible()


def test_the_client_entered_by_hand_is_the_imported_one(keycloak: Keycloak, chromium: Browser) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 1600})

    enter_client(page, keycloak, "https://sso.example.com")

    page.close()
    [entered] = keycloak.admin("GET", f"/{REALM}/clients?clientId={CLIENT}")
    shown = shown_client()
    named = shown.keys() - {"clientId", "name", "webOrigins", "attributes", "protocolMappers"}
    assert {name: entered[name] for name in named} == {name: shown[name] for name in named}
    assert entered["attributes"].items() >= shown["attributes"].items()
    [mapper], [shown_mapper] = entered["protocolMappers"], shown["protocolMappers"]
    assert mapper["protocolMapper"] == shown_mapper["protocolMapper"]
    assert mapper["config"].items() >= shown_mapper["config"].items()


def test_a_user_confirms_once_in_keycloak(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, installation.app("/"), person[0])
    portal = installation.portal.origin("portal")

    page.goto(f"{portal}/accounts/providers/confirm/")
    page.get_by_role("button", name="Confirm with Keycloak").click()
    page.fill("#password", PASSWORD)
    page.click("#kc-login")

    expect(page).to_have_url(f"{portal}/accounts/providers/")


AUDIENCE = "https://api.example.com"
A_ROBOT = """
import django; django.setup()
from accounts.models import User
User.objects.create(username="robot")
"""


def test_a_program_with_a_service_account_acts_as_the_user_it_is_linked_to(
    installation: Installation,
) -> None:
    token = installation.keycloak.token_of_program("backup", AUDIENCE)
    subject = jwt.decode(token, options={"verify_signature": False})["sub"]
    installation.manage("-c", A_ROBOT)
    installation.manage("manage.py", "upstream", "change", "keycloak", "--machine-audience", AUDIENCE)

    def status(token: str) -> int:
        return installation.proxy.ask("/data", headers=FETCH | {"Authorization": f"Bearer {token}"}).status

    before = status(token)
    installation.manage("manage.py", "upstream", "link", "keycloak", subject, "robot")

    assert before == 401
    assert eventually(lambda: status(token) == 200, 5)
    assert status(installation.keycloak.token_of_program("other", "https://other.example.com")) == 401


def test_an_applications_id_token_opens_no_other_application(
    installation: Installation, page: Page, person: tuple[str, str]
) -> None:
    sign_in(page, f"{installation.portal.origin('wiki')}/", person[0])
    received = installation.proxy.backend.take()[0]
    [access], [authorization] = (received.all(n) for n in ("X-Auth-Request-Access-Token", "Authorization"))
    installation.manage("manage.py", "upstream", "change", "keycloak", "--machine-audience", AUDIENCE)

    for token in (access, authorization.removeprefix("Bearer ")):
        headers = FETCH | {"Authorization": f"Bearer {token}"}
        assert installation.proxy.ask("/data", headers=headers).status == 401


def test_the_page_names_the_portals_own_addresses() -> None:
    client = shown_client()

    assert client["redirectUris"] == ["https://sso.example.com/upstreams/keycloak/callback"]
    for address in (client["attributes"]["backchannel.logout.url"], client["redirectUris"][0]):
        assert PAGE.read_text().count(address) == 1


def test_a_running_keycloak_does_not_change_the_kept_folder(keycloak: Keycloak, chromium: Browser) -> None:
    page = chromium.new_page()

    page.goto(f"{keycloak.issuer}/account")  # Keycloak compresses the theme's files into its own folder
    expect(page.locator("#kc-login")).to_be_visible()

    page.close()
    written = [path for path in keycloak.kept.rglob("*") if path.lstat().st_mtime >= keycloak.begun]
    assert not written
