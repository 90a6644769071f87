"""The mistake that no file of a proxy shows: something stands in front, and the proxy is not told of it."""

from __future__ import annotations

import pytest

from tests.behaviour import FETCH
from tests.proxies.mistakes import Events
from tests.proxies.proxy import Proxy

pytestmark = pytest.mark.proxy


def test_a_load_balancer_that_a_proxy_is_not_told_of_stands_for_all_its_clients(
    proxy: Proxy, events: Events
) -> None:
    """A rule for the balancer's network would admit everybody: the page of each proxy warns of it."""
    reply = proxy.ask("/office", headers=FETCH | {"X-Forwarded-For": "203.0.113.7"}, who="alice")

    assert reply.status == 403
    assert events.name_a_refused_client("127.0.0.1")
    assert proxy.backend.take() == []
