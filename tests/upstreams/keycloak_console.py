"""Keycloak's own console, in which an administrator enters the client as docs/keycloak.md describes."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.upstreams.keycloak import PASSWORD, REALM, Keycloak

CLIENT = "entered-by-hand"


def enter_client(page: Page, keycloak: Keycloak, portal: str) -> None:
    """Do the steps of the page, in their order."""
    page.goto(f"{keycloak.url}/admin/master/console/#/{REALM}/clients/add-client")
    page.fill("#username", "admin")
    page.fill("#password", PASSWORD)
    page.click("#kc-login")
    _create(page, portal)
    _switch_off_front_channel(page, portal)
    _map_groups(page)
    _limit_scope(page, keycloak)
    _want_pkce(page, keycloak)


def _create(page: Page, portal: str) -> None:
    page.get_by_label("Client ID").fill(CLIENT)
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Client authentication").set_checked(True, force=True)
    page.get_by_label("Direct access grants").uncheck()
    page.get_by_role("button", name="Next").click()
    page.get_by_test_id("redirectUris0").fill(f"{portal}/upstreams/keycloak/callback")
    page.locator("[data-testid*='logout'][data-testid$='uris0']").fill(f"{portal}/signed-out")
    page.get_by_role("button", name="Save").click()


def _switch_off_front_channel(page: Page, portal: str) -> None:
    switch = page.get_by_label("Front channel logout")
    switch.wait_for(state="attached")
    assert switch.is_checked(), "on at first, as the page says"
    switch.set_checked(False, force=True)
    page.get_by_test_id("backchannelLogoutUrl").fill(f"{portal}/upstreams/keycloak/backchannel-logout")
    page.get_by_test_id("settings-save").click()
    page.get_by_text("Client successfully updated").first.wait_for()


def _map_groups(page: Page) -> None:
    page.get_by_test_id("clientScopesTab").click()
    page.get_by_role("link", name=f"{CLIENT}-dedicated").click()
    page.get_by_role("button", name="Configure a new mapper").click()
    page.get_by_text("Group Membership", exact=True).click()
    page.get_by_test_id("name").fill("groups")
    page.get_by_test_id("claim.name").fill("groups")
    page.get_by_test_id("full.path").set_checked(False, force=True)
    page.get_by_test_id("access.token.claim").set_checked(False, force=True)
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Mapping successfully created").first.wait_for()


def _limit_scope(page: Page, keycloak: Keycloak) -> None:
    page.goto(f"{keycloak.url}/admin/master/console/#/{REALM}/clients/{_id(keycloak)}/clientScopes/dedicated")
    page.get_by_role("tab", name="Scope", exact=True).click()
    switch = page.get_by_label("Full scope allowed")
    switch.click(force=True)
    expect(switch).not_to_be_checked()


def _want_pkce(page: Page, keycloak: Keycloak) -> None:
    page.goto(f"{keycloak.url}/admin/master/console/#/{REALM}/clients/{_id(keycloak)}/advanced")
    page.locator("#keyForCodeExchange").click()
    page.get_by_role("option", name="S256").click()
    with page.expect_response(lambda response: response.request.method == "PUT") as saved:
        page.get_by_test_id("OIDCAdvancedSave").click()  # the message of the first save may still be shown
    assert saved.value.ok


def _id(keycloak: Keycloak) -> str:
    id: str = keycloak.admin("GET", f"/{REALM}/clients?clientId={CLIENT}")[0]["id"]
    return id
