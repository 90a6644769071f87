"""If a change in the administration affects access, its effect is shown first and saved only as shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.test import Client

from accounts.models import StrictGroup, User
from authgate.admin import carried_form
from authgate.models import Application, AuditEvent, Icon, Rule
from tests.admin.conftest import PortalClient
from tests.admin.forms import confirm, errors_in, form_on, messages_in, send
from tests.factories import ApplicationFactory, RuleFactory, UserFactory
from tests.uploads import picture

USERS, GROUPS, APPLICATIONS = (
    "/admin/accounts/user/",
    "/admin/accounts/group/",
    "/admin/authgate/application/",
)


@pytest.fixture
def wiki(alice: User, bob: User) -> Application:
    return ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])


def page(row: Any) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


def of_group(group: Group) -> str:
    return f"{GROUPS}{group.pk}/change/"


def is_shown(response: Any) -> bool:
    return response.context is not None and "carried" in response.context


def shown(response: Any) -> dict[str, list[str]]:
    """Return the headings of the page, each with its users."""
    return {
        part.title: sorted({person.username for each in part.differences for person in each.people})
        for part in response.context["parts"]
    }


# ---- changes with a confirmation --------------------------------------------------------------------------


def test_a_rule_is_saved_after_its_effect_was_confirmed(carols: Client, wiki: Application, bob: User) -> None:
    asked = send(carols, page(wiki), **{"rules-0-users": [bob.pk], "rules-0-groups": None})

    assert shown(asked) == {"Lose access": ["alice"], "Gain access": ["bob"]}
    assert list(wiki.rules.get().groups.values_list("name", flat=True)) == ["staff"]
    assert not AuditEvent.objects.filter(kind="changed").exists()
    assert messages_in(carols) == ""

    saved = confirm(carols, asked)

    assert saved.status_code == 302
    assert list(wiki.rules.get().users.all()) == [bob]
    assert AuditEvent.objects.filter(kind="changed", subject="Wiki").count() == 1
    assert "was changed successfully" in messages_in(carols)


def test_a_change_of_members_is_confirmed(carols: Client, wiki: Application, alice: User, bob: User) -> None:
    group = Group.objects.get(name="staff")

    asked = send(carols, of_group(group), add_members=[bob.pk], remove_members=[alice.pk])

    assert shown(asked) == {"Lose access": ["alice"], "Gain access": ["bob"]}
    confirm(carols, asked)
    assert list(group.user_set.all()) == [bob]


def test_a_change_of_a_users_groups_is_confirmed(carols: Client, wiki: Application, alice: User) -> None:
    asked = send(carols, page(alice), groups=None)

    assert shown(asked) == {"Lose access": ["alice"]}
    confirm(carols, asked)
    assert not alice.groups.exists()


def test_disabling_a_user_an_application_and_an_origin_is_confirmed(
    carols: Client, wiki: Application, alice: User
) -> None:
    for url, changes in (
        (page(alice), {"is_active": None}),
        (page(wiki), {"enabled": None}),
        (page(wiki), {"origins-0-value": "https://other.example.com"}),
        (page(wiki), {"rules-0-DELETE": "on"}),
    ):
        assert shown(send(carols, url, **changes))["Lose access"] == ["alice"], changes


def test_maintenance_of_an_application_is_confirmed(carols: Client, wiki: Application, alice: User) -> None:
    asked = send(carols, page(wiki), maintenance="on")

    assert shown(asked) == {"See the maintenance page": ["alice"]}
    confirm(carols, asked)
    assert shown(send(carols, page(wiki), maintenance=None)) == {"Get in again after maintenance": ["alice"]}


def test_requiring_a_second_factor_of_a_group_is_confirmed(
    carols: Client, wiki: Application, alice: User
) -> None:
    group = Group.objects.get(name="staff")

    asked = send(carols, of_group(group), second_factor="on")

    assert shown(asked) == {"Need a second factor for every application": ["alice"]}
    assert b"every application" in asked.content
    confirm(carols, asked)
    assert StrictGroup.objects.filter(group=group).exists()


@pytest.mark.parametrize("action", ["disable", "lock_down", "delete_selected"])
def test_an_action_asks_once_and_shows_its_effect(
    carols: Client, wiki: Application, alice: User, action: str
) -> None:
    asked = carols.post(USERS, {"_selected_action": alice.pk, "action": action})

    assert shown(asked) == {"Lose access": ["alice"]}
    assert User.objects.get(pk=alice.pk).is_active
    assert confirm(carols, asked).status_code == 302
    assert not User.objects.filter(pk=alice.pk, is_active=True).exists()


def test_an_action_without_an_effect_has_its_usual_question(
    carols: Client, wiki: Application, bob: User
) -> None:
    asked = carols.post(USERS, {"_selected_action": bob.pk, "action": "disable"})

    assert b"Disable these users and end their sign-ins?" in asked.content
    assert not is_shown(asked)
    assert User.objects.get(pk=bob.pk).is_active


@pytest.mark.parametrize("of", ["user", "group", "application"])
def test_a_deletion_is_confirmed(carols: Client, wiki: Application, alice: User, of: str) -> None:
    row: Any = {"user": alice, "group": Group.objects.get(name="staff"), "application": wiki}[of]
    url = (of_group(row) if of == "group" else page(row)).replace("/change/", "/delete/")

    asked = carols.get(url)

    assert shown(asked) == {"Lose access": ["alice"]}
    assert b"What is deleted" in asked.content
    assert url.replace("/delete/", "/change/") in str(asked.content)
    assert type(row).objects.filter(pk=row.pk).exists()
    assert confirm(carols, asked).status_code == 302
    assert not type(row).objects.filter(pk=row.pk).exists()
    assert AuditEvent.objects.filter(kind="deleted").count() == 1


@pytest.mark.parametrize("of", ["user", "group", "application"])
def test_a_deletion_is_confirmed_even_if_its_page_was_skipped(
    carols: Client, wiki: Application, alice: User, of: str
) -> None:
    row: Any = {"user": alice, "group": Group.objects.get(name="staff"), "application": wiki}[of]
    url = (of_group(row) if of == "group" else page(row)).replace("/change/", "/delete/")

    asked = carols.post(url, {"post": "yes"})

    assert shown(asked) == {"Lose access": ["alice"]}
    assert confirm(carols, asked).status_code == 302
    assert not type(row).objects.filter(pk=row.pk).exists()


def test_a_deletion_without_an_effect_has_its_usual_question(
    carols: Client, wiki: Application, bob: User
) -> None:
    url = page(bob).replace("/change/", "/delete/")

    asked = carols.get(url)

    assert b"Are you sure" in asked.content
    assert not is_shown(asked)
    assert carols.post(url, {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=bob.pk).exists()


def test_opening_the_deletion_page_changes_nothing(
    carols: Client, wiki: Application, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ikd.security")
    events = AuditEvent.objects.count()

    carols.get(page(alice).replace("/change/", "/delete/"))

    assert User.objects.filter(pk=alice.pk).exists()
    assert AuditEvent.objects.count() == events
    assert not caplog.records and not mail.outbox
    assert messages_in(carols) == ""


def test_an_action_that_deletes_lists_the_deleted_rows(carols: Client, wiki: Application) -> None:
    asked = carols.post(APPLICATIONS, {"_selected_action": wiki.pk, "action": "delete_selected"})

    assert shown(asked) == {"Lose access": ["alice"]}
    assert b"Origin: https://wiki.example.com" in asked.content
    assert b"Rules: 1" in asked.content


def test_an_action_lists_its_rows(carols: Client, wiki: Application, alice: User) -> None:
    asked = carols.post(USERS, {"_selected_action": alice.pk, "action": "disable"})

    assert "<li>alice</li>" in asked.content.decode()


def test_a_change_that_affects_nobody_is_saved_at_once(
    carols: Client, wiki: Application, alice: User
) -> None:
    assert send(carols, page(wiki), description="All we know").status_code == 302
    assert send(carols, page(alice), display_name="Alice Liddell").status_code == 302
    assert send(carols, f"{GROUPS}add/", name="new").status_code == 302
    assert AuditEvent.objects.filter(kind__in=("added", "changed")).count() == 3


def test_a_form_with_errors_is_shown_again(carols: Client, wiki: Application) -> None:
    answer = send(carols, page(wiki), enabled=None, name="")

    assert not is_shown(answer)
    assert "required" in errors_in(answer)


def test_nothing_is_sent_before_the_confirmation(
    carols: Client, wiki: Application, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ikd.security")
    asked = send(carols, page(alice), is_active=None)

    assert not caplog.records and not mail.outbox

    confirm(carols, asked)

    assert [record.message for record in caplog.records] == ["changed"]


# ---- confirmations ----------------------------------------------------------------------------------------


def test_a_changed_effect_is_shown_again(carols: Client, wiki: Application, alice: User) -> None:
    asked = send(carols, page(wiki), enabled=None)
    UserFactory(username="eve", groups=["staff"])

    again = confirm(carols, asked)

    assert shown(again) == {"Lose access": ["alice", "eve"]}
    assert b"different from the one that you saw" in again.content
    assert Application.objects.get(pk=wiki.pk).enabled
    assert confirm(carols, again).status_code == 302
    assert not Application.objects.get(pk=wiki.pk).enabled


def test_many_affected_people_need_a_ticked_box(carols: Client, wiki: Application, settings: Any) -> None:
    settings.IKD_CONFIRM_PEOPLE = 1
    asked = send(carols, page(wiki), enabled=None)

    again = confirm(carols, asked, _sure="")

    assert b'name="_sure"' in asked.content
    assert is_shown(again)
    assert b"Tick the box" in again.content
    assert Application.objects.get(pk=wiki.pk).enabled
    assert confirm(carols, again).status_code == 302


def test_few_affected_people_need_only_a_click(carols: Client, wiki: Application) -> None:
    asked = send(carols, page(wiki), enabled=None)

    assert b'name="_sure"' not in asked.content
    assert confirm(carols, asked, _sure="").status_code == 302


def test_opening_to_visitors_needs_a_ticked_box(carols: Client, wiki: Application) -> None:
    asked = send(carols, page(wiki), **{"rules-0-who": "everyone"})

    assert b"visitors who are not signed in" in asked.content
    assert is_shown(confirm(carols, asked, _sure=""))
    assert confirm(carols, asked).status_code == 302


def refused(client: Client, url: str, carried: str) -> bool:
    answer = client.post(url, {"_carried": carried, "_sure": "yes"})
    return answer.status_code == 302 and "Nothing was saved" in messages_in(client)


def test_a_confirmation_is_valid_for_one_form_one_user_and_a_limited_time(
    carols: Client, browser_of: Callable[[User], Client], wiki: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ApplicationFactory(name="Other", groups=["staff"])
    cleo = browser_of(UserFactory(username="cleo", is_staff=True, is_superuser=True))
    carried = send(carols, page(wiki), enabled=None).context["carried"]

    assert refused(carols, page(other), carried)
    assert refused(cleo, page(wiki), carried)
    assert refused(carols, page(wiki), carried[:-2] + "xx")
    assert refused(carols, page(wiki), "")
    monkeypatch.setattr(carried_form, "LONGEST", -1)
    assert refused(carols, page(wiki), carried)
    assert Application.objects.filter(enabled=True).count() == 2


def test_an_action_on_all_users_of_a_list_keeps_the_shown_filter(
    carols: Client, wiki: Application, alice: User, bob: User
) -> None:
    fields = {"_selected_action": alice.pk, "action": "disable", "select_across": "1"}
    asked = carols.post(f"{USERS}?q=alice", fields)

    assert shown(asked) == {"Lose access": ["alice"]}
    assert refused(carols, f"{USERS}?q=o", asked.context["carried"])
    assert confirm(carols, asked)["Location"] == f"{USERS}?q=alice"
    assert list(User.objects.filter(is_active=False)) == [alice]


def test_a_confirmation_does_not_replace_a_permission(
    carols: Client, sam: User, browser_of: Callable[[User], Client], wiki: Application
) -> None:
    sams = browser_of(sam)
    asked = send(sams, page(wiki), enabled=None)
    sam.user_permissions.remove(Permission.objects.get(codename="change_application"))

    assert confirm(sams, asked).status_code == 403
    assert Application.objects.get(pk=wiki.pk).enabled


def test_a_confirmation_from_another_site_is_refused(carol: User, wiki: Application, alice: User) -> None:
    strict = PortalClient(HTTP_HOST="sso.example.com", enforce_csrf_checks=True)
    strict.force_login(carol, backend="accounts.backends.PasswordBackend")
    fields = {**form_on(strict, page(alice)), "groups": []}
    token = strict.get(page(alice)).context["csrf_token"]
    origin = {"HTTP_REFERER": "https://sso.example.com/admin/"}
    asked = strict.post(page(alice), {**fields, "csrfmiddlewaretoken": str(token)}, **origin)
    carried = {"_carried": asked.context["carried"]}

    assert strict.post(page(alice), carried, **origin).status_code == 403
    assert alice.groups.exists()
    carried["csrfmiddlewaretoken"] = str(asked.context["csrf_token"])
    assert strict.post(page(alice), carried, **origin).status_code == 302
    assert not alice.groups.exists()


# ---- the page ---------------------------------------------------------------------------------------------


def test_people_are_named_only_to_staff_who_may_view_users(
    sam: User, browser_of: Callable[[User], Client], wiki: Application
) -> None:
    hidden = Permission.objects.filter(codename__in=("explain_access", "view_user"))
    sam.user_permissions.remove(*hidden)
    sams = browser_of(sam)

    asked = send(sams, page(wiki), enabled=None)
    as_csv = confirm(sams, asked, _as_csv="CSV", _sure="")

    assert b"alice" not in asked.content
    assert b"1 person" in asked.content
    assert is_shown(as_csv)
    assert b"alice" not in as_csv.content


def test_the_csv_file_lists_everyone_and_contains_no_formula(carols: Client, wiki: Application) -> None:
    UserFactory(username="=cmd", groups=["staff"])
    asked = send(carols, page(wiki), enabled=None)

    answer = confirm(carols, asked, _as_csv="CSV")

    assert answer["Content-Type"].startswith("text/csv")
    assert answer.content.decode().splitlines() == [
        "change,application,path,exact,origin,username,name",
        "lost,Wiki,/,no,,'=cmd,'=Cmd",
        "lost,Wiki,/,no,,alice,Alice",
    ]
    assert Application.objects.get(pk=wiki.pk).enabled


def test_the_form_can_be_changed_again(carols: Client, wiki: Application) -> None:
    asked = send(carols, page(wiki), enabled=None, description="Closed")

    answer = confirm(carols, asked, _edit_again="yes")

    assert "Nothing was saved yet" in errors_in(answer)
    assert answer.context["adminform"].form["description"].value() == "Closed"
    assert Application.objects.get(pk=wiki.pk).enabled


def test_the_page_asks_for_an_uploaded_file_again(carols: Client, wiki: Application) -> None:
    asked = send(carols, page(wiki), enabled=None, icon_file=picture())

    assert b'type="file" name="icon_file"' in asked.content
    answer = carols.post(page(wiki), {"_carried": asked.context["carried"], "icon_file": picture()})
    assert answer.status_code == 302
    assert Icon.objects.filter(application=wiki).exists()


def new_user(**changes: Any) -> dict[str, Any]:
    password = {"password1": "correct horse battery", "password2": "correct horse battery"}
    return {"username": "zoe", **password, "usable_password": "true", **changes}


def test_a_new_user_with_groups_is_confirmed(carols: Client, wiki: Application) -> None:
    RuleFactory(application=wiki, path="/all", who=Rule.Who.SIGNED_IN)
    group = Group.objects.get(name="staff")

    asked = carols.post(f"{USERS}add/", new_user(groups=[group.pk]))

    assert shown(asked) == {"Gain access": ["zoe"]}
    assert [each.path for each in asked.context["effect"].gained] == ["/", "/all"]
    assert not User.objects.filter(username="zoe").exists()
    assert confirm(carols, asked).status_code == 302
    zoe = User.objects.get(username="zoe")
    assert zoe.check_password("correct horse battery")
    assert list(zoe.groups.all()) == [group]


def test_a_new_user_whom_no_rule_admits_is_saved_at_once(carols: Client, wiki: Application) -> None:
    assert carols.post(f"{USERS}add/", new_user()).status_code == 302
    assert User.objects.filter(username="zoe").exists()


def test_the_page_contains_the_password_only_encrypted(carols: Client, wiki: Application) -> None:
    asked = carols.post(f"{USERS}add/", new_user(groups=[Group.objects.get(name="staff").pk]))

    carried = carried_form.signing.loads(asked.context["carried"], salt=carried_form.SALT)
    assert "username" in carried["fields"] and "password1" not in carried["fields"]
    assert "correct horse" not in str(carried) + asked.content.decode()


def test_a_password_encrypted_by_another_installation_is_refused(
    carols: Client, wiki: Application, settings: Any
) -> None:
    asked = carols.post(f"{USERS}add/", new_user(groups=[Group.objects.get(name="staff").pk]))
    settings.IKD_ENCRYPTION_KEYS = ["another key that is long enough"]

    assert refused(carols, f"{USERS}add/", asked.context["carried"])
    assert not User.objects.filter(username="zoe").exists()


def test_staff_cannot_add_a_new_user_to_a_group_with_permissions(
    sams: Client, sam: User, wiki: Application
) -> None:
    group = Group.objects.create(name="powerful")
    group.permissions.add(Permission.objects.all()[0])

    answer = sams.post(f"{USERS}add/", new_user(groups=[group.pk]))

    assert "Only superusers can add users to groups with permissions" in errors_in(answer)
    assert not User.objects.filter(username="zoe").exists()


def test_other_save_buttons_keep_their_meaning(carols: Client, wiki: Application) -> None:
    asked = send(carols, page(wiki), enabled=None, _continue="Save and continue editing")

    assert confirm(carols, asked)["Location"] == page(wiki)


def test_names_are_escaped(carols: Client) -> None:
    UserFactory(username="x<script>", groups=["staff"])
    app = ApplicationFactory(name="<b>Wiki", groups=["staff"])

    body = send(carols, page(app), enabled=None).content

    assert b"<script>x" not in body and b"<b>Wiki" not in body and b"x<script>" not in body
