"""An application under maintenance, behind every proxy: its words for all but its owners, and no way in."""

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

SAY_NOTHING = ("envoy", "envoy_gateway", "ingress_nginx")
"""Those that pass on no 503 of the portal."""


def write(portal: Portal, *statements: str) -> None:
    for statement in statements:
        rows_in(portal.server.log.parent, statement)


@pytest.fixture
def closed(proxy: Proxy) -> Iterator[Proxy]:
    """A proxy in front of a wiki under maintenance, whose owner is alice."""
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
    """Return whether a reply leads to the portal, which shows the words with the status 503 itself."""
    return reply.status in (302, 303) and reply.header("Location").startswith(
        f"{proxy.portal.origin('portal')}/continue?"
    )


@pytest.mark.parametrize("who", ["bob", ""])
def test_a_page_says_so(closed: Proxy, who: str) -> None:
    reply = closed.ask("/page", site="wiki", headers=NAVIGATION, who=who)

    if closed.name in SAY_NOTHING:
        assert is_at_the_portal(closed, reply)
    else:
        assert (reply.status, reply.header("Retry-After")) == (503, "420")
        assert f"{WORDS} &lt;b&gt;" in reply.body.decode()
    assert closed.backend.take() == []


def test_a_script_reads_it_as_json(closed: Proxy) -> None:
    reply = closed.ask("/page", site="wiki", headers=FETCH, who="bob")

    if closed.name == "ingress_nginx":
        assert reply.status == 403
    else:
        assert reply.status == 503
    if closed.name not in SAY_NOTHING:
        assert json.loads(reply.body)["message"] == f"{WORDS} <b>"
    assert closed.backend.take() == []


def test_an_owner_is_let_in(closed: Proxy) -> None:
    assert closed.ask("/page", site="wiki", headers=NAVIGATION, who="alice").status == 200
    [received] = closed.backend.take()
    assert received.all("X-Auth-Request-User") == ["alice"]


def test_another_site_is_open(closed: Proxy) -> None:
    assert closed.ask("/page", site="app", headers=FETCH, who="bob").status == 200
