"""Owners and group managers see who is affected before a change is saved."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from accounts.models import User
from authgate.models import Application, AuditEvent, RequestCount
from tests.accounts.signing_in import begin_session
from tests.admin.forms import confirm
from tests.factories import ApplicationFactory, GroupFactory, RuleFactory, UserFactory

pytestmark = pytest.mark.django_db

TEXTS = {"maintenance": "on", "maintenance_text": "", "maintenance_minutes": "5", "refusal_text": ""}


@pytest.fixture
def wiki(alice: User, bob: User, carol: User) -> Application:
    """A wiki of alice's. Bob and erin can open it, and so can carol, who is a superuser."""
    application: Application = ApplicationFactory(name="Wiki", groups=["staff", "guests"])
    application.owners.set([alice])
    application.shareable_groups.set([GroupFactory(name="partners")])
    UserFactory(username="erin", groups=["guests"])
    UserFactory(username="frank", groups=["partners"])
    return application


@pytest.fixture
def owner(client: Client, alice: User, wiki: Application) -> Client:
    begin_session(client, "alice", proven=True)
    return client


def application_page(application: Application) -> str:
    return f"/accounts/managed/applications/{application.pk}/"


def rule_page(application: Application) -> str:
    return f"/accounts/managed/rules/{application.rules.get(path='/').pk}/"


def group_page(group: Group) -> str:
    return f"/accounts/managed/groups/{group.pk}/"


def shown(response: Any) -> dict[str, list[str]]:
    """Return the headings of the page with the users under each."""
    return {
        part.title: sorted({person.username for line in part.lines for person in line.names})
        for part in response.context["detailed"]
    }


def names_in(application: Application) -> set[str]:
    rule = application.rules.get(path="/")
    return {row.name for row in rule.groups.all()} | {row.username for row in rule.users.all()}


def text_of(response: Any) -> str:
    return " ".join(response.content.decode().split())


# ---- maintenance ------------------------------------------------------------------------------------------


def test_an_owner_sees_whom_maintenance_refuses_before_it_begins(
    owner: Client, wiki: Application, bob: User
) -> None:
    rule = wiki.rules.get()
    RequestCount.objects.create(
        application=wiki, person=bob.pk, rule=rule.pk, method="GET", day=timezone.localdate(), allowed=7
    )

    asked = owner.post(application_page(wiki), TEXTS)
    wiki.refresh_from_db()

    assert shown(asked) == {"See the maintenance page": ["bob", "erin"]}
    assert "Requests that this change would have refused: 7, of people: 1." in text_of(asked)
    assert not wiki.maintenance
    assert not AuditEvent.objects.filter(kind="application_changed").exists()

    saved = confirm(owner, asked)
    wiki.refresh_from_db()

    assert saved.status_code == 302
    assert wiki.maintenance
    assert AuditEvent.objects.get(kind="application_changed").actor == "alice"


def test_the_effect_of_ending_maintenance_is_shown_too(owner: Client, wiki: Application) -> None:
    Application.objects.filter(pk=wiki.pk).update(maintenance=True)

    asked = owner.post(application_page(wiki), TEXTS | {"maintenance": ""})

    assert shown(asked) == {"Get in again after maintenance": ["bob", "erin"]}
    confirm(owner, asked)
    wiki.refresh_from_db()
    assert not wiki.maintenance


def test_a_change_of_texts_only_is_saved_at_once(owner: Client, wiki: Application) -> None:
    saved = owner.post(application_page(wiki), TEXTS | {"maintenance": "", "refusal_text": "Ask team X"})
    wiki.refresh_from_db()

    assert (saved.status_code, wiki.refusal_text) == (302, "Ask team X")


def test_an_owner_can_go_back_to_the_form_with_its_values(owner: Client, wiki: Application) -> None:
    asked = owner.post(application_page(wiki), TEXTS | {"maintenance_text": "Back at noon"})

    form = owner.post(application_page(wiki), {"_carried": asked.context["carried"], "_edit_again": "yes"})
    wiki.refresh_from_db()

    assert "Nothing was saved yet." in text_of(form)
    assert form.context["form"]["maintenance_text"].value() == "Back at noon"
    assert not wiki.maintenance


# ---- the confirmation -------------------------------------------------------------------------------------


def test_many_affected_people_need_a_ticked_box(owner: Client, wiki: Application, settings: Any) -> None:
    settings.IKD_CONFIRM_PEOPLE = 2
    asked = owner.post(application_page(wiki), TEXTS)
    assert b'name="_sure"' in asked.content

    again = owner.post(application_page(wiki), {"_carried": asked.context["carried"]})
    wiki.refresh_from_db()
    assert "Tick the box" in text_of(again)
    assert not wiki.maintenance

    confirm(owner, again)
    wiki.refresh_from_db()
    assert wiki.maintenance


def test_few_affected_people_need_no_ticked_box(owner: Client, wiki: Application) -> None:
    asked = owner.post(application_page(wiki), TEXTS)
    assert b'name="_sure"' not in asked.content

    confirm(owner, asked, _sure="")
    wiki.refresh_from_db()
    assert wiki.maintenance


def test_a_changed_effect_is_shown_again(owner: Client, wiki: Application) -> None:
    asked = owner.post(application_page(wiki), TEXTS)
    UserFactory(username="grace", groups=["guests"])
    again = confirm(owner, asked)
    wiki.refresh_from_db()

    assert "The effect is different" in text_of(again)
    assert shown(again) == {"See the maintenance page": ["bob", "erin", "grace"]}
    assert not wiki.maintenance


@pytest.mark.parametrize("carried", ["", "x", "a:b:c", "\0", "x" * 5000])
def test_a_forged_confirmation_saves_nothing(owner: Client, wiki: Application, carried: str) -> None:
    answer = owner.post(application_page(wiki), TEXTS | {"_carried": carried, "_sure": "yes"}, follow=True)
    wiki.refresh_from_db()

    assert "Nothing was saved." in text_of(answer)
    assert not wiki.maintenance


def test_a_confirmation_for_another_application_saves_nothing(
    owner: Client, wiki: Application, alice: User
) -> None:
    other = ApplicationFactory(name="Other", groups=["guests"])
    other.owners.set([alice])
    asked = owner.post(application_page(wiki), TEXTS)

    owner.post(application_page(other), {"_carried": asked.context["carried"], "_sure": "yes"})

    assert not Application.objects.filter(maintenance=True).exists()


def test_a_confirmation_of_a_former_owner_saves_nothing(owner: Client, wiki: Application) -> None:
    asked = owner.post(application_page(wiki), TEXTS)
    wiki.owners.clear()

    assert confirm(owner, asked).status_code == 404
    wiki.refresh_from_db()
    assert not wiki.maintenance


def test_the_csv_file_lists_the_affected_people_of_own_applications(owner: Client, wiki: Application) -> None:
    asked = owner.post(application_page(wiki), TEXTS)
    file = owner.post(application_page(wiki), {"_carried": asked.context["carried"], "_as_csv": "yes"})

    assert file["Content-Type"].startswith("text/csv")
    assert "bob" in file.content.decode() and "erin" in file.content.decode()
    wiki.refresh_from_db()
    assert not wiki.maintenance


# ---- rules ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "effect", "left"),
    [
        ({"add_group": "partners"}, {"Gain access": ["frank"]}, {"staff", "guests", "partners"}),
        ({"name": "Frank"}, {"Gain access": ["frank"]}, {"staff", "guests", "frank"}),
        ({"remove_group": "guests"}, {"Lose access": ["bob", "erin"]}, {"staff"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_rule_is_changed_after_its_effect_was_confirmed(
    owner: Client, wiki: Application, fields: dict[str, str], effect: dict[str, list[str]], left: set[str]
) -> None:
    keys = {group.name: group.pk for group in Group.objects.all()}
    posted = {name: keys.get(value, value) for name, value in fields.items()}

    asked = owner.post(rule_page(wiki), posted)

    assert shown(asked) == effect
    assert names_in(wiki) == {"staff", "guests"}
    assert not AuditEvent.objects.filter(kind="rule_shared").exists()

    assert confirm(owner, asked).status_code == 302
    assert names_in(wiki) == left
    assert AuditEvent.objects.filter(kind="rule_shared").count() == 1


def test_a_user_is_removed_from_a_rule_after_a_confirmation(
    owner: Client, wiki: Application, alice: User
) -> None:
    frank = User.objects.get(username="frank")
    wiki.rules.get().users.add(frank)

    asked = owner.post(rule_page(wiki), {"remove_user": frank.pk})

    assert shown(asked) == {"Lose access": ["frank"]}
    confirm(owner, asked)
    assert names_in(wiki) == {"staff", "guests"}


def test_a_change_of_a_rule_that_affects_nobody_is_saved_at_once(owner: Client, wiki: Application) -> None:
    wiki.shareable_groups.add(Group.objects.get(name="guests"))

    assert owner.post(rule_page(wiki), {"name": "erin"}).status_code == 302
    assert names_in(wiki) == {"staff", "guests", "erin"}


# ---- groups -----------------------------------------------------------------------------------------------


def test_a_manager_sees_what_a_new_member_can_open(owner: Client, wiki: Application, team: Group) -> None:
    wiki.rules.get().groups.add(team)
    secret = ApplicationFactory(name="Takeover plans", groups=["team"])
    RuleFactory(application=secret, path="/numbers", who="chosen", groups=["team"])

    asked = owner.post(group_page(team), {"name": "frank"})

    assert shown(asked) == {"Gain access": ["frank"]}
    assert "1 person, 2 applications" in text_of(asked)
    assert "Applications that you do not own are counted, but not named." in text_of(asked)
    assert not any(word in text_of(asked) for word in ("Takeover", "numbers"))
    assert not team.user_set.exists()

    confirm(owner, asked)
    assert [user.username for user in team.user_set.all()] == ["frank"]


def test_a_member_is_removed_after_a_confirmation(owner: Client, wiki: Application, team: Group) -> None:
    frank = User.objects.get(username="frank")
    team.user_set.add(frank)
    wiki.rules.get().groups.add(team)

    asked = owner.post(group_page(team), {"remove_user": frank.pk})

    assert shown(asked) == {"Lose access": ["frank"]}
    confirm(owner, asked)
    assert not team.user_set.exists()


def test_requests_to_applications_of_other_owners_are_not_shown(
    owner: Client, wiki: Application, team: Group
) -> None:
    frank = User.objects.get(username="frank")
    team.user_set.add(frank)
    secret = ApplicationFactory(name="Takeover plans", groups=["team"])
    RequestCount.objects.create(
        application=secret,
        person=frank.pk,
        rule=secret.rules.get().pk,
        method="GET",
        day=timezone.localdate(),
        allowed=4711,
    )

    asked = owner.post(group_page(team), {"remove_user": frank.pk})
    file = owner.post(group_page(team), {"_carried": asked.context["carried"], "_as_csv": "yes"})

    assert "1 person, 1 application" in text_of(asked)
    assert "4711" not in text_of(asked)
    assert "Takeover" not in text_of(asked) + file.content.decode()
    assert team.user_set.exists()
