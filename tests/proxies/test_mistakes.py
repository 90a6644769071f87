"""A mistake that no file of a proxy shows: a load balancer in front is not configured."""

from __future__ import annotations

import pytest

from tests.behaviour import FETCH
from tests.proxies.mistakes import Events
from tests.proxies.proxy import Proxy

pytestmark = pytest.mark.proxy


def test_clients_of_an_unconfigured_load_balancer_have_its_address(proxy: Proxy, events: Events) -> None:
    """A rule for the balancer's network would admit every client. The page of each proxy warns of it."""
    reply = proxy.ask("/office", headers=FETCH | {"X-Forwarded-For": "203.0.113.7"}, who="alice")

    assert reply.status == 403
    assert events.name_a_refused_client("127.0.0.1")
    assert proxy.backend.take() == []
