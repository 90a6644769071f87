"""The instructions for applications: the admin's page, the docs from the same data, and which are tested."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser

from accounts.models import User
from openid.instructions import APPLICATIONS, Instructions, named
from openid.models import Client
from openid.protocol import redirect_uris
from openid.protocol.authorization import SCOPES
from tests.admin.conftest import browser_of, carols, sam  # noqa: F401
from tests.openid.go import PROGRAMS
from tests.openid.relying_party import RelyingParty
from tests.proxies.proxy import DEPLOY
from tools.openid_applications import PAGE, page

TRIED = {
    "oauth2-proxy": ("oauth2-proxy.cfg", "test_client_oauth2_proxy.py"),
    "mod-auth-openidc": ("mod_auth_openidc.conf", "test_client_mod_auth_openidc.py"),
    "miniflux": ("miniflux.conf", "test_client_miniflux.py"),
}
"""The shipped file that a test runs, and the test."""

each_application = pytest.mark.parametrize("of", APPLICATIONS, ids=lambda of: of.slug)


def setup(rp: RelyingParty, slug: str = "") -> str:
    return f"/admin/openid/client/{rp.client.pk}/setup/" + (f"?for={slug}" if slug else "")


def test_the_docs_have_the_same_data() -> None:
    assert PAGE.read_text() == page()


def test_at_least_ten_applications_are_described_each_once() -> None:
    assert len({each.slug for each in APPLICATIONS}) == len(APPLICATIONS) >= 10


def test_only_tested_applications_are_called_tried() -> None:
    assert {each.slug for each in APPLICATIONS if each.tried} == set(TRIED)


@pytest.mark.parametrize("slug", TRIED)
def test_a_tried_application_has_the_version_and_settings_of_the_tested_file(slug: str) -> None:
    file, test = TRIED[slug]
    text, of = (DEPLOY / "openid-clients" / file).read_text(), named(slug)
    assert of is not None

    assert (Path(__file__).parent / test).exists()
    assert re.search(rf"Tested with .*{re.escape(of.tried)}\b", text)
    for name, _value in of.settings:
        assert name in text or f"{name}_FILE" in text or name == "OIDCClientSecret", name
    versions = [version for _module, version in PROGRAMS.values()]
    assert f"v{of.tried}" in versions or slug == "mod-auth-openidc"


@each_application
def test_templates_name_nothing_unknown_and_addresses_can_be_registered(of: Instructions) -> None:
    values = [*(value for _name, value in of.settings), *of.redirect_uris]
    used = {name for text in values for name in re.findall(r"\$(\w+)", text)}

    assert used <= {"issuer", "client_id", "secret", "scopes", "site"}
    assert set(of.scopes.split()) <= set(SCOPES)
    for uri in of.redirect_uris:
        assert redirect_uris.problem_of(uri.replace("$site", of.site), is_public=False) == ""


@each_application
def test_a_page_fills_in_the_clients_values_and_no_secret(
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
    of: Instructions,
) -> None:
    answer = carols.get(setup(rp, of.slug))
    body = answer.content.decode()

    assert rp.client.client_id in body and "https://sso.example.com" in body
    assert "$" not in "".join(value for _name, value in answer.context["fields"]["settings"])
    assert rp.secret not in body
    assert ("Tested with version" in body) is bool(of.tried)
    assert ("Not tested." in body) is not bool(of.tried)


def test_the_page_names_what_the_client_lacks(rp: RelyingParty, carols: Browser) -> None:  # noqa: F811
    Client.objects.update(redirect_uris="https://wiki.example.com/oidc/callback", scopes="openid")

    fields = carols.get(setup(rp, "bookstack")).context["fields"]

    assert fields["redirect_uris"] == [("https://wiki.example.com/oidc/callback", True)]
    assert fields["missing_scopes"] == "profile email groups"
    fields = carols.get(setup(rp, "grafana")).context["fields"]
    assert fields["redirect_uris"] == [("https://wiki.example.com/login/generic_oauth", False)]


def test_the_page_says_that_a_public_client_does_not_fit(rp: RelyingParty, carols: Browser) -> None:  # noqa: F811
    Client.objects.update(kind="public", redirect_uris="com.example.app:/callback")

    answer = carols.get(setup(rp, "grafana"))

    assert b"This client is public." in answer.content
    assert "https://grafana.example.com/login/generic_oauth" in answer.content.decode()


@pytest.mark.parametrize("slug", ["", "nothing", "%00", "../admin", "x" * 5000])
def test_an_unknown_application_shows_only_the_choice(
    rp: RelyingParty,
    carols: Browser,  # noqa: F811
    slug: str,
) -> None:
    answer = carols.get(setup(rp, slug))

    assert (answer.status_code, answer.context["chosen"]) == (200, None)


def test_users_who_may_not_view_clients_see_nothing(
    rp: RelyingParty,
    sam: User,  # noqa: F811
    browser_of: Any,  # noqa: F811
) -> None:
    sam.user_permissions.remove(*Permission.objects.filter(codename="view_client"))

    assert browser_of(sam).get(setup(rp, "grafana")).status_code == 403
