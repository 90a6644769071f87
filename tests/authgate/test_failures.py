"""Internal failures answer 503 with a decision id, admit nobody, and log no secret."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import caches
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from authgate.check.responses import Answer
from authgate.decision.evaluation import decide
from authgate.decision.rules import Verdict
from authgate.decision.target import Target
from authgate.endpoints import check_view
from authgate.models import Rule
from authgate.worker import loader
from tests.authgate.asking import NAVIGATION, WIKI, Headers, endpoint, forwarded, raw_endpoint, signed_in
from tests.authgate.browser import Browser
from tests.factories import ApplicationFactory

pytestmark = pytest.mark.usefixtures("wiki")

Ask = Callable[[str], HttpResponse]
CODE = "C" * 43


def check(path: str, url: str = f"{WIKI}/page", hints: Headers = NAVIGATION) -> Ask:
    return lambda cookie: raw_endpoint(path, [*forwarded(url), *hints], cookie=cookie)


def oauth2(cookie: str) -> HttpResponse:
    headers = [(b"host", b"wiki.example.com"), (b"x-scheme", b"https"), (b"x-real-ip", b"192.0.2.1")]
    return raw_endpoint("/oauth2/auth", headers, cookie=cookie)


ASKED: dict[str, Ask] = {
    "nginx": check("/authgate/nginx"),
    "traefik": check("/authgate/traefik"),
    "oauth2": oauth2,
    "a code": check("/authgate/traefik", f"{WIKI}/?ikdcode={CODE}"),
    "start": lambda cookie: endpoint("/authgate/start?rd=/", WIKI, NAVIGATION, cookie=cookie),
    "callback": lambda cookie: endpoint(
        f"/authgate/callback?ikdcode={CODE}", WIKI, NAVIGATION, cookie=cookie
    ),
    "sign_out": lambda cookie: endpoint("/authgate/sign_out", WIKI, NAVIGATION, cookie=cookie),
    "userinfo": lambda cookie: endpoint("/authgate/userinfo", WIKI, cookie=cookie),
    "refused": lambda cookie: endpoint("/authgate/refused", WIKI, NAVIGATION, cookie=cookie),
}


@contextmanager
def failing_from(query: int) -> Iterator[list[int]]:
    """Let every query after the first `query` ones fail."""
    asked = [0]

    def fail(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked[0] += 1
        if asked[0] > query:
            raise OperationalError("the database went away")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        yield asked


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_nobody_gets_in_if_any_query_fails(ask: Ask, alice: User, caplog: pytest.LogCaptureFixture) -> None:
    cookie = signed_in(alice)
    token = cookie.partition("=")[2]
    for query in range(10):
        with failing_from(query) as asked, caplog.at_level(logging.DEBUG, "ikd"):
            response = ask(cookie)
        if asked[0] <= query:
            break
        assert response.status_code == 503
        assert len(response["X-Auth-Decision"]) == 12
        assert caplog.records[-1].decision == response["X-Auth-Decision"]  # type: ignore[attr-defined]
        assert b"does not answer" in response.content or response.content == b""
        assert b"alice" not in response.content
        assert "X-Auth-Request-User" not in response
    assert asked[0] > 0
    assert token not in caplog.text
    assert CODE not in caplog.text


@pytest.mark.parametrize("name", ["a code", "callback"])
@pytest.mark.parametrize("method", ["get", "delete"])
def test_nobody_gets_in_if_codes_cannot_be_read(
    name: str, method: str, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(style="redirect" if name == "a code" else "status")
    browser.sign_in(alice)
    url = browser.code_url(f"{WIKI}/")

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("Redis went away")

    monkeypatch.setattr(caches["codes"], method, fail)
    response = browser.ask(url)

    assert response.status_code == 503
    assert "Set-Cookie" not in response


def test_the_check_of_a_signed_in_user_needs_no_cache(alice: User, settings: Settings) -> None:
    settings.CACHES = {alias: {"BACKEND": "no.such.Cache"} for alias in ("default", "codes")}

    assert ASKED["nginx"](signed_in(alice)).status_code == 200


def test_an_invalid_trusted_network_trusts_nobody(alice: User, settings: Settings) -> None:
    cookie = signed_in(alice)
    settings.IKD_TRUSTED_PROXIES = ["not a network"]

    assert ASKED["nginx"](cookie).status_code == 503


@pytest.mark.parametrize("path", ["start", "sign_in", "callback", "sign_out", "refused"])
def test_a_check_of_an_endpoint_is_never_let_through(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(check_view.ENDPOINTS, path, lambda visit, memory: Answer(200))

    assert check("/authgate/traefik", f"{WIKI}/authgate/{path}")("").status_code == 503


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("host", ["sso.example.com", "10.0.0.1:8000", "evil.example", ""])
def test_health_and_readiness_pages_answer_under_any_host(path: str, host: str) -> None:
    assert Client(HTTP_HOST=host).get(path).status_code == 200


def test_the_portal_is_not_ready_without_a_database() -> None:
    with failing_from(0):
        assert Client().get("/readyz").status_code == 503
        assert Client().get("/healthz").status_code == 200


# ---- the portal's pages on another name -------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "wiki.example.com",
        "sso.example.com.evil.example",
        "sso.example.com:8443",
        "sso.example.com@evil.example",
        "sso.example.com, evil.example",
        "xsso.example.com",
        "",
        "127.0.0.1:8000",
    ],
)
@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/continue", "/admin/", "/signed-out", "/nothing"])
def test_the_portals_pages_do_not_exist_under_another_host(path: str, host: str) -> None:
    response = Client(HTTP_HOST=host).get(path, secure=True, headers={"X-Forwarded-Host": "sso.example.com"})

    assert response.status_code == 404
    assert "Location" not in response
    assert "Set-Cookie" not in response
    assert b"evil" not in response.content


@pytest.mark.parametrize(
    "host", ["sso.example.com", "SSO.Example.COM", "sso.example.com.", "sso.example.com:443"]
)
def test_the_portals_host_counts_in_every_spelling(host: str) -> None:
    assert Client(HTTP_HOST=host).get("/accounts/login/", secure=True).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/authgate",
        "/authgate/",
        "/authgate/apache",
        "/authgate/envoys/",
        "//authgate/nginx",
        "/authgate/nginx/x",
        "/AUTHGATE/nginx",
    ],
)
def test_unknown_paths_beside_the_check_are_not_found(path: str, alice: User) -> None:
    response = raw_endpoint(
        path, [*forwarded(f"{WIKI}/"), (b"host", b"wiki.example.com")], cookie=signed_in(alice)
    )

    assert response.status_code == 404


def test_an_application_with_the_portals_origin_changes_nothing(alice: User) -> None:
    ApplicationFactory(name="Portal", origins=["https://sso.example.com"], groups=["nobody"])

    headers, cookie = forwarded("https://sso.example.com/"), signed_in(alice)

    refused = raw_endpoint("/authgate/nginx", headers, cookie=cookie)
    allowed = raw_endpoint("/authgate/nginx", headers, "allow_portal=true", cookie)

    assert refused.status_code == 403
    assert (allowed.status_code, allowed["X-Auth-Request-User"]) == (200, "")


@pytest.mark.parametrize("text", [" ", ",", " , "])
def test_a_rule_with_malformed_networks_admits_nobody(text: str) -> None:
    """Validation refuses such text, but raw SQL can store it."""
    Rule.objects.update(who="everyone", networks=text)

    for found in (loader.load_application(WIKI), *loader.load_applications()):
        assert found is not None
        assert decide(found, Target(WIKI, "GET", "/", "192.0.2.1"), None, 0.0).verdict is Verdict.REFUSE
