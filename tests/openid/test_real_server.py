"""The provider in the real server: a whole sign-in, and simultaneous uses of one code or token."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from authgate.models import SignIn
from authgate.sign_ins import end_sign_ins
from authgate.worker.feed import FRESH_FOR
from openid.models import Grant
from tests.accounts.conftest import PortalClient
from tests.front.serving import Database, Portal
from tests.openid.relying_party import CALLBACK, FORM, RelyingParty, basic

RACERS = 20


@pytest.fixture
def portal(database: Database, tmp_path: Path) -> Iterator[Portal]:
    portal = Portal(tmp_path, database, IKD_PAGE_WORKERS="2").start()
    yield portal
    portal.stop()


def send(portal: Portal, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Any:
    assert not isinstance(portal.address, str)
    connection = http.client.HTTPConnection(*portal.address, timeout=30)
    sent = {"Host": "sso.example.com", "X-Forwarded-Proto": "https", **headers}
    body = urlencode(form) if form else None
    connection.request(method, path, body, sent | ({"Content-Type": FORM} if form else {}))
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    return answer.status, json.loads(told) if told.startswith(b"{") else told


def exchange(portal: Portal, rp: RelyingParty, fields: dict[str, str]) -> Any:
    if rp.client.is_public:
        return send(portal, "POST", "/openid/token", {"client_id": rp.client.client_id, **fields})
    credentials = basic(rp.client.client_id, rp.secret)
    return send(portal, "POST", "/openid/token", fields, Authorization=credentials)


def code_fields(rp: RelyingParty, code: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "code_verifier": rp.verifier,
    }


def raced(portal: Portal, rp: RelyingParty, fields: dict[str, str]) -> list[Any]:
    with ThreadPoolExecutor(RACERS) as racers:
        return list(racers.map(lambda _: exchange(portal, rp, fields), range(RACERS)))


def userinfo(portal: Portal, token: str) -> int:
    return int(send(portal, "GET", "/openid/userinfo", Authorization=f"Bearer {token}")[0])


def test_case_15_one_of_many_simultaneous_exchanges_gets_the_tokens(
    browser: PortalClient, rp: RelyingParty, portal: Portal
) -> None:
    answers = raced(portal, rp, code_fields(rp, rp.code(browser)))

    assert sorted(status for status, _ in answers) == [200, *[400] * (RACERS - 1)]
    assert Grant.objects.exclude(revoked_at=None).count() == 1


def test_simultaneous_refreshes_of_a_public_client_end_its_tokens(
    browser: PortalClient, app: RelyingParty, portal: Portal
) -> None:
    _, first = exchange(portal, app, code_fields(app, app.code(browser)))
    fields = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}

    answers = raced(portal, app, fields)
    won = [told for status, told in answers if status == 200]

    assert len(won) == 1
    assert userinfo(portal, won[0]["access_token"]) == 401
    assert exchange(portal, app, {**fields, "refresh_token": won[0]["refresh_token"]})[0] == 400


def test_simultaneous_refreshes_of_a_confidential_client_all_work(
    browser: PortalClient, rp: RelyingParty, portal: Portal
) -> None:
    _, first = exchange(portal, rp, code_fields(rp, rp.code(browser)))
    fields = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}

    answers = raced(portal, rp, fields)

    assert {status for status, _ in answers} == {200}
    assert len({told["refresh_token"] for _, told in answers}) == RACERS
    assert {userinfo(portal, told["access_token"]) for _, told in answers} == {200}


def is_active(portal: Portal, rp: RelyingParty, token: str) -> bool:
    credentials = basic(rp.client.client_id, rp.secret)
    _, told = send(portal, "POST", "/openid/introspect", {"token": token}, Authorization=credentials)
    return bool(told["active"])


def test_tokens_end_with_the_transaction_that_ends_the_sign_in(
    browser: PortalClient, rp: RelyingParty, portal: Portal
) -> None:
    _, tokens = exchange(portal, rp, code_fields(rp, rp.code(browser)))
    access, refresh = tokens["access_token"], tokens["refresh_token"]
    before = (is_active(portal, rp, access), is_active(portal, rp, refresh))

    end_sign_ins(SignIn.objects.all())

    assert before == (True, True)
    assert (is_active(portal, rp, access), is_active(portal, rp, refresh)) == (False, False)
    assert exchange(portal, rp, {"grant_type": "refresh_token", "refresh_token": refresh})[0] == 400


def test_userinfo_in_memory_knows_the_end_of_a_sign_in_within_a_second(
    browser: PortalClient, rp: RelyingParty, portal: Portal
) -> None:
    _, tokens = exchange(portal, rp, code_fields(rp, rp.code(browser)))
    access = tokens["access_token"]
    before = [userinfo(portal, access) for _ in range(5)]

    end_sign_ins(SignIn.objects.all())
    time.sleep(FRESH_FOR)  # earlier readings of memory are too old by now

    assert before == [200] * 5
    assert userinfo(portal, access) == 401


def test_a_client_that_revokes_finds_its_token_revoked(
    browser: PortalClient, rp: RelyingParty, portal: Portal
) -> None:
    _, tokens = exchange(portal, rp, code_fields(rp, rp.code(browser)))
    credentials = basic(rp.client.client_id, rp.secret)
    before = userinfo(portal, tokens["access_token"])
    send(portal, "POST", "/openid/revoke", {"token": tokens["refresh_token"]}, Authorization=credentials)

    assert before == 200
    assert not is_active(portal, rp, tokens["access_token"])


def test_clients_can_read_metadata_and_keys(rp: RelyingParty, portal: Portal) -> None:
    status, told = send(portal, "GET", "/.well-known/openid-configuration")
    _, published = send(portal, "GET", "/openid/keys.json")

    assert (status, told["issuer"]) == (200, "https://sso.example.com")
    assert [key["alg"] for key in published["keys"]] == ["RS256"]


def test_the_servers_log_contains_no_secret(browser: PortalClient, rp: RelyingParty, portal: Portal) -> None:
    code = rp.code(browser)
    _, tokens = exchange(portal, rp, code_fields(rp, code))
    exchange(portal, rp, code_fields(rp, code))
    send(portal, "GET", f"/openid/userinfo?access_token={tokens['access_token']}")
    log = portal.log.read_text()

    assert '"openid_reuse"' in log
    for secret in (
        code,
        rp.secret,
        rp.verifier,
        *(tokens[name] for name in ("access_token", "refresh_token")),
    ):
        assert secret not in log
