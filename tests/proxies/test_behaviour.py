"""The behaviour table, with the answers that a browser or program gets from each real proxy."""

from __future__ import annotations

import json
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.behaviour import ROWS, Outcome, Row
from tests.proxies.proxy import Proxy
from tests.proxies.wire import Reply

pytestmark = pytest.mark.proxy

IN_A_CONFIGURATION = [row for row in ROWS if not row.query]
"""Filters are in a configuration. test_reachability.py tests the shipped ones."""


@pytest.mark.parametrize("row", IN_A_CONFIGURATION, ids=lambda row: row.name)
def test_proxy_has_the_outcome_of_the_table(proxy: Proxy, row: Row) -> None:
    outcome = (row.status or row.outcome) if proxy.style == "status" else row.outcome

    headers = row.headers
    if row.authorization:
        headers = headers | {"Authorization": row.authorization.format(**proxy.portal.api_tokens)}
    who = "" if row.outcome is Outcome.BY_CREDENTIAL else row.who

    reply = proxy.ask(row.path, site=row.site, method=row.method, headers=headers, who=who)

    EXPECTED[outcome](proxy, row, reply)
    assert names_that_come_twice(reply) == []


def names_that_come_twice(reply: Reply) -> list[str]:
    names = Counter(name.lower() for name, _ in reply.headers)
    return [name for name, count in names.items() if count > 1 and name != "set-cookie"]


def is_open(proxy: Proxy, row: Row, reply: Reply) -> None:
    [received] = proxy.backend.take()
    assert reply.status == (101 if "Upgrade" in row.headers else 200)
    assert received.application == row.site
    assert "".join(received.all("X-Auth-Request-User")) == row.who


def is_open_by_credential(proxy: Proxy, row: Row, reply: Reply) -> None:
    [received] = proxy.backend.received
    is_open(proxy, row, reply)
    assert received.all("Authorization") in ([], [""])
    assert b"ikd_" not in received.head


def is_open_with_the_applications_own(proxy: Proxy, row: Row, reply: Reply) -> None:
    [received] = proxy.backend.received
    is_open(proxy, row, reply)
    assert received.all("Authorization") == [row.authorization]


def is_told_of_a_wrong_credential(proxy: Proxy, row: Row, reply: Reply) -> None:
    assert (reply.status, reply.header("Location")) == (401, "")
    assert 'error="invalid_token"' in reply.header("WWW-Authenticate")
    assert proxy.backend.take() == []
    if not row.path.startswith("/api/"):
        told = json.loads(reply.body)
        if not proxy.tells_why:
            assert set(told) == {"error"}
            return
        assert set(told) == {"error", "decision"}
        assert told["decision"] == reply.header("X-Auth-Decision") != ""


def is_sent_to_the_portal(proxy: Proxy, row: Row, reply: Reply, status: int = 302) -> None:
    where = urlsplit(reply.header("Location"))
    name = proxy.portal.cookie_name(row.site, "nonce")
    nonce = [cookie for cookie in reply.all("Set-Cookie") if cookie.startswith(f"{name}=")]
    assert reply.status == status
    assert f"{where.scheme}://{where.netloc}" == proxy.portal.origin("portal")
    assert (where.path, list(parse_qs(where.query))) == ("/continue", ["state"])
    assert len(nonce) == 1 and "HttpOnly" in nonce[0] and "Secure" in nonce[0] and "Domain" not in nonce[0]
    assert "no-store" in reply.header("Cache-Control")
    assert proxy.backend.take() == []


def is_sent_to_the_portal_after_a_form(proxy: Proxy, row: Row, reply: Reply) -> None:
    # After a 302, the browser requests the start with GET, which redirects as for any page.
    is_sent_to_the_portal(proxy, row, reply, 302 if proxy.sends_everybody_to_start else 303)


def is_shown_a_link(proxy: Proxy, row: Row, reply: Reply) -> None:
    link = f'href="{proxy.portal.origin(row.site)}{row.path}" target="_blank" rel="noopener"'
    assert (reply.status, reply.all("X-Frame-Options"), reply.all("Set-Cookie")) == (401, [], [])
    assert link in reply.body.decode()
    assert reply.header("Content-Security-Policy").startswith("default-src 'none'; style-src https://sso.")
    assert proxy.backend.take() == []


def is_told_to_sign_in(proxy: Proxy, row: Row, reply: Reply) -> None:
    assert (reply.status, reply.header("Location")) == (401, "")
    assert set(reply.all("WWW-Authenticate")) == {'Bearer realm="ikD Portal"'}
    assert proxy.backend.take() == []
    if row.method != "HEAD" and not row.path.startswith("/api/"):
        told = json.loads(reply.body)
        assert set(told) == {"error", "location"}
        assert told["location"].startswith(f"{proxy.portal.origin(row.site)}/authgate/start?rd=")


def is_asked_for_basic(proxy: Proxy, row: Row, reply: Reply) -> None:
    told = 'Basic realm="ikD Portal", charset="UTF-8", Bearer realm="ikD Portal"'
    assert (reply.status, set(reply.all("WWW-Authenticate"))) == (401, {told})
    assert proxy.backend.take() == []


def is_refused(proxy: Proxy, row: Row, reply: Reply) -> None:
    assert reply.status == 403
    if not proxy.tells_why:
        assert proxy.backend.take() == []
        return
    assert len(reply.header("X-Auth-Decision")) == 12
    assert reply.header("Content-Type").startswith("text/html")
    assert reply.header("X-Auth-Decision").encode() in reply.body
    assert proxy.backend.take() == []


def is_told_of_a_refusal(proxy: Proxy, row: Row, reply: Reply) -> None:
    assert reply.status == 403
    assert not proxy.tells_why or json.loads(reply.body)["decision"] == reply.header("X-Auth-Decision") != ""
    assert proxy.backend.take() == []


def is_sent_to_the_clean_url(proxy: Proxy, row: Row, reply: Reply) -> None:
    assert reply.status == 302
    assert reply.header("Location").startswith(f"{proxy.portal.origin(row.site)}/page")
    assert "ikdcode" not in reply.header("Location")
    assert proxy.backend.take() == []


EXPECTED = {
    Outcome.OPEN: is_open,
    Outcome.NAMED: is_open,
    Outcome.SIGN_IN: is_sent_to_the_portal,
    Outcome.SIGN_IN_AFTER_FORM: is_sent_to_the_portal_after_a_form,
    Outcome.FRAMED: is_shown_a_link,
    Outcome.TOLD: is_told_to_sign_in,
    Outcome.ASKED_FOR_BASIC: is_asked_for_basic,
    Outcome.REFUSED: is_refused,
    Outcome.TOLD_REFUSED: is_told_of_a_refusal,
    Outcome.WITHOUT_CODE: is_sent_to_the_clean_url,
    Outcome.BY_CREDENTIAL: is_open_by_credential,
    Outcome.PASSED_ON: is_open_with_the_applications_own,
    Outcome.WRONG_CREDENTIAL: is_told_of_a_wrong_credential,
}
