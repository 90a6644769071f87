"""An application under maintenance, behind every proxy: all but its owners see the maintenance text."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.front.serving import eventually
from tests.own_database import rows_in
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy
from tests.proxies.wire import Reply

pytestmark = pytest.mark.proxy

WORDS = "Back at noon"

DROP_503 = ("envoy", "envoy_gateway", "ingress_nginx")
"""Proxies that do not pass on the portal's 503."""


def write(portal: Portal, *statements: str) -> None:
    for statement in statements:
        rows_in(portal.server.log.parent, statement)


@pytest.fixture
def closed(proxy: Proxy) -> Iterator[Proxy]:
    """A proxy in front of a wiki under maintenance. alice is its owner."""
    before = proxy.ask("/page", site="wiki", headers=FETCH, who="bob").status
    write(
        proxy.portal,
        "INSERT INTO authgate_application_owners (application_id, user_id)"
        " SELECT a.id, u.id FROM authgate_application a, accounts_user u"
        " WHERE a.name = 'Wiki' AND u.username = 'alice'",
        f"UPDATE authgate_application SET maintenance = TRUE, maintenance_text = '{WORDS} <b>',"
        " maintenance_minutes = 7 WHERE name = 'Wiki'",
    )
    try:
        assert before == 200
        eventually(lambda: proxy.ask("/page", site="wiki", headers=FETCH, who="bob").status != 200)
        yield proxy
    finally:
        write(
            proxy.portal,
            "DELETE FROM authgate_application_owners",
            "UPDATE authgate_application SET maintenance = FALSE WHERE name = 'Wiki'",
        )
        eventually(lambda: proxy.ask("/page", site="wiki", headers=FETCH, who="bob").status == 200)


def is_at_the_portal(proxy: Proxy, reply: Reply) -> bool:
    """Return whether a reply leads to the portal, which then shows the text with the status 503."""
    return reply.status in (302, 303) and reply.header("Location").startswith(
        f"{proxy.portal.origin('portal')}/continue?"
    )


@pytest.mark.parametrize("who", ["bob", ""])
def test_a_page_shows_the_maintenance_text(closed: Proxy, who: str) -> None:
    reply = closed.ask("/page", site="wiki", headers=NAVIGATION, who=who)

    if closed.name in DROP_503:
        assert is_at_the_portal(closed, reply)
    else:
        assert (reply.status, reply.header("Retry-After")) == (503, "420")
        assert f"{WORDS} &lt;b&gt;" in reply.body.decode()
    assert closed.backend.take() == []


def test_a_script_gets_the_maintenance_text_as_json(closed: Proxy) -> None:
    reply = closed.ask("/page", site="wiki", headers=FETCH, who="bob")

    if closed.name == "ingress_nginx":
        assert reply.status == 403
    else:
        assert reply.status == 503
    if closed.name not in DROP_503:
        assert json.loads(reply.body)["message"] == f"{WORDS} <b>"
    assert closed.backend.take() == []


def test_an_owner_is_let_in(closed: Proxy) -> None:
    assert closed.ask("/page", site="wiki", headers=NAVIGATION, who="alice").status == 200
    [received] = closed.backend.take()
    assert received.all("X-Auth-Request-User") == ["alice"]


def test_another_site_is_open(closed: Proxy) -> None:
    assert closed.ask("/page", site="app", headers=FETCH, who="bob").status == 200
