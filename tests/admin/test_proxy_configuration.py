"""The page with the proxy configuration: who may open it, which files it shows, and what it refuses."""

from __future__ import annotations

import html
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from authgate.models import Application
from authgate.proxy_configuration.configuration import configuration
from authgate.proxy_configuration.proxies import KINDS
from tests.factories import ApplicationFactory, UserFactory

pytestmark = pytest.mark.django_db

WIKI = "https://wiki.example.com"
SENT = {"proxy": "nginx", "backend": "127.0.0.1:9001", "portal_at": "127.0.0.1:8000", "api": "/api/"}


@pytest.fixture
def wiki(settings: Any) -> Application:
    settings.IKD_PORTAL_ORIGIN = "https://sso.example.com"
    return ApplicationFactory(name="Wiki", origins=[WIKI, "https://*.wiki.example.com"])


@pytest.fixture
def pats(browser_of: Callable[[User], Client]) -> tuple[User, Client]:
    """Staff without any permission."""
    pat = UserFactory(username="pat", is_staff=True)
    return pat, browser_of(pat)


def page_of(application: Application) -> str:
    return f"/admin/authgate/application/{application.pk}/proxy/"


def test_the_page_needs_the_permission_to_view_the_application(
    wiki: Application, pats: tuple[User, Client]
) -> None:
    pat, client = pats
    refused = [client.get(page_of(wiki), sent).status_code for sent in ({}, SENT, SENT | {"file": "all"})]
    pat.user_permissions.add(Permission.objects.get(codename="view_application"))

    assert refused == [403, 403, 403]
    assert client.get(page_of(wiki), SENT).status_code == 200
    link = page_of(wiki)
    assert link in client.get(f"/admin/authgate/application/{wiki.pk}/change/").content.decode()


def test_an_unknown_application_is_not_found(carols: Client, wiki: Application) -> None:
    for number in (wiki.pk + 1, 10**18, 10**30):
        assert carols.get(f"/admin/authgate/application/{number}/proxy/").status_code == 404


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_shows_the_files(carols: Client, wiki: Application, kind: str) -> None:
    backend, portal_at = KINDS[kind].examples
    sent = {"proxy": kind, "backend": backend, "portal_at": portal_at, "api": "/api/"}
    shown = html.unescape(carols.get(page_of(wiki), sent).content.decode())

    found = configuration(kind, [WIKI], backend, portal_at, "/api/")
    for file in found.files:
        assert file.text in shown
    assert "https://*.wiki.example.com" in shown


def test_one_file_or_all_files_can_be_downloaded(carols: Client, wiki: Application) -> None:
    one = carols.get(page_of(wiki), SENT | {"file": "ikd/ask.conf"})
    archive = carols.get(page_of(wiki), SENT | {"file": "all"})
    none = carols.get(page_of(wiki), SENT | {"file": "../ask.conf"})

    files = {file.name: file.text for file in configuration("nginx", [WIKI], *list(SENT.values())[1:]).files}
    assert one.content.decode() == files["ikd/ask.conf"]
    assert one["Content-Disposition"] == 'attachment; filename="ask.conf"'
    assert one["Content-Type"] == "text/plain; charset=utf-8"
    with zipfile.ZipFile(io.BytesIO(archive.content)) as found:
        assert {name: found.read(name).decode() for name in found.namelist()} == files
    assert none.status_code == 404


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend", "app:80;\nreturn 200"),
        ("backend", "app:80\0"),
        ("portal_at", "<script>:80"),
        ("api", "/api/ { }"),
        ("proxy", "apache"),
    ],
)
def test_odd_values_are_refused_and_stay_in_the_form(
    carols: Client, wiki: Application, name: str, value: str
) -> None:
    for file in ({}, {"file": "all"}):
        reply = carols.get(page_of(wiki), SENT | {name: value} | file)
        shown = reply.content.decode()
        assert reply.status_code == 200
        assert "errorlist" in shown and "<textarea" not in shown and "<script>:" not in shown


def test_the_page_explains_that_the_application_has_no_suitable_origin(
    carols: Client, wiki: Application
) -> None:
    wiki.origins.filter(value=WIKI).delete()
    shown = html.unescape(carols.get(page_of(wiki), SENT).content.decode())

    assert "The application has no origin for a configuration." in shown
    assert "<textarea" not in shown


def test_the_page_warns_about_a_header_that_the_files_do_not_remove(
    carols: Client, wiki: Application
) -> None:
    before = carols.get(page_of(wiki), SENT).content.decode()
    Application.objects.update(username_header=True)

    assert "clients can forge it" not in before
    assert "clients can forge it" in carols.get(page_of(wiki), SENT).content.decode()
