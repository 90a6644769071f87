"""Owners manage their application on pages of their account: permitted and refused changes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts.delegation.applications import owned_by
from accounts.models import AccessRequest, User
from authgate.audit import record
from authgate.models import Application, AuditEvent, Rule
from tests.accounts.signing_in import begin_session
from tests.admin.forms import save
from tests.delegation.changes import change
from tests.factories import ApplicationFactory, GroupFactory, RuleFactory, UserFactory
from tests.plans import plan_of

pytestmark = pytest.mark.django_db

WIKI = "https://wiki.example.com"


@pytest.fixture
def wiki(alice: User) -> Application:
    """A wiki that alice owns, and may share with guests."""
    application: Application = ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])
    application.owners.set([alice])
    application.shareable_groups.set([GroupFactory(name="guests")])
    return application


@pytest.fixture
def owner(client: Client, alice: User, wiki: Application) -> Client:
    begin_session(client, "alice", proven=True)
    return client


def page(wiki: Application) -> str:
    return f"/accounts/managed/applications/{wiki.pk}/"


def rule_page(rule: Rule) -> str:
    return f"/accounts/managed/rules/{rule.pk}/"


def names_in(rule: Rule) -> set[str]:
    groups = {group.name for group in rule.groups.all()}
    return groups | {user.username for user in rule.users.all()}


def events(kind: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(kind=kind).order_by("pk"))


# ---- which applications -----------------------------------------------------------------------------------


def test_a_user_owns_applications_by_name_and_by_group_only(
    alice: User, bob: User, wiki: Application
) -> None:
    by_group = ApplicationFactory(name="Blog")
    by_group.owner_groups.set([GroupFactory(name="staff")])
    ApplicationFactory(name="Other")

    assert [each.name for each in owned_by(alice)] == ["Blog", "Wiki"]
    assert not owned_by(bob).exists()


@pytest.mark.parametrize("what", ["", "people/", "events/"])
def test_an_application_of_another_owner_is_not_found(owner: Client, what: str) -> None:
    other = ApplicationFactory(name="Other")

    assert owner.get(f"{page(other)}{what}").status_code == 404
    assert change(owner, page(other), {"maintenance": "on"}).status_code == 404


def test_a_rule_of_another_application_is_not_found(owner: Client, bob: User) -> None:
    rule = RuleFactory(application=ApplicationFactory(), who="chosen", users=[bob])

    for fields in ({}, {"remove_user": bob.pk}, {"name": "bob"}, {"add_group": 1}):
        assert change(owner, rule_page(rule), fields).status_code == 404
    assert names_in(rule) == {"bob"}


@pytest.mark.parametrize("what", ["applications", "rules", "groups"])
@pytest.mark.parametrize("number", [0, 2**63 - 1, 2**63, 10**30])
def test_unknown_numbers_are_not_found(owner: Client, what: str, number: int) -> None:
    assert owner.get(f"/accounts/managed/{what}/{number}/").status_code == 404


def test_every_change_needs_a_recently_confirmed_identity(
    client: Client, alice: User, wiki: Application
) -> None:
    begin_session(client, "alice")
    User.objects.filter(pk=alice.pk).update(last_login=timezone.now())
    session = client.session
    session["account_authentication_methods"] = []
    session.save()

    assert client.post(page(wiki), {"maintenance": "on"})["Location"].startswith("/accounts/reauthenticate/")
    wiki.refresh_from_db()
    assert not wiki.maintenance


# ---- maintenance and texts --------------------------------------------------------------------------------

TEXTS = {
    "maintenance": "on",
    "maintenance_text": "Back at noon",
    "maintenance_minutes": "5",
    "refusal_text": "Ask team X",
}


def test_an_owner_closes_the_application_and_writes_its_texts(owner: Client, wiki: Application) -> None:
    assert change(owner, page(wiki), TEXTS).status_code == 302
    wiki.refresh_from_db()
    [event] = events("application_changed")

    assert (wiki.maintenance, wiki.maintenance_minutes, wiki.refusal_text) == (True, 5, "Ask team X")
    assert (event.actor, event.application) == ("alice", "Wiki")
    assert event.details["after"]["maintenance"] is True


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("enabled", ""), ("name", "Mine"), ("without_https", "on"), ("access_token", "on")],
        *[("owners", "1"), ("shareable_groups", "1"), ("user_header", "uuid")],
    ],
)
def test_an_owner_can_change_no_other_field_of_the_application(
    owner: Client, wiki: Application, field: str, value: str
) -> None:
    before = Application.objects.filter(pk=wiki.pk).values().get()
    change(owner, page(wiki), {**TEXTS, field: value})
    after = Application.objects.filter(pk=wiki.pk).values().get()

    assert {name for name in after if after[name] != before[name]} == set(TEXTS) - {""} - (
        {"maintenance_minutes"} if before["maintenance_minutes"] == 5 else set()
    )
    assert wiki.owners.count() == wiki.shareable_groups.count() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        *[{"maintenance_text": "x" * 501}, {"refusal_text": "a\u202eb"}, {"maintenance_text": "a\0b"}],
        *[{"maintenance_minutes": "0"}, {"maintenance_minutes": "1441"}, {"maintenance_minutes": "9" * 30}],
    ],
)
def test_wrong_texts_are_refused_in_words(owner: Client, wiki: Application, wrong: dict[str, str]) -> None:
    answer = change(owner, page(wiki), {**TEXTS, **wrong})
    wiki.refresh_from_db()

    assert answer.status_code == 200
    assert (wiki.maintenance, wiki.maintenance_text) == (False, "")


def test_a_disabled_application_stays_disabled(owner: Client, wiki: Application) -> None:
    wiki.enabled, wiki.locked_down_at = False, timezone.now()
    wiki.save()
    change(owner, page(wiki), TEXTS)
    wiki.refresh_from_db()

    assert not wiki.enabled
    assert wiki.locked_down_at is not None


# ---- rules ------------------------------------------------------------------------------------------------


def test_an_owner_can_add_a_shareable_group_and_its_members(
    owner: Client, wiki: Application, bob: User
) -> None:
    rule = wiki.rules.get()
    guests = wiki.shareable_groups.get()
    change(owner, rule_page(rule), {"add_group": guests.pk})
    change(owner, rule_page(rule), {"name": "BOB"})

    assert names_in(rule) == {"staff", "guests", "bob"}
    assert [event.details.get("added") for event in events("rule_shared")] == ["group guests", "user bob"]


@pytest.mark.parametrize("name", ["erin", "carol", "nobody", "dave"])
def test_only_members_of_shareable_groups_can_be_added(
    owner: Client, wiki: Application, carol: User, name: str
) -> None:
    UserFactory(username="erin", groups=["accountants"])
    UserFactory(username="dave", groups=["guests"], is_active=False)
    rule = wiki.rules.get()
    change(owner, rule_page(rule), {"name": name})

    assert names_in(rule) == {"staff"}
    assert events("rule_shared") == []


def test_only_shareable_groups_can_be_added(owner: Client, wiki: Application) -> None:
    rule = wiki.rules.get()
    for key in (GroupFactory(name="accountants").pk, 0, "x", "9" * 30):
        change(owner, rule_page(rule), {"add_group": key})

    assert names_in(rule) == {"staff"}


@pytest.mark.parametrize("who", ["everyone", "signed_in"])
def test_only_a_rule_for_selected_people_can_be_shared(
    owner: Client, wiki: Application, bob: User, who: str
) -> None:
    rule = RuleFactory(application=wiki, path="/a", who=who)
    change(owner, rule_page(rule), {"name": "bob"})
    change(owner, rule_page(rule), {"add_group": wiki.shareable_groups.get().pk})

    assert names_in(rule) == set()


def test_the_rule_of_a_granted_request_stays_for_one_user(
    owner: Client, wiki: Application, bob: User, carol: User
) -> None:
    rule = RuleFactory(application=wiki, who="chosen", users=[carol])
    AccessRequest.objects.create(application=wiki, user=carol, path="/", asked_at=timezone.now(), grant=rule)
    change(owner, rule_page(rule), {"name": "bob"})
    assert names_in(rule) == {"carol"}

    change(owner, rule_page(rule), {"remove_user": carol.pk})
    assert names_in(rule) == set()


def test_a_rule_without_people_is_kept_and_admits_nobody(owner: Client, wiki: Application) -> None:
    """If it were deleted, the rule of a shorter path would decide and could admit more people."""
    RuleFactory(application=wiki, path="/a", who="everyone")
    rule = wiki.rules.get(path="/")
    change(owner, rule_page(rule), {"remove_group": rule.groups.get().pk})

    assert names_in(Rule.objects.get(pk=rule.pk)) == set()
    assert events("rule_shared")[0].details["removed"] == "group staff"


@pytest.mark.parametrize("fields", [{}, {"remove_user": "1"}, {"remove_group": "0"}, {"remove_user": "x"}])
def test_removing_an_unknown_user_or_group_changes_nothing(
    owner: Client, wiki: Application, fields: dict[str, str]
) -> None:
    answer = change(owner, rule_page(wiki.rules.get()), fields, follow=True)

    assert answer.status_code == 200
    assert names_in(wiki.rules.get()) == {"staff"}


def test_a_former_owner_changes_nothing(
    owner: Client, wiki: Application, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A superuser removes the owner between the page's query and the change."""
    from accounts.delegation import applications

    locked = applications._locked
    monkeypatch.setattr(applications, "_locked", lambda *given: (wiki.owners.clear(), locked(*given))[1])

    assert change(owner, rule_page(wiki.rules.get()), {"name": "bob"}).status_code == 404
    wiki.owners.add(User.objects.get(username="alice"))
    assert change(owner, page(wiki), TEXTS).status_code == 404
    assert names_in(wiki.rules.get()) == {"staff"}


# ---- read-only pages --------------------------------------------------------------------------------------


def test_owners_see_who_can_open_the_application(owner: Client, wiki: Application, bob: User) -> None:
    RuleFactory(application=wiki, path="/guests", who="chosen", groups=["guests"])
    text = owner.get(f"{page(wiki)}people/").content.decode()

    assert "alice" in text and "bob" in text and "/guests" in text


def test_owners_see_events_of_this_application_since_its_creation(owner: Client, wiki: Application) -> None:
    record("refused", actor="bob", application="Wiki", reason="no rule admits", address="192.0.2.77")
    record("refused", actor="erin", application="Other")
    record("changed", actor="carol", application="Wiki")
    AuditEvent.objects.create(
        at=wiki.created_at - timedelta(days=1), kind="refused", actor="frank", application="Wiki"
    )
    text = owner.get(f"{page(wiki)}events/").content.decode()

    assert "bob" in text and "No rule for this path admits the user." in text
    assert not any(each in text for each in ("erin", "carol", "frank", "192.0.2.77"))


def test_the_query_for_the_newest_events_uses_an_index(wiki: Application) -> None:
    AuditEvent.objects.bulk_create(
        AuditEvent(at=timezone.now(), kind="refused", application=f"Other {number % 50}")
        for number in range(5_000)
    )
    events = AuditEvent.objects.filter(application="Wiki", at__gte=wiki.created_at).order_by("-at", "-pk")

    plan = plan_of(lambda: list(events[:100]), AuditEvent)

    assert "events_of_an_application" in plan, plan


def test_the_page_links_to_access_requests(owner: Client, wiki: Application, bob: User) -> None:
    found = AccessRequest.objects.create(application=wiki, user=bob, path="/", asked_at=timezone.now())

    assert f"/access/requests/{found.pk}/" in owner.get(page(wiki)).content.decode()


@pytest.mark.usefixtures("known_brand")
def test_the_pages_need_the_same_queries_for_many_rows(
    owner: Client, wiki: Application, django_assert_max_num_queries: Any
) -> None:
    for number in range(40):
        RuleFactory(application=wiki, path=f"/{number}", who="chosen", groups=["staff"])
        person = UserFactory(username=f"person-{number}", groups=["staff"])
        record("refused", actor=person.username, application="Wiki")
    for url, most in (("", 16), ("people/", 14), ("events/", 9)):
        with django_assert_max_num_queries(most):
            assert owner.get(f"{page(wiki)}{url}").status_code == 200


# ---- choosing owners and shareable groups -----------------------------------------------------------------


def test_only_superusers_choose_shareable_groups(sams: Client, carols: Client, wiki: Application) -> None:
    url = f"/admin/authgate/application/{wiki.pk}/change/"
    more = GroupFactory(name="accountants")
    save(sams, url, shareable_groups=[more.pk])
    assert {group.name for group in wiki.shareable_groups.all()} == {"guests"}

    save(carols, url, shareable_groups=[more.pk])
    assert {group.name for group in wiki.shareable_groups.all()} == {"accountants"}


def test_choosing_owners_needs_the_permission_to_change_rules(
    browser_of: Any, wiki: Application, bob: User
) -> None:
    pat = UserFactory(username="pat", is_staff=True)
    pat.user_permissions.set(Permission.objects.filter(codename__in=("change_application", "view_user")))
    save(browser_of(pat), f"/admin/authgate/application/{wiki.pk}/change/", owners=[pat.pk])

    assert [user.username for user in wiki.owners.all()] == ["alice"]
