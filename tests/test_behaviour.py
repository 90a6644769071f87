"""The behaviour table against the view, in each contract: what a proxy receives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from authgate.models import ConfigurationEvent
from authgate.worker.write_behind import writer
from tests.authgate.asking import scope_of
from tests.behaviour import (
    FETCH,
    NAVIGATION,
    PORTAL,
    ROWS,
    SITES,
    Outcome,
    Row,
    api_tokens,
    create_people_and_sites,
    token_for,
)
from tests.dialects import Headers, check_request

pytestmark = pytest.mark.django_db

STYLES = {
    "/authgate/nginx": "status",
    "/authgate/ingress-nginx": "status",
    "/authgate/traefik": "redirect",
    "/authgate/caddy": "redirect",
    "/authgate/haproxy": "redirect",
    "/authgate/envoy": "redirect",
    "/oauth2/auth": "redirect",
}
WITH_FILTERS = [check for check in STYLES if check != "/authgate/envoy"]
"""Contracts with filters. Envoy's checks carry the browser's own query, so they cannot have any."""

MISTAKES = {
    "an empty filter": "allowed_groups=",
    "a filter of commas": "allowed_groups=,",
    "a filter twice": "allowed_groups=staff&allowed_groups=ops",
    "a filter twice, the other way round": "allowed_groups=ops&allowed_groups=staff",
    "an unknown filter": "allowed_group=staff",
    "an unknown filter beside a known one": "allowed_groups=staff&x=1",
    "a page to go to": "rd=https%3A%2F%2Fapp.example.com%2F",
    "a code": f"ikdcode={'A' * 43}",
    "nothing between ampersands": "allowed_groups=staff&&",
    "the portal allowed in other words": "allow_portal=1",
    "the portal allowed by nothing": "allow_portal=",
    "the portal allowed twice": "allow_portal=true&allow_portal=true",
}


gate_tokens: dict[tuple[str, str], str] = {}
"""By user and site."""

tokens_of_programs: dict[str, str] = {}


@pytest.fixture(scope="module")
def database_with_rows(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Create the table's rows in the database once. Each test's changes are rolled back."""
    users = {row.who for row in ROWS if row.who}
    with django_db_blocker.unblock(), transaction.atomic():
        create_people_and_sites()
        tokens_of_programs.update(api_tokens())
        gate_tokens.update(
            ((who, site), token_for(who, f"https://{host}")) for who in users for site, host in SITES.items()
        )
        yield
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def laid_out(database_with_rows: None, db: None, settings: Settings) -> None:
    settings.IKD_OAUTH2_CONTRACT = "traefik"


def ask(check: str, row: Row) -> HttpResponse:
    """Send a check as a proxy of that contract does, with raw headers."""
    site = SITES.get(row.site, row.site)
    sent = check_request(
        check, f"https://{site}{row.path}", method=row.method, client="127.0.0.1", query=row.query
    )
    hints = {name: value for name, value in row.headers.items() if name not in ("Upgrade", "Connection")}
    if row.authorization:
        hints["Authorization"] = row.authorization.format(**tokens_of_programs)
    if row.who and row.outcome is not Outcome.BY_CREDENTIAL:
        hints["Cookie"] = f"__Host-ikd_gate={gate_tokens[row.who, row.site]}"
    headers = [*sent.headers, *((name.encode(), value.encode("latin-1")) for name, value in hints.items())]
    return ask_raw(sent.target, headers, sent.method)


def ask_raw(target: str, raw: Headers, method: str = "GET") -> HttpResponse:
    path, _, query = target.partition("?")
    headers = [(name.lower(), value) for name, value in raw]
    environ: dict[str, Any] = {"QUERY_STRING": query}
    environ["asgi.scope"] = scope_of(path, query, headers, "127.0.0.1")
    response = Client().generic(method, unquote(path), **environ)
    assert isinstance(response, HttpResponse)
    return response


@pytest.mark.parametrize(
    ("check", "row"),
    [(check, row) for check in STYLES for row in ROWS if check in WITH_FILTERS or not row.query],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_check_has_the_outcome_of_the_table(check: str, row: Row) -> None:
    style = STYLES[check]
    outcome = (row.status or row.outcome) if style == "status" else row.outcome

    response = ask(check, row)

    EXPECTED[outcome](style, row, response)


@pytest.mark.parametrize("who", ["", "alice"])
@pytest.mark.parametrize("query", MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("check", WITH_FILTERS)
def test_a_wrong_query_is_refused(check: str, query: str, who: str) -> None:
    response = ask(check, Row("", Outcome.REFUSED, "/open", who=who, query=query))

    assert response.status_code == 403
    assert response["X-Auth-Decision"]


@pytest.mark.parametrize("check", STYLES)
def test_a_cookie_of_another_site_opens_nothing(check: str) -> None:
    cookie = f"__Host-ikd_gate={gate_tokens['alice', 'wiki']}"

    response = ask(check, Row("", Outcome.TOLD, headers=FETCH | {"Cookie": cookie}))

    assert response.status_code == 401


PORTAL_PATHS = ("/", "/accounts/login/", f"/x?ikdcode={'A' * 43}")


@pytest.mark.parametrize("path", PORTAL_PATHS)
@pytest.mark.parametrize("who", ["", "alice"])
@pytest.mark.parametrize("check", STYLES)
def test_a_check_for_the_portals_own_host_is_refused(check: str, who: str, path: str) -> None:
    """The client chooses this name, and many proxies serve an application under any name."""
    cookie = {"Cookie": f"__Host-ikd_gate={gate_tokens[who, 'app']}"} if who else {}
    for query in ("", "?", "?x=allow_portal=true"):
        response = ask(
            check, Row("", Outcome.REFUSED, path + query, site=PORTAL, headers=NAVIGATION | cookie)
        )

        assert response.status_code == 403
        assert "Location" not in response

    writer.flush()
    events = ConfigurationEvent.objects.filter(reason="the portal's own origin", origin=f"https://{PORTAL}")
    assert events.exists()


@pytest.mark.parametrize("path", PORTAL_PATHS)
@pytest.mark.parametrize("check", WITH_FILTERS)
def test_the_portals_own_site_is_open_if_the_checks_url_allows_it(check: str, path: str) -> None:
    response = ask(check, Row("", Outcome.OPEN, path, site=PORTAL, query="allow_portal=true"))

    assert (response.status_code, response.content) == (200, b"")
    assert response["X-Auth-Request-User"] == ""


@pytest.mark.parametrize("check", WITH_FILTERS)
def test_allowing_the_portals_site_opens_no_other_site(check: str) -> None:
    row = Row("", Outcome.TOLD, "/data", headers=FETCH, query="allow_portal=true")
    assert ask(check, row).status_code == 401

    signed_in = replace(row, who="bob", path="/staff/rota")
    assert ask(check, signed_in).status_code == 403


@pytest.mark.parametrize("query", ["allow_portal=true", "/?allow_portal=true"])
def test_a_browser_cannot_set_allow_portal(query: str) -> None:
    response = ask("/authgate/envoy", Row("", Outcome.REFUSED, f"/x?{query}", site=PORTAL))

    assert response.status_code == 403


@pytest.mark.parametrize(
    "site", ["other.example.com", "app.example.com.evil.example", "xapp.example.com", "example.com"]
)
@pytest.mark.parametrize("headers", [NAVIGATION, FETCH], ids=["page", "fetch"])
@pytest.mark.parametrize("check", STYLES)
def test_an_unknown_origin_is_refused(check: str, headers: dict[str, str], site: str) -> None:
    response = ask(check, Row("", Outcome.REFUSED, "/", site=site, headers=headers))

    assert response.status_code == 403
    assert "Location" not in response


@pytest.mark.parametrize("query", ["", "?allowed_groups=staff"])
def test_without_a_path_an_application_with_several_scopes_is_refused(settings: Settings, query: str) -> None:
    settings.IKD_OAUTH2_CONTRACT = "nginx"
    token = gate_tokens["alice", "app"]
    headers = [(b"host", b"app.example.com"), (b"x-scheme", b"https"), (b"x-real-ip", b"127.0.0.1")]

    response = ask_raw(f"/oauth2/auth{query}", [*headers, (b"cookie", f"__Host-ikd_gate={token}".encode())])

    assert response.status_code == 403


@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("bob", 403), ("", 401)])
def test_without_a_path_an_application_with_one_scope_is_decided(
    settings: Settings, who: str, status: int
) -> None:
    settings.IKD_OAUTH2_CONTRACT = "nginx"
    headers = [(b"host", b"ops.example.com"), (b"x-scheme", b"https"), (b"x-real-ip", b"127.0.0.1")]
    if who:
        cookie = f"__Host-ikd_gate={gate_tokens[who, 'ops']}"
        headers.append((b"cookie", cookie.encode()))

    response = ask_raw("/oauth2/auth", headers)

    assert response.status_code == status
    assert response.get("X-Auth-Request-User", "") == (who if status == 200 else "")


# ---- how an outcome looks ---------------------------------------------------------------------------------


def is_open(style: str, row: Row, response: HttpResponse) -> None:
    assert (response.status_code, response.content) == (200, b"")
    assert response["X-Auth-Request-User"] == row.who
    assert response["X-Auth-Request-Preferred-Username"] == row.who
    assert "Set-Cookie" not in response


def is_open_by_credential(style: str, row: Row, response: HttpResponse) -> None:
    is_open(style, row, response)
    assert "Authorization" not in response
    assert response["X-Auth-Credential"] == "portal"


def passes_on_the_applications_own(style: str, row: Row, response: HttpResponse) -> None:
    is_open(style, row, response)
    assert "X-Auth-Credential" not in response


def answers_a_wrong_credential_with_401(style: str, row: Row, response: HttpResponse) -> None:
    assert response.status_code == 401
    assert "invalid_token" in response["WWW-Authenticate"]
    assert set(json.loads(response.content)) == {"error", "decision"}
    assert "Location" not in response
    assert "X-Auth-Location" not in response
    assert len(response["X-Auth-Decision"]) == 12


def asks_to_sign_in(style: str, row: Row, response: HttpResponse, status: int = 302) -> None:
    if style == "status":
        assert (response.status_code, response.content) == (401, b"")
        assert response["X-Auth-Location"].startswith(
            f"https://{SITES[row.site]}/authgate/start?rd=https%3A%2F%2F"
        )
        return
    where = urlsplit(response["Location"])
    assert response.status_code == status
    assert (where.netloc, where.path, list(parse_qs(where.query))) == (PORTAL, "/continue", ["state"])
    assert response["Set-Cookie"].startswith("__Host-ikd_nonce=")
    assert "; HttpOnly" in response["Set-Cookie"]
    assert "no-store" in response["Cache-Control"]


def asks_to_sign_in_after_a_form(style: str, row: Row, response: HttpResponse) -> None:
    asks_to_sign_in(style, row, response, 303)


def shows_a_link(style: str, row: Row, response: HttpResponse) -> None:
    assert response.status_code == 401
    assert "Set-Cookie" not in response and "Location" not in response
    if style == "redirect":
        assert f'href="https://{SITES[row.site]}{row.path}" target="_blank"' in response.content.decode()


def answers_a_program_with_401(style: str, row: Row, response: HttpResponse) -> None:
    told = json.loads(response.content)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="ikD Portal"'
    assert "Location" not in response
    assert told["location"] == response["X-Auth-Location"]


def asks_a_program_for_basic(style: str, row: Row, response: HttpResponse) -> None:
    told = 'Basic realm="ikD Portal", charset="UTF-8", Bearer realm="ikD Portal"'
    assert (response.status_code, response["WWW-Authenticate"]) == (401, told)
    assert "Location" not in response


def refuses(style: str, row: Row, response: HttpResponse) -> None:
    assert response.status_code == 403
    assert len(response["X-Auth-Decision"]) == 12
    if style == "redirect":
        assert response["X-Auth-Decision"].encode() in response.content
        assert response["Content-Security-Policy"].startswith("default-src 'none'; style-src https://sso.")


def answers_a_program_with_403(style: str, row: Row, response: HttpResponse) -> None:
    assert response.status_code == 403
    assert response["X-Auth-Decision"]
    if style == "redirect":
        assert json.loads(response.content)["decision"] == response["X-Auth-Decision"]


def leads_to_the_clean_url(style: str, row: Row, response: HttpResponse) -> None:
    assert response.status_code == 302
    assert response["Location"].startswith(f"https://{SITES[row.site]}/page")
    assert "ikdcode" not in response["Location"]


EXPECTED = {
    Outcome.OPEN: is_open,
    Outcome.NAMED: is_open,
    Outcome.SIGN_IN: asks_to_sign_in,
    Outcome.SIGN_IN_AFTER_FORM: asks_to_sign_in_after_a_form,
    Outcome.FRAMED: shows_a_link,
    Outcome.TOLD: answers_a_program_with_401,
    Outcome.ASKED_FOR_BASIC: asks_a_program_for_basic,
    Outcome.REFUSED: refuses,
    Outcome.TOLD_REFUSED: answers_a_program_with_403,
    Outcome.WITHOUT_CODE: leads_to_the_clean_url,
    Outcome.BY_CREDENTIAL: is_open_by_credential,
    Outcome.PASSED_ON: passes_on_the_applications_own,
    Outcome.WRONG_CREDENTIAL: answers_a_wrong_credential_with_401,
}
