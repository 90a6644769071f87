"""An application under maintenance: 503 with its own text, except for its owners and superusers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from accounts.launcher.tiles import applications_for
from accounts.machines.api_tokens import make_token
from accounts.models import User
from authgate.check.contracts import checks
from authgate.check.responses import Answer
from authgate.decision.rules import ALLOW, REFUSE, Decision, Maintenance, Who
from authgate.models import Application, AuditEvent
from authgate.worker.write_behind import writer
from tests.authgate.asking import NAVIGATION, WIKI, ask, endpoint, facts, header, raw_endpoint, signed_in
from tests.authgate.test_decision import ALICE, BOB, app, rule
from tests.factories import GroupFactory

pytestmark = pytest.mark.django_db

WORDS = "Back at <noon>"
NOBODY = Maintenance()
SCRIPT = [(b"sec-fetch-mode", b"cors"), (b"accept", b"*/*")]


def app_under(maintenance: Maintenance, **fields: Any) -> Any:
    return replace(app(rule(Who.SIGNED_IN), **fields), maintenance=maintenance)


def decided(application: Any, subject: Any) -> Decision:
    from tests.authgate.test_decision import decided as of_the_rules

    return of_the_rules(application, subject)


@pytest.mark.parametrize(
    ("maintenance", "subject", "is_refused"),
    [
        (NOBODY, None, True),
        (NOBODY, ALICE, True),
        (Maintenance(owners=frozenset((ALICE.user_id,))), ALICE, False),
        (Maintenance(owners=frozenset((ALICE.user_id,))), BOB, True),
        (Maintenance(owners=frozenset((ALICE.user_id,))), None, True),
        (Maintenance(owner_groups=ALICE.group_ids), ALICE, False),
        (Maintenance(owner_groups=ALICE.group_ids), BOB, True),
    ],
)
def test_only_owners_and_superusers_are_let_in(
    maintenance: Maintenance, subject: Any, is_refused: bool
) -> None:
    decision = decided(app_under(maintenance), subject)

    assert (decision.verdict, decision.reason) == (
        (REFUSE, "maintenance") if is_refused else (ALLOW, "admitted")
    )


def test_maintenance_closes_public_paths_too() -> None:
    public = replace(app(rule(Who.EVERYONE)), maintenance=NOBODY)

    assert decided(public, None) == Decision(REFUSE, "maintenance")


def test_a_disabled_application_is_disabled_for_its_owners_too() -> None:
    owned = app_under(Maintenance(owners=frozenset((ALICE.user_id,))), enabled=False)

    assert decided(owned, ALICE).reason == "application disabled"


def test_an_owner_whom_no_rule_admits_is_refused() -> None:
    owned = replace(app(rule(Who.CHOSEN)), maintenance=Maintenance(owners=frozenset((BOB.user_id,))))

    assert decided(owned, BOB).reason == "no rule admits"


# ---- HTTP answers -----------------------------------------------------------------------------------------


@pytest.fixture
def closed(wiki: Application) -> Application:
    wiki.maintenance, wiki.maintenance_text, wiki.maintenance_minutes = True, WORDS, 5
    wiki.save()
    return wiki


REDIRECTING = ["/authgate/traefik", "/authgate/caddy", "/authgate/haproxy"]


@pytest.mark.parametrize("check", REDIRECTING)
@pytest.mark.parametrize("who", ["", "alice"])
def test_a_page_has_the_text_and_the_time(closed: Application, alice: User, check: str, who: str) -> None:
    cookie = signed_in(alice) if who else ""
    found = ask(facts(f"{WIKI}/a", NAVIGATION, check=check, cookie=cookie))

    assert (found.status, header(found, b"retry-after")) == (503, b"300")
    assert b"Back at &lt;noon&gt;" in found.body
    assert (b"Wiki" in found.body) == bool(who)
    assert header(found, b"cache-control") == b"no-store"
    assert (b"/authgate/start?rd=" in found.body) == (not who)


@pytest.mark.parametrize("check", REDIRECTING)
def test_a_script_gets_json(closed: Application, alice: User, check: str) -> None:
    found = ask(facts(f"{WIKI}/a", SCRIPT, check=check, cookie=signed_in(alice)))

    assert (found.status, header(found, b"retry-after")) == (503, b"300")
    assert json.loads(found.body) == {"error": "maintenance", "message": WORDS, "retry_after": 300}


@pytest.mark.parametrize("how", [NAVIGATION, SCRIPT])
def test_nginx_gets_403_and_its_refused_page_answers_503(closed: Application, alice: User, how: Any) -> None:
    cookie = signed_in(alice)
    found = ask(facts(f"{WIKI}/a", how, check="/authgate/nginx", cookie=cookie))
    shown = endpoint("/authgate/refused", WIKI, how, cookie=cookie, forwarded_uri="/a")

    assert (found.status, found.body) == (403, b"")
    assert (shown.status_code, shown["Retry-After"]) == (503, "300")
    assert b"Back at" in shown.content


def test_proxies_that_drop_the_text_redirect_to_the_portal(closed: Application, alice: User) -> None:
    headers = [
        (b"x-original-url", f"{WIKI}/a".encode()),
        (b"x-original-method", b"GET"),
        (b"x-real-ip", b"198.51.100.7"),
        (b"cookie", signed_in(alice).encode()),
    ]
    page = raw_endpoint("/authgate/ingress-nginx", [*headers, *NAVIGATION], "host=wiki.example.com")
    script = raw_endpoint("/authgate/ingress-nginx", [*headers, *SCRIPT], "host=wiki.example.com")

    assert (page.status_code, script.status_code) == (401, 403)


@pytest.mark.parametrize("contract", sorted({each.name for each in checks("traefik").values()}))
def test_every_contract_defines_how_the_text_is_sent(contract: str) -> None:
    shows = {each.name: each.shows_503 for each in checks("traefik").values()}

    assert shows[contract] is (contract not in ("envoy", "ingress-nginx"))


def test_maintenance_is_not_counted_as_a_refusal(closed: Application, alice: User) -> None:
    ask(facts(f"{WIKI}/a", NAVIGATION, cookie=signed_in(alice)))
    writer.flush()

    assert not AuditEvent.objects.filter(kind="refused").exists()


@pytest.mark.parametrize("as_owner", ["owner", "owner by group", "superuser"])
def test_owners_and_superusers_pass_the_check(closed: Application, alice: User, as_owner: str) -> None:
    if as_owner == "owner":
        closed.owners.add(alice)
    elif as_owner == "owner by group":
        closed.owner_groups.add(GroupFactory(name="staff"))
    else:
        alice.is_superuser = True
        alice.save(update_fields=["is_superuser"])

    assert ask(facts(f"{WIKI}/a", NAVIGATION, cookie=signed_in(alice))).status == 200


@pytest.mark.parametrize("is_superuser", [True, False])
def test_an_api_token_opens_what_its_user_may_open(
    closed: Application, alice: User, is_superuser: bool
) -> None:
    _row, secret = make_token(alice, "backup", [closed], 3600)
    User.objects.filter(pk=alice.pk).update(is_superuser=is_superuser)
    found: Answer = ask(facts(f"{WIKI}/a", [(b"authorization", f"Bearer {secret}".encode())]))

    assert found.status == (200 if is_superuser else 503)
    assert is_superuser or json.loads(found.body)["error"] == "maintenance"


# ---- the portal -------------------------------------------------------------------------------------------


def at_the_portal(browser: Client) -> Any:
    start = endpoint("/authgate/start?rd=/a", WIKI, NAVIGATION)
    path = start["Location"].removeprefix("https://sso.example.com")
    return browser.get(path, HTTP_HOST="sso.example.com", secure=True)


@pytest.mark.parametrize("is_owner", [True, False])
def test_only_owners_are_handed_over(
    client: Client, closed: Application, alice: User, is_owner: bool
) -> None:
    if is_owner:
        closed.owners.add(alice)
    client.force_login(alice)
    answer = at_the_portal(client)

    if is_owner:
        assert (answer.status_code, answer["Location"].startswith(WIKI)) == (302, True)
    else:
        assert (answer.status_code, answer["Retry-After"]) == (503, "300")
        assert "Back at &lt;noon&gt;" in answer.content.decode()


def test_the_launcher_shows_the_application_as_under_maintenance(
    closed: Application, alice: User, bob: User
) -> None:
    [tile] = applications_for(alice)
    assert tile.is_under_maintenance
    assert applications_for(bob) == []
    closed.owners.add(alice)

    assert [each.is_under_maintenance for each in applications_for(alice)] == [False]


# ---- the text of refusals ---------------------------------------------------------------------------------

ASK = "Ask <team> X\nin room 7"


@pytest.fixture
def wiki_with_text(wiki: Application) -> Application:
    wiki.refusal_text = ASK
    wiki.save()
    return wiki


def test_the_refused_page_has_the_text_of_the_application(wiki_with_text: Application, bob: User) -> None:
    cookie = signed_in(bob)
    pages = [
        ask(facts(f"{WIKI}/a", NAVIGATION, cookie=cookie)).body,
        endpoint("/authgate/refused", WIKI, NAVIGATION, cookie=cookie, forwarded_uri="/a").content,
    ]

    assert all(b"Ask &lt;team&gt; X<br>in room 7" in page for page in pages)


def test_visitors_do_not_read_the_text_of_an_application(wiki_with_text: Application) -> None:
    wiki_with_text.rules.all().delete()

    assert b"team" not in ask(facts(f"{WIKI}/a", NAVIGATION)).body


def test_the_portals_refused_page_has_the_text_too(
    client: Client, wiki_with_text: Application, bob: User
) -> None:
    client.force_login(bob)
    answer = at_the_portal(client)

    assert answer.status_code == 403
    assert "Ask &lt;team&gt; X<br>in room 7" in answer.content.decode()
