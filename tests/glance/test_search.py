"""The search over everything: what it finds, and that it shows only what the user may view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from authgate.audit import record
from authgate.models import AuditEvent
from ikd_portal.glance.search import KINDS, SHOWN
from openid.models import Client as ConnectedClient
from tests.factories import ApplicationFactory, GroupFactory, RuleFactory, UpstreamFactory, UserFactory

pytestmark = pytest.mark.django_db

ID = "0123456789ab"


@pytest.fixture
def one_of_each(db: None) -> None:
    """A row of each kind that contains `needle`, and a decision."""
    UserFactory(username="needle", display_name="N. Eedle")
    GroupFactory(name="needles")
    application = ApplicationFactory(name="Needlework", origins=["https://needle.example.net"])
    RuleFactory(application=application, path="/needle", note="for needles")
    UpstreamFactory(name="Needle ID", slug="needle")
    ConnectedClient.objects.create(application=application, redirect_uris="https://needle.example.net/cb")
    record("refused", actor="needle", application="Needlework", decision_id=ID)


def found(client: Client, text: str) -> dict[str, list[str]]:
    page = client.get("/admin/search/", {"q": text})
    assert page.status_code == 200
    return {str(kind.title): [hit.name for hit in kind.hits] for kind in page.context["found"]}


@pytest.mark.usefixtures("one_of_each")
def test_a_text_is_found_in_everything_in_any_letter_case(carols: Client) -> None:
    hits = found(carols, "NEEDLE")

    assert set(hits) == {str(kind.title) for kind in KINDS} - {"Decisions"}
    assert hits["Users"] == ["needle"]
    assert hits["Rules"] == ["Needlework: /needle"]


@pytest.mark.usefixtures("one_of_each")
@pytest.mark.parametrize("text", [ID, ID.upper(), f" {ID} "])
def test_a_decision_is_found_by_its_whole_id(carols: Client, text: str) -> None:
    assert found(carols, text) == {"Decisions": [f"{ID}: Access refused"]}
    assert found(carols, ID[:-1]) == {}


@pytest.mark.usefixtures("one_of_each")
def test_every_link_opens_a_page(carols: Client) -> None:
    for text in ("needle", ID):
        for kind in carols.get("/admin/search/", {"q": text}).context["found"]:
            for hit in kind.hits:
                assert carols.get(hit.url).status_code == 200, hit.url


@pytest.mark.usefixtures("one_of_each")
@pytest.mark.parametrize("kind", KINDS, ids=[str(kind.title) for kind in KINDS])
def test_each_kind_needs_its_permissions_and_shows_nothing_else(
    browser_of: Callable[..., Client], kind: Any
) -> None:
    pat = UserFactory(username="pat", is_staff=True)
    names = {name.partition(".")[2] for name in kind.permissions}
    pat.user_permissions.set(Permission.objects.filter(codename__in=names))
    pats = browser_of(pat)
    titles = set(found(pats, "needle")) | set(found(pats, ID))

    assert str(kind.title) in titles
    for other in KINDS:
        if str(other.title) in titles:
            assert set(other.permissions) <= set(kind.permissions)


@pytest.mark.usefixtures("one_of_each")
def test_without_a_permission_nothing_is_found(browser_of: Callable[..., Client]) -> None:
    pat = UserFactory(username="pat", is_staff=True)

    assert found(browser_of(pat), "needle") == {}


@pytest.mark.parametrize("text", ["", " ", "\0", "x" * 201, "%_", "'\"--", "\ud83e", "<b>", "🦊", "a\u202eb"])
def test_odd_texts_cause_no_error(carols: Client, text: str) -> None:
    page = carols.get("/admin/search/", {"q": text.encode("utf-8", "surrogatepass")})

    assert page.status_code == 200
    assert page.context["found"] == []


def test_sql_wildcards_are_plain_characters(carols: Client) -> None:
    GroupFactory(name="a_b")
    GroupFactory(name="axb")

    assert found(carols, "a_b") == {"Groups": ["a_b"]}


def test_many_hits_lead_to_the_list(carols: Client) -> None:
    for number in range(SHOWN + 1):
        GroupFactory(name=f"team {number}")
    [kind] = carols.get("/admin/search/", {"q": "team &"[:4]}).context["found"]

    assert len(kind.hits) == SHOWN
    assert carols.get(kind.more).context["cl"].result_count == SHOWN + 1


def test_the_search_accepts_only_get_and_writes_nothing(carols: Client, client: Client, alice: Any) -> None:
    assert carols.post("/admin/search/", {"q": "x"}).status_code == 405
    assert client.get("/admin/search/", {"q": "x"}, HTTP_HOST="sso.example.com").status_code == 302


@pytest.mark.usefixtures("one_of_each", "known_brand")
def test_the_search_makes_one_query_for_each_kind(carols: Client, django_assert_num_queries: Any) -> None:
    AuditEvent.objects.create(kind="refused", at=timezone.now(), decision_id="ffffffffffff")
    carols.get("/admin/search/")

    # One each for session, sign-in and user, and one for each of the eight kinds.
    with django_assert_num_queries(3 + len(KINDS)):
        carols.get("/admin/search/", {"q": "needle"})
