"""Floods of wrong client credentials: their cost, and which clients they delay."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from authgate.network_limits import WrongTries
from openid import wrong_clients
from openid.protocol.client_authentication import Credentials
from tests.openid.relying_party import RelyingParty, basic, error_of

ENDPOINTS = ["/openid/token", "/openid/introspect", "/openid/revoke", "/openid/device_authorization"]
MANY = int(WrongTries.BUCKET) + 10
ELSEWHERE = "203.0.113.9"


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock, so that a flood fills its bucket however slow the machine is."""
    monkeypatch.setattr(WrongTries, "A_SECOND", 0.0)


def call(rp: RelyingParty, name: str, secret: str, path: str = "/openid/token", **headers: str) -> Any:
    fields = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
    return rp.post(path, fields, HTTP_AUTHORIZATION=basic(name, secret), **headers)


def flood(rp: RelyingParty) -> list[int]:
    return [call(rp, rp.client.client_id, f"wrong {n}").status_code for n in range(MANY)]


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_flood_of_wrong_secrets_gets_429_and_makes_no_query(rp: RelyingParty, path: str) -> None:
    statuses = [call(rp, rp.client.client_id, f"wrong {n}", path).status_code for n in range(MANY)]

    with CaptureQueriesContext(connection) as queries:
        answer = call(rp, rp.client.client_id, "wrong", path)

    assert (statuses[0], statuses[-1]) == (401, 429)
    assert (answer.status_code, answer["Retry-After"]) == (429, "1")
    assert error_of(answer) == "temporarily_unavailable"
    assert not queries.captured_queries


def test_a_flood_of_unknown_clients_gets_429(rp: RelyingParty) -> None:
    statuses = [call(rp, f"unknown {n}", "x").status_code for n in range(MANY)]

    assert statuses[-1] == 429


def test_a_flood_does_not_delay_a_client_that_authenticated_before(rp: RelyingParty) -> None:
    before = rp.refresh("x")
    statuses = flood(rp)

    after = rp.refresh("x")

    assert statuses[-1] == 429
    assert error_of(before) == error_of(after) == "invalid_grant"


def test_a_flood_does_not_delay_other_networks(rp: RelyingParty, monkeypatch: Any) -> None:
    flood(rp)
    monkeypatch.setattr("openid.client_requests.client_address", lambda request: ELSEWHERE)

    assert error_of(rp.refresh("x")) == "invalid_grant"


def test_a_flood_does_not_delay_a_known_public_client(app: RelyingParty, rp: RelyingParty) -> None:
    before = app.refresh("x")
    flood(rp)

    assert error_of(before) == error_of(app.refresh("x")) == "invalid_grant"


def test_the_number_of_remembered_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_clients, "MAX_REMEMBERED", 10)
    for number in range(30):
        wrong_clients.note_right(Credentials(f"client {number}", "secret", "client_secret_basic"))

    assert len(wrong_clients._right) == 10
