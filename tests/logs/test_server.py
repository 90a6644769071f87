"""What the running server writes to standard error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import RequestFactory
from pytest_django.plugin import DjangoDbBlocker

from authgate.logs.request_ids import begin_request, current_request
from ikd_portal.error_pages import server_error
from tests.feed.cluster import Cluster
from tests.front.serving import Cast, Database, Portal, cast, check_bytes, eventually, signed_in
from tests.own_database import create_database_in

TOKEN = "Zx81hPq0dF7wKLmN2tRvB5yJcGsA3eQuT9oXiWbD6nE"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}


def lines(portal: Portal, since: int = 0) -> list[dict[str, Any]]:
    """Return every line of the server's output as JSON."""
    return [json.loads(line) for line in portal.log.read_text()[since:].splitlines()]


def page(portal: Portal, path: str, **headers: str) -> Any:
    with portal.connect() as one:
        one.send(
            sent(f"GET {path}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()))
        )
        return one.reply()


@pytest.fixture
def broken_table(database: Database) -> Iterator[None]:
    """Break the page of an invitation. The rest of the portal works."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_invitation RENAME TO gone")
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE gone RENAME TO accounts_invitation")


def test_master_and_workers_write_only_json_lines(portal: Portal) -> None:
    assert eventually(lambda: any("Booting worker" in line["message"] for line in lines(portal)))

    said = lines(portal)
    assert {"gunicorn.error", "uvicorn.error"} <= {line["logger"] for line in said}
    assert len({line["process"] for line in said}) == 3
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in said)


def test_the_page_of_a_failure_shows_the_number_of_its_traceback(portal: Portal, broken_table: None) -> None:
    replies = [page(portal, f"/invitation/{TOKEN}/", X_Request_ID="0" * 12) for _ in range(3)]
    shown = [re.findall(r"Reference: ([0-9a-f]{12})", reply.body.decode()) for reply in replies]

    assert [reply.status for reply in replies] == [500] * 3
    assert all(len(each) == 1 and each != ["0" * 12] for each in shown)
    found = [line for line in lines(portal) if line.get("request") == shown[0][0]]
    missing = "no such table" if connection.vendor == "sqlite" else "does not exist"
    assert [line for line in found if missing in line.get("exception", "")]
    assert all("onboarding/views.py" in line["exception"] for line in found if "exception" in line)
    # The other failures equal the first, so a count lists them.
    assert eventually(lambda: shown[1][0] in str(lines(portal)) and shown[2][0] in str(lines(portal)))
    (count,) = [line for line in lines(portal) if shown[1][0] in line.get("requests", ())]
    assert (count["repeated"], missing in count["exception"]) == (2, True)
    assert TOKEN not in portal.log.read_text()


def test_if_templates_fail_a_bare_page_shows_the_number(settings: Any) -> None:
    settings.TEMPLATES = [settings.TEMPLATES[0] | {"DIRS": [], "APP_DIRS": False}]
    begin_request()

    response = server_error(RequestFactory().get("/"))

    assert response.status_code == 500
    assert f"Reference: {current_request.get()}" in response.content.decode()


def test_a_refusal_is_a_line_with_the_number_that_the_proxy_got(portal: Portal, people: Cast) -> None:
    reply = portal.ask(people.bob_cookie, path="/a%0a?token=SECRET")
    decision = reply.header("x-auth-decision")

    def of_it() -> list[dict[str, Any]]:
        return [line for line in lines(portal) if line.get("decision") == decision]

    assert reply.status in (400, 403) and decision
    assert eventually(lambda: bool(of_it()))
    (line,) = of_it()
    assert line["logger"] == "ikd.refusals"
    assert "SECRET" not in portal.log.read_text()


def test_a_security_event_is_a_line(portal: Portal, people: Cast) -> None:
    way_out = "/authgate/sign_out"
    with portal.connect() as one:
        more = {"path": way_out, "check": way_out, "Sec_Fetch_Site": "same-origin"}
        assert one.check(signed_in(people.alice), **more).status in (302, 303)

    found = [line for line in lines(portal) if line["logger"] == "ikd.security"]
    assert [(line["message"], line["event"]["actor"]) for line in found] == [("sign_out", "alice")]


def sent(start: str, *headers: str, body: bytes = b"") -> bytes:
    """Return the bytes of a request for a page, in Latin-1."""
    wanted = [f"{start} HTTP/1.1", "Host: sso.example.com", "X-Forwarded-Proto: https", *headers]
    return "\r\n".join([*wanted, "", ""]).encode("latin-1") + body


FORM = b"login=%0a%1b%e2%80%a8%22&password=SECRET&csrfmiddlewaretoken=" + b"a" * 32
HOSTILE = {
    "a path with line breaks": sent("GET /a%0d%0a%7b%22level%22:%22x%22%7d%1b%5b2K?code=SECRET"),
    "a path with Unicode controls": "GET /\u2028\u202e\x85 HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a host with an escape": b"GET /accounts/login/ HTTP/1.1\r\nHost: sso\x1b[2K.example.com\r\n\r\n",
    "a host that is none": b"GET /accounts/login/ HTTP/1.1\r\nHost: a b\xe2\x80\xa8c\r\n\r\n",
    "a bare line feed": b'GET /accounts/login/ HTTP/1.1\nHost: x\nX: {"level": "forged"}\n\n',
    "no HTTP at all": b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\n{"level": "forged"}\r\n\r\n',
    "an agent and a referrer": sent("GET /no", "User-Agent: \x9b2K\x85", "Referer: https://x/?code=SECRET"),
    "an origin of a form": sent(
        "POST /accounts/login/?code=SECRET", "Origin: https://\x9b2Kx\xe2\x80\xa8", "Content-Length: 0"
    ),
    "a name to sign in with": sent(
        "POST /accounts/login/",
        "Origin: https://sso.example.com",
        "Cookie: __Host-ikd_csrf=" + "a" * 32,
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(FORM)}",
        body=FORM,
    ),
    "a code of a provider": sent("GET /upstreams/none/callback?code=SECRET&state=SECRET"),
}


@pytest.mark.parametrize("octets", HOSTILE.values(), ids=HOSTILE)
def test_no_client_forges_or_multiplies_a_line(octets: bytes, portal: Portal) -> None:
    before = len(portal.log.read_text())
    for _ in range(30):
        with portal.connect() as one:
            one.send(octets)
            one.is_closed(0.05)
    page(portal, "/accounts/login/")

    text = portal.log.read_text()[before:]
    assert all(isinstance(json.loads(line)["process"], int) for line in text.splitlines())
    assert text.replace("\n", "").isprintable() and text.isascii()
    # Attempts to sign in are events, within their limits. Counts of other errors may be written meanwhile.
    assert len([line for line in text.splitlines() if '"event"' not in line]) <= 8
    assert len(text.splitlines()) <= 15
    assert "SECRET" not in text


def test_requests_that_upgrade_write_nothing(portal: Portal, people: Cast) -> None:
    cookie, before = signed_in(people.alice), len(portal.log.read_text())
    for _ in range(10):
        with portal.connect() as one:
            one.send(check_bytes(cookie, **UPGRADE))
            assert one.reply().status == 200
    page(portal, "/accounts/login/", **UPGRADE)

    said = [line for line in lines(portal, before) if "repeated" not in line]  # counts of earlier errors
    assert [line for line in said if line["logger"] != "ikd.security"] == []


@pytest.fixture
def on_postgresql(
    cluster: Cluster, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[tuple[Portal, Cast]]:
    database = cluster.database("logged", "pattern")
    with django_db_blocker.unblock(), database.connected():
        people = cast()
        portal = Portal(tmp_path, database, IKD_STALE_GRACE="1")
        try:
            yield portal.start(), people
        finally:
            portal.stop()


@pytest.mark.parametrize("how", ["hangs", "is gone"])
def test_a_flood_of_checks_without_a_database_writes_few_lines(
    how: str, on_postgresql: tuple[Portal, Cast], cluster: Cluster
) -> None:
    portal, people = on_postgresql
    assert portal.ask(people.alice_cookie).status == 200
    before = len(portal.log.read_text())
    (cluster.suspend if how == "hangs" else cluster.stop)()
    try:
        assert eventually(lambda: portal.ask(people.alice_cookie).status == 503)
        with portal.connect() as one:
            decisions = [
                one.check(people.alice_cookie if number % 2 else f"__Host-ikd_gate=cold-{number}")
                for number in range(400)
            ]
        pages = [page(portal, "/accounts/login/").status for _ in range(50 if how == "is gone" else 0)]
    finally:
        (cluster.resume if how == "hangs" else cluster.start)()
    assert eventually(lambda: portal.ask(people.alice_cookie).status == 200)
    portal.stop()

    said = lines(portal, before)
    assert {reply.status for reply in decisions} == {503}
    assert set(pages) <= {500, 503}
    assert len([line for line in said if line["logger"].startswith(("ikd", "django"))]) < 40
    causes = [line["message"] for line in said if line["message"].startswith("checks that need the database")]
    assert causes and ("has hung for" if how == "hangs" else "OperationalError") in causes[0]
    assert sum(line.get("repeated", 0) for line in said) >= 390
    assert any(decisions[0].header("x-auth-decision") in str(line) for line in said)
    assert any("can be read again" in line["message"] for line in said)


def test_a_client_cannot_forge_text_lines_either(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:
    database = Database(create_database_in(tmp_path))
    with django_db_blocker.unblock(), database.connected(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_invitation RENAME TO gone")
    portal = Portal(tmp_path, database, IKD_LOG_FORMAT="text").start()
    try:
        number = re.findall(r"Reference: (\w+)", page(portal, f"/invitation/{TOKEN}/").body.decode())[0]
        for octets in HOSTILE.values():
            with portal.connect() as one:
                one.send(octets)
                one.is_closed(0.05)
    finally:
        portal.stop()

    text = portal.log.read_text()
    begins = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) [\w.]+: |    \| ")
    assert all(begins.match(line) for line in text.splitlines())
    assert text.replace("\n", "").isprintable()
    assert f'request="{number}"' in text
    assert TOKEN not in text and "SECRET" not in text


def test_a_wrong_setting_ends_the_server_with_one_line(tmp_path: Path) -> None:
    portal = Portal(tmp_path, Database("sqlite://"), IKD_LOG_LEVEL="loud")

    with pytest.raises(RuntimeError):
        portal.start()

    (line,) = lines(portal)
    assert line["level"] == "critical"
    assert line["message"].startswith("IKD_LOG_LEVEL must be one of debug, info")
