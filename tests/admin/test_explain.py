"""Explain and the access lists in the administration: who may open them, what they show and refuse."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.machines.api_tokens import make_token
from accounts.models import ApiToken, User
from authgate.admin.access import safe_cell
from authgate.check.state import new_code
from authgate.models import Application, AuditEvent
from authgate.worker import loader
from tests.factories import ApplicationFactory, RuleFactory, UserFactory

pytestmark = pytest.mark.django_db

EXPLAIN = "/admin/authgate/application/explain/"
WIKI = "https://wiki.example.com"


@pytest.fixture
def wiki(alice: User) -> Application:
    wiki = ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])
    RuleFactory(application=wiki, path="/public", who="everyone", methods="GET")
    RuleFactory(application=wiki, path="/office", who="signed_in", networks="10.0.0.0/8", second_factor=True)
    return wiki


@pytest.fixture
def pats(browser_of: Callable[[User], Client]) -> tuple[User, Client]:
    """Staff without any permission."""
    pat = UserFactory(username="pat", is_staff=True)
    return pat, browser_of(pat)


def grant(user: User, *names: str) -> None:
    user.user_permissions.add(*Permission.objects.filter(codename__in=names))


def asked(browser: Client, /, **fields: str) -> Any:
    return browser.post(EXPLAIN, {"url": f"{WIKI}/", **fields})


def pages(wiki: Application, user: User) -> list[str]:
    below = "/admin/authgate/application"
    return [EXPLAIN, f"{below}/{wiki.pk}/access/", f"{below}/opened-by/{user.pk}/", f"{below}/access/"]


def test_staff_without_the_permission_cannot_open_these_pages(
    wiki: Application, alice: User, pats: tuple[User, Client]
) -> None:
    pat, client = pats
    everything = Permission.objects.exclude(codename="explain_access")
    for permissions in ([], everything):
        pat.user_permissions.set(permissions)
        for url in pages(wiki, alice):
            assert client.get(url).status_code == 403, url
            assert client.get(f"{url}?format=csv").status_code == 403, url
        assert asked(client).status_code == 403
        assert EXPLAIN not in client.get("/admin/").content.decode()
    assert EXPLAIN not in client.get(f"/admin/authgate/application/{wiki.pk}/change/").content.decode()


def test_staff_with_the_permission_can_open_these_pages(
    wiki: Application, alice: User, pats: tuple[User, Client]
) -> None:
    pat, client = pats
    grant(pat, "explain_access")

    assert [client.get(url).status_code for url in pages(wiki, alice)] == [200] * 4
    assert EXPLAIN in client.get("/admin/").content.decode()


def test_users_without_staff_status_cannot_open_these_pages(
    wiki: Application, alice: User, browser_of: Callable[[User], Client]
) -> None:
    grant(alice, "explain_access")

    assert {browser_of(alice).get(url).status_code for url in pages(wiki, alice)} == {403}


def test_rules_are_linked_for_readers_who_may_see_rules(wiki: Application, pats: tuple[User, Client]) -> None:
    pat, client = pats
    link = f"/admin/authgate/application/{wiki.pk}/change/#rules-group"
    grant(pat, "explain_access")
    without = asked(client, person="alice").content.decode()
    grant(pat, "view_rule", "view_application")

    assert link not in without
    assert link in asked(client, person="alice").content.decode()


def test_a_refusal_names_the_conditions_that_are_not_met(
    wiki: Application, bob: User, carols: Client
) -> None:
    page = asked(carols, person="bob").content.decode()

    assert "The request is refused." in page
    assert "The user is in one of the groups: staff." in page


def test_several_conditions_are_all_named(wiki: Application, bob: User, carols: Client) -> None:
    page = asked(carols, url=f"{WIKI}/office", person="bob").content.decode()

    assert "The request comes from one of the networks: 10.0.0.0/8." in page
    assert "The sign-in has a second factor." in page


def test_path_variants_are_shown(wiki: Application, alice: User, carols: Client) -> None:
    page = asked(carols, url=f"{WIKI}/public/..%2foffice", person="alice").content.decode()

    assert "Servers read this path in several ways." in page


def test_a_request_with_an_api_token_is_explained(wiki: Application, alice: User, carols: Client) -> None:
    make_token(alice, "backup", [wiki], 3600)

    def asked_by_program() -> str:
        return asked(carols, person="alice", how="program", token="backup").content.decode()

    assert "The request is allowed." in asked_by_program()
    ApiToken.objects.update(ended_at=timezone.now())
    ended = asked_by_program()
    assert "The API token gives no access." in ended and "The request is allowed." not in ended
    assert (
        "has no API token with this name"
        in asked(
            carols,
            person="alice",
            how="program",
            token="x",
        ).content.decode()
    )


def test_a_disabled_user_is_explained_as_a_visitor(wiki: Application, dave: User, carols: Client) -> None:
    page = asked(carols, person="dave").content.decode()

    assert "The user is disabled." in page and "is asked to sign in first" in page


BAD = {
    "script address": ({"url": "javascript:alert(1)"}, "Enter a host name"),
    "script address with slashes": ({"url": "javascript://x/%0aalert(1)"}, "begins with https://"),
    "other scheme": ({"url": "ftp://wiki.example.com/"}, "begins with https://"),
    "userinfo": ({"url": "https://carol:secret@wiki.example.com/"}, "before @"),
    "wildcard": ({"url": "https://*.example.com/"}, "without a wildcard"),
    "port": ({"url": "https://wiki.example.com:70000/"}, "port from 1 to 65535"),
    "host": ({"url": "https://wikî.example.com/"}, "in ASCII"),
    "empty": ({"url": ""}, "This field is required"),
    "space": ({"url": f"{WIKI}/a b"}, "contains a space"),
    "two lines": ({"url": f"{WIKI}/a\r\nX-Forwarded-User: carol"}, "contains a space"),
    "NUL": ({"url": f"{WIKI}/\0"}, "Null characters"),
    "long": ({"url": f"{WIKI}/{'x' * 9000}"}, "at most 8000"),
    "two lines of method": ({"method": "GET\r\nX: y"}, "invisible character"),
    "method": ({"method": "GÉT"}, "Enter a method in ASCII"),
    "long method": ({"method": "G" * 100}, "at most 32"),
    "address": ({"client": "somewhere"}, "IPv4 or IPv6"),
    "address with more": ({"client": "10.0.0.1\r\nX: y"}, "invisible character"),
    "two addresses": ({"client": "10.0.0.1, 192.0.2.1"}, "IPv4 or IPv6"),
    "nobody": ({"person": "nobody"}, "no user with this name"),
    "hidden": ({"person": "a\u202elice"}, "invisible character"),
    "proxy": ({"proxy": "apache"}, "Select a valid choice"),
    "client": ({"how": "root"}, "Select a valid choice"),
    "query": ({"query": "a b"}, "Enter a query in ASCII"),
    "program without a token": ({"how": "program", "person": "alice"}, "needs a username"),
}


@pytest.mark.parametrize(("fields", "words"), BAD.values(), ids=BAD)
def test_invalid_requests_are_refused_in_words(
    fields: dict[str, str], words: str, wiki: Application, carols: Client
) -> None:
    answer = asked(carols, **fields)

    assert answer.status_code == 200
    page = answer.content.decode()
    assert words in page
    assert 'class="explanation"' not in page


FINE = {
    "odd method": ({"method": "get"}, "invalid method"),
    "no scheme": ({"url": "wiki.example.com/public"}, "The request is allowed."),
    "fragment": ({"url": f"{WIKI}/public#part"}, "The request is allowed."),
    "capitals and dot": ({"url": "HTTPS://WIKI.example.com.:443/public"}, "The request is allowed."),
    "zone": ({"url": f"{WIKI}/public", "client": "fe80::1%eth0"}, "The request is allowed."),
    "unknown host": ({"url": "https://nobody.example.org/"}, "No application has this origin."),
    "another port": ({"url": f"{WIKI}:8443/"}, "No application has this origin."),
    "malformed path": ({"url": f"{WIKI}/%zz"}, "can be read in several ways"),
    "endpoint": ({"url": f"{WIKI}/authgate/sign_out", "proxy": "traefik"}, "answers this address itself"),
    "unknown filter": ({"query": "other=1"}, "unknown parameter"),
    "the portal": ({"url": "https://sso.example.com/", "query": "allow_portal=true"}, "own pages"),
}


@pytest.mark.parametrize(("fields", "words"), FINE.values(), ids=FINE)
def test_odd_requests_are_explained(
    fields: dict[str, str], words: str, wiki: Application, carols: Client
) -> None:
    assert words in asked(carols, **fields).content.decode()


def test_explain_does_not_use_up_a_real_code(wiki: Application, carols: Client) -> None:
    code = new_code(bytes(24), loader.gate_settings().state_keys[0])

    page = asked(carols, url=f"{WIKI}/?ikdcode={code}", proxy="traefik").content.decode()

    assert "Explain does not use codes." in page


def test_hostile_names_and_paths_are_escaped(carols: Client) -> None:
    wiki = ApplicationFactory(name="<b>Wiki</b>", origins=[WIKI], groups=["<i>staff</i>"])
    UserFactory(username="<u>eve</u>", display_name="<s>x</s>", groups=["<i>staff</i>"])
    page = asked(carols, url=f'{WIKI}/"><script>alert(1)</script>', person="<u>eve</u>").content.decode()
    page += carols.get(f"/admin/authgate/application/{wiki.pk}/access/").content.decode()

    assert not any(tag in page for tag in ("<b>Wiki", "<i>staff", "<u>eve", "<s>x", "<script>alert"))


def test_explain_the_lists_and_the_first_page_write_nothing(
    wiki: Application, alice: User, carols: Client
) -> None:
    carols.get("/admin/")
    with CaptureQueriesContext(connection) as captured:
        asked(carols, person="alice")
        for url in pages(wiki, alice):
            carols.get(url)

    written = [each["sql"] for each in captured if each["sql"].startswith(("INSERT", "DELETE", "UPDATE"))]
    assert [sql for sql in written if "signin" not in sql and "session" not in sql] == []


# ---- decisions --------------------------------------------------------------------------------------------


@pytest.fixture
def refusal(bob: User) -> AuditEvent:
    details = {"contract": "traefik", "method": "POST", "url": f"{WIKI}/office", "failed": []}
    return AuditEvent.objects.create(
        at=timezone.now(),
        kind="refused",
        actor="bob",
        decision_id="0123456789ab",
        reason="no rule admits",
        address="10.1.2.3",
        details=details,
    )


def test_a_recorded_refusal_fills_the_form(wiki: Application, refusal: AuditEvent, carols: Client) -> None:
    page = carols.get(EXPLAIN, {"decision": " 0123456789AB "}).content.decode()

    for value in (f"{WIKI}/office", "bob", "10.1.2.3", "POST"):
        assert f'value="{value}"' in page
    assert '<option value="traefik" selected>' in page
    assert f"/admin/authgate/auditevent/{refusal.pk}/change/" in page


@pytest.mark.parametrize("text", ["ffffffffffff", "x", "'", "%", "0" * 5000])
def test_an_unknown_decision_id_is_reported(text: str, refusal: AuditEvent, carols: Client) -> None:
    answer = carols.get(EXPLAIN, {"decision": text})

    assert answer.status_code == 200 and "No refusal with this id is stored." in answer.content.decode()


def test_recorded_decisions_need_the_permission_to_view_events(
    refusal: AuditEvent, pats: tuple[User, Client]
) -> None:
    pat, client = pats
    grant(pat, "explain_access")

    page = client.get(EXPLAIN, {"decision": "0123456789ab"}).content.decode()

    assert "requires the permission to view audit events" in page
    assert "bob" not in page and "10.1.2.3" not in page


# ---- lists ------------------------------------------------------------------------------------------------


def lines(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_the_lists_by_application_and_by_user_agree(
    wiki: Application, alice: User, bob: User, dave: User, carols: Client
) -> None:
    below = "/admin/authgate/application"
    by_application = lines(carols.get(f"{below}/{wiki.pk}/access/?format=csv"))
    by_all = lines(carols.get(f"{below}/access/"))
    by_user = [
        line
        for user in User.objects.all()
        for line in lines(carols.get(f"{below}/opened-by/{user.pk}/?format=csv"))
    ]

    assert {tuple(line.items()) for line in by_application} == {tuple(line.items()) for line in by_all}
    assert {tuple(line.items()) for line in by_all} == {tuple(line.items()) for line in by_user}
    assert {(line["username"], line["path"]) for line in by_all if line["path"] == "/"} == {("alice", "/")}
    assert "dave" not in {line["username"] for line in by_all}
    assert "group staff" in {line["reason"] for line in by_all}


def test_a_list_is_filtered(wiki: Application, alice: User, bob: User, carols: Client) -> None:
    url = f"/admin/authgate/application/{wiki.pk}/access/"

    assert {line["username"] for line in lines(carols.get(f"{url}?format=csv&q=STAFF"))} == {"alice"}
    assert "0 entries" in carols.get(f"{url}?q=nothing-like-it").content.decode()
    assert carols.get(f"{url}?p=x&q=%00").status_code == 200


@pytest.mark.parametrize("number", ["0", "999999999999999999999", "12345"])
def test_unknown_numbers_are_not_found(number: str, carols: Client) -> None:
    for url in (f"{number}/access/", f"opened-by/{number}/"):
        assert carols.get(f"/admin/authgate/application/{url}").status_code == 404
    for name in ("application", "user"):
        assert carols.get(EXPLAIN, {name: number}).status_code == 200


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", " =1", "\t=1", "\uff1d1"])
def test_a_name_is_not_a_formula_in_the_csv_file(name: str) -> None:
    assert safe_cell(name) == f"'{name}"


def test_hostile_names_of_groups_and_users_are_not_formulas(carols: Client) -> None:
    ApplicationFactory(name="=HYPERLINK(1)", origins=[WIKI], groups=["@group"])
    UserFactory(username="@eve", display_name="=cmd|' /C calc'!A0", groups=["@group"])

    [line] = lines(carols.get("/admin/authgate/application/access/"))

    cells = [line[name] for name in ("application", "username", "name", "reason")]
    assert all(cell.startswith("'") or cell.startswith("group ") for cell in cells)


def test_a_list_needs_the_same_queries_for_many_rows(wiki: Application, carols: Client) -> None:
    url = f"/admin/authgate/application/{wiki.pk}/access/"

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert carols.get(url).status_code == 200
        return len(captured)

    queries()
    few = queries()
    for number in range(60):
        UserFactory(username=f"more-{number}", groups=["staff", f"group-{number % 7}"])

    assert queries() == few
