"""Which web pages may read the provider's answers in a browser."""

from __future__ import annotations

from typing import Any

import pytest

from authgate.models import Application
from openid.models import Client
from openid.protocol.redirect_uris import origin_of
from tests.accounts.conftest import PortalClient
from tests.openid.relying_party import RelyingParty, register

PAGE = "https://page.example.com"
TOLD = "Access-Control-Allow-Origin"
CLIENTS_ONLY = ("/openid/token", "/openid/userinfo", "/openid/revoke")
PUBLIC = ("/.well-known/openid-configuration", "/openid/keys.json")


@pytest.fixture
def page(wiki: Application) -> RelyingParty:
    """A page that signs users in as a public client."""
    uris = f"{PAGE}/callback\nhttp://127.0.0.1/callback\ncom.example.app:/callback"
    return register(wiki, kind=Client.Kind.PUBLIC, redirect_uris=uris)


def preflight(path: str, origin: str, **headers: str) -> Any:
    asked = {"HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST", **headers}
    browser = PortalClient(HTTP_HOST="sso.example.com")
    return browser.options(path, HTTP_ORIGIN=origin, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", CLIENTS_ONLY)
def test_a_public_clients_page_may_ask_and_read(page: RelyingParty, path: str) -> None:
    answer = preflight(path, PAGE, HTTP_ACCESS_CONTROL_REQUEST_HEADERS="authorization")
    asked = page.post(path, {"grant_type": "refresh_token", "refresh_token": "x"}, HTTP_ORIGIN=PAGE)

    assert (answer.status_code, answer[TOLD]) == (204, PAGE)
    assert "Authorization" in answer["Access-Control-Allow-Headers"]
    assert asked[TOLD] == PAGE
    assert asked["Access-Control-Expose-Headers"] == "WWW-Authenticate"
    for each in (answer, asked):
        assert "Origin" in each["Vary"]
        assert "Access-Control-Allow-Credentials" not in each


OTHERS = (
    "https://evil.example.com",
    "http://page.example.com",
    "https://page.example.com:8443",
    "https://page.example.co",
    "https://age.example.com",
    "https://PAGE.example.com",
    "https://page.example.com/",
    "https://page.example.com\x00",
    "https://page.example.com, https://page.example.com",
    "https://%.example.com",
    "http://127.0.0.1:8000",
    "com.example.app:",
    "null",
    "*",
    "x" * 10_000,
)


@pytest.mark.parametrize("origin", OTHERS, ids=lambda origin: origin[:40])
def test_pages_of_other_origins_read_nothing(page: RelyingParty, origin: str) -> None:
    answer = preflight("/openid/token", origin)
    asked = page.post("/openid/token", {"grant_type": "authorization_code"}, HTTP_ORIGIN=origin)

    assert (answer.status_code, asked.status_code) == (403, 400)
    assert not answer.has_header(TOLD) and not asked.has_header(TOLD)


def test_pages_of_confidential_or_disabled_clients_read_nothing(
    rp: RelyingParty, page: RelyingParty, wiki: Application
) -> None:
    confidential = preflight("/openid/token", "https://wiki.example.com")
    Client.objects.filter(pk=page.client.pk).update(enabled=False)
    disabled = preflight("/openid/token", PAGE)
    Client.objects.filter(pk=page.client.pk).update(enabled=True)
    Application.objects.filter(pk=wiki.pk).update(enabled=False)

    assert (confidential.status_code, disabled.status_code) == (403, 403)
    assert preflight("/openid/token", PAGE).status_code == 403


@pytest.mark.parametrize("path", PUBLIC)
def test_every_page_may_read_what_is_public_without_credentials(wiki: Application, path: str) -> None:
    browser = PortalClient(HTTP_HOST="sso.example.com")
    for answer in (preflight(path, "https://evil.example.com"), browser.get(path)):
        assert answer.status_code in (200, 204)
        assert answer[TOLD] == "*"
        assert "Access-Control-Allow-Credentials" not in answer


@pytest.mark.parametrize(
    "path",
    ["/openid/authorize", "/openid/introspect", "/openid/logout", "/openid/consent", "/", "/accounts/login/"],
)
def test_no_page_reads_anything_else(page: RelyingParty, path: str) -> None:
    browser = PortalClient(HTTP_HOST="sso.example.com")

    assert not preflight(path, PAGE).has_header(TOLD)
    assert not browser.get(path, HTTP_ORIGIN=PAGE).has_header(TOLD)  # type: ignore[arg-type]


def test_a_request_without_an_origin_makes_no_additional_query(
    page: RelyingParty, django_assert_num_queries: Any
) -> None:
    fields = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": page.client.client_id}
    page.post("/openid/token", fields)
    with django_assert_num_queries(2):
        page.post("/openid/token", fields)
    with django_assert_num_queries(3):
        page.post("/openid/token", fields, HTTP_ORIGIN=PAGE)


@pytest.mark.parametrize(
    ("uri", "origin"),
    [
        ("https://page.example.com/callback", "https://page.example.com"),
        ("https://Page.Example.com:443/callback", "https://page.example.com"),
        ("http://[::1]:8080/callback", "http://[::1]:8080"),
        ("https://page.example.com:8443", "https://page.example.com:8443"),
        ("https://page.example.com?https://evil.example.com", "https://page.example.com"),
        ("com.example.app:/callback", ""),
        ("https://page.example.com:99999/", ""),
    ],
)
def test_the_origin_of_a_redirect_uri(uri: str, origin: str) -> None:
    assert origin_of(uri) == origin
