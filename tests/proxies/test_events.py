"""The tests of events do not see events from before."""

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


def test_an_earlier_mistake_is_not_reported_again(portal: Portal) -> None:
    make_a_mistake(portal, "before.example")  # and it is not written to the database yet
    events = Events(portal)

    make_a_mistake(portal, "after.example")

    assert events.report("oauth2 nginx: unknown origin", "https://after.example")
    assert not events.has_counted("oauth2 nginx: unknown origin", "https://before.example")


def test_a_repeated_mistake_is_reported(portal: Portal) -> None:
    make_a_mistake(portal, "again.example")
    events = Events(portal)

    make_a_mistake(portal, "again.example")

    assert events.report("oauth2 nginx: unknown origin", "https://again.example")
