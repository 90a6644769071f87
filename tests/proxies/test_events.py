"""Tests of what the administrator is told hear of nothing that came before them."""

from __future__ import annotations

import pytest

from tests.proxies.mistakes import Events
from tests.proxies.portal import Portal
from tests.proxies.wire import exchange, request_bytes

pytestmark = pytest.mark.proxy


def make_a_mistake(portal: Portal, host: str) -> None:
    address, _, port = portal.bind.rpartition(":")
    told = {"X-Forwarded-Host": host, "X-Scheme": "https", "X-Real-IP": "127.0.0.1"}
    exchange((address, int(port)), request_bytes("GET", "/oauth2/auth", host, told), tls_name=None)


def test_a_mistake_of_before_is_not_told_again(portal: Portal) -> None:
    make_a_mistake(portal, "before.example")  # and it is not written down yet
    events = Events(portal)

    make_a_mistake(portal, "after.example")

    assert events.tell("oauth2 nginx: unknown origin", "https://after.example")
    assert not events.has_counted("oauth2 nginx: unknown origin", "https://before.example")


def test_a_mistake_that_is_made_once_more_is_told(portal: Portal) -> None:
    make_a_mistake(portal, "again.example")
    events = Events(portal)

    make_a_mistake(portal, "again.example")

    assert events.tell("oauth2 nginx: unknown origin", "https://again.example")
