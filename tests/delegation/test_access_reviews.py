"""Access reviews: owners confirm or remove each person, and get a task for access that they cannot remove."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client
from django.utils import timezone

from accounts.access_reviews import answers, current, reviews, rounds, views
from accounts.models import AccessReview, AccessReviewEntry, ManagedGroup, User
from authgate import leases
from authgate.models import Application, AuditEvent, RequestCount
from ikd_portal.tidy import rounds as tidy
from tests.accounts.signing_in import begin_session
from tests.admin.test_attention import matters
from tests.factories import PASSWORD, ApplicationFactory, GroupFactory, RuleFactory, UserFactory

pytestmark = pytest.mark.django_db

OVERDUE, TO_REMOVE = "Access reviews that are overdue", "Access to remove"


@pytest.fixture
def wiki(alice: User, bob: User) -> Application:
    """A wiki that alice owns. The group staff, with alice, and bob can open parts of it."""
    application: Application = ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"])
    RuleFactory(application=application, who="chosen", groups=["staff"])
    RuleFactory(application=application, path="/a", who="chosen", users=[bob])
    application.owners.set([alice])
    return application


@pytest.fixture
def review(wiki: Application) -> AccessReview:
    found = reviews.begin(wiki)
    assert found is not None
    return found


@pytest.fixture
def owner(client: Client, alice: User) -> Client:
    begin_session(client, "alice", proven=True)
    mail.outbox.clear()
    return client


def with_confirmed_identity(browser: Client) -> Client:
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    return browser


def page(review: AccessReview) -> str:
    return f"/accounts/managed/reviews/{review.pk}/"


def entry_of(review: AccessReview, name: str) -> AccessReviewEntry:
    return review.entries.get(username=name)


def answer(client: Client, review: AccessReview, **chosen: str) -> Any:
    """Send answers, and confirm them if the page asks."""
    fields = {f"answer-{entry_of(review, name).pk}": value for name, value in chosen.items()}
    shown = client.post(page(review), {**fields, "confirmed": ""})
    if shown.context is None or "asked" not in shown.context:
        return shown
    return client.post(page(review), {**fields, "confirmed": shown.context["asked"].shown})


def select(client: Client, review: AccessReview, button: str, *names: str) -> Any:
    """Select people, and press a button."""
    keys = [entry_of(review, name).pk for name in names]
    return client.post(page(review), {"answer": button, "entry": keys})


def confirm(client: Client, review: AccessReview, asked: Any) -> Any:
    found = asked.context["asked"]
    fields = {f"answer-{line.key}": line.answer for line in found.lines}
    return client.post(page(review), {**fields, "confirmed": found.shown})


def can_open(application: Application, user: User) -> bool:
    compiled = current.compiled(application.pk)
    return user.pk in current.reasons_of(compiled, current.directory_of(user))


def set_age(wiki: Application, days: int) -> None:
    Application.objects.filter(pk=wiki.pk).update(created_at=timezone.now() - timedelta(days=days))


# ---- the start --------------------------------------------------------------------------------------------


def test_a_review_lists_everyone_with_access_with_reason_and_last_use(
    wiki: Application, bob: User, owner: Client
) -> None:
    UserFactory(username="dave", groups=["staff"], is_active=False)
    rule, today = wiki.rules.get(path="/a"), timezone.localdate()
    RequestCount.objects.create(
        day=today, application=wiki, person=bob.pk, rule=rule.pk, method="GET", allowed=1
    )
    review = reviews.begin(wiki)

    assert review is not None
    assert [entry.username for entry in review.entries.order_by("username")] == ["alice", "bob"]
    assert current.in_words(entry_of(review, "alice").reasons) == ["/: group staff"]
    assert current.in_words(entry_of(review, "bob").reasons) == ["/a: named in the rule"]
    assert (entry_of(review, "bob").last_use, entry_of(review, "alice").last_use) == (today, None)
    assert "/a: named in the rule" in owner.get(page(review)).content.decode()


def test_owners_get_a_mail_with_a_link_that_needs_a_sign_in(
    client: Client, owner: Client, wiki: Application
) -> None:
    review = reviews.begin(wiki)
    assert review is not None
    [sent] = mail.outbox
    owner.cookies.clear()

    assert (sent.to, review.asked) == (["alice@example.com"], ["alice"])
    assert page(review) in sent.body and "Wiki" in sent.body
    assert owner.get(page(review))["Location"].startswith("/accounts/login/")


def test_an_application_has_only_one_open_review(wiki: Application, review: AccessReview) -> None:
    assert reviews.begin(wiki) is None
    assert AccessReview.objects.count() == 1


def test_people_beyond_the_limit_are_only_counted(
    wiki: Application, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "PEOPLE_LIMIT", 1)
    review = reviews.begin(wiki)

    assert review is not None
    assert (review.people, review.left_out, review.entries.count()) == (1, 1, 1)
    assert "People left out: 1." in owner.get(page(review)).content.decode()


@pytest.mark.parametrize(
    ("days", "created", "last", "enabled", "begins"),
    [
        (0, 900, None, True, False),
        (365, 900, None, True, True),
        (365, 300, None, True, False),
        (365, 900, None, False, False),
        (365, 900, 364, True, False),
        (365, 900, 366, True, True),
    ],
)
def test_a_review_begins_when_the_last_one_is_too_old(
    wiki: Application, settings: Any, days: int, created: int, last: int | None, enabled: bool, begins: bool
) -> None:
    settings.IKD_REVIEW_ACCESS_DAYS = days
    set_age(wiki, created)
    Application.objects.update(enabled=enabled)
    if last:
        at = timezone.now() - timedelta(days=last)
        AccessReview.objects.create(application=wiki, name="Wiki", began_at=at, closed_at=at)

    assert [rounds.go("first") for _ in range(2)] == [int(begins), 0]


def test_only_one_process_at_a_time_begins_reviews(wiki: Application, settings: Any) -> None:
    settings.IKD_REVIEW_ACCESS_DAYS = 365
    set_age(wiki, 900)
    leases.hold(rounds.LEASE, "another", 60)

    assert rounds.go("this one") == 0


@pytest.mark.parametrize("days", [-1, 29, 3651])
def test_an_invalid_number_of_days_is_an_error(settings: Any, days: int) -> None:
    settings.IKD_REVIEW_ACCESS_DAYS = days

    with pytest.raises(SystemCheckError, match=rf"accounts\.E006.*is {days}"):
        call_command("check")


# ---- answers ----------------------------------------------------------------------------------------------


def test_keeping_access_changes_nothing_and_is_recorded(
    owner: Client, wiki: Application, review: AccessReview, bob: User
) -> None:
    answer(owner, review, bob="keep")
    entry, event = entry_of(review, "bob"), AuditEvent.objects.get(kind="access_kept")

    assert (entry.answer, entry.answered_by, entry.task_open) == ("keep", "alice", False)
    assert entry.answered_at is not None
    assert (event.actor, event.subject, event.application) == ("alice", "bob", "Wiki")
    assert can_open(wiki, bob)


def test_a_user_named_in_a_rule_is_removed_at_once(
    owner: Client, wiki: Application, review: AccessReview, bob: User
) -> None:
    answer(owner, review, bob="remove")

    assert not can_open(wiki, bob)
    assert not entry_of(review, "bob").task_open
    assert AuditEvent.objects.get(kind="access_removed").details["remaining"] == []
    assert AuditEvent.objects.get(kind="rule_shared").details["removed"] == "user bob"


def test_a_member_of_a_group_that_the_owner_manages_is_removed_from_the_group(
    owner: Client, wiki: Application, alice: User, bob: User
) -> None:
    team = GroupFactory(name="team")
    bob.groups.add(team)
    wiki.rules.get(path="/").groups.add(team)
    ManagedGroup.objects.create(group=team).managers.set([alice])
    review = reviews.begin(wiki)
    assert review is not None
    answer(owner, review, bob="remove")

    assert not can_open(wiki, bob)
    assert not bob.groups.filter(pk=team.pk).exists()


@pytest.mark.parametrize("how", ["group", "signed_in", "everyone", "managed, but staff"])
def test_access_that_the_owner_cannot_remove_becomes_a_task(
    owner: Client, carols: Client, wiki: Application, alice: User, bob: User, how: str
) -> None:
    team = GroupFactory(name="team")
    if how in ("signed_in", "everyone"):
        RuleFactory(application=wiki, path="/b", who=how)
    else:
        bob.groups.add(team)
        wiki.rules.get(path="/").groups.add(team)
    if how == "managed, but staff":
        ManagedGroup.objects.create(group=team).managers.set([alice])
        bob.user_permissions.set(Permission.objects.all()[:1])
    review = reviews.begin(wiki)
    assert review is not None
    answer(owner, review, bob="remove")
    entry = entry_of(review, "bob")

    assert entry.task_open and can_open(wiki, bob)
    assert AuditEvent.objects.get(kind="access_removed").details["remaining"] == entry.remaining
    assert "bob (Wiki)." in matters(carols)[TO_REMOVE]
    listed = carols.get("/admin/accounts/accessreviewentry/?task_open__exact=1").content.decode()
    assert f"/admin/authgate/application/{wiki.pk}/change/" in listed
    assert f"/admin/accounts/user/{bob.pk}/change/" in listed


@pytest.mark.parametrize("what", ["disabled application", "disabled user"])
def test_access_suspended_by_a_disabled_user_or_application_is_removed_too(
    owner: Client, wiki: Application, review: AccessReview, bob: User, what: str
) -> None:
    if what == "disabled application":
        Application.objects.update(enabled=False)
    else:
        User.objects.filter(pk=bob.pk).update(is_active=False)
    answer(owner, review, bob="remove")

    assert not wiki.rules.get(path="/a").users.exists()


def test_a_task_ends_only_when_the_access_does(
    owner: Client, wiki: Application, review: AccessReview, bob: User
) -> None:
    bob.groups.add(GroupFactory(name="staff"))
    answer(owner, review, bob="remove")
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert answers.close_done_tasks() == 0
    User.objects.filter(pk=bob.pk).update(is_active=True)
    assert answers.close_done_tasks() == 0
    bob.groups.clear()

    assert (answers.close_done_tasks(), answers.close_done_tasks()) == (1, 0)
    assert entry_of(review, "bob").task_closed_at is not None
    assert AuditEvent.objects.filter(kind="access_task_closed").count() == 1


def test_the_first_answer_counts(owner: Client, carols: Client, review: AccessReview, bob: User) -> None:
    answer(owner, review, bob="keep")
    answer(with_confirmed_identity(carols), review, bob="remove")

    assert (entry_of(review, "bob").answer, entry_of(review, "bob").answered_by) == ("keep", "alice")


def test_nobody_can_answer_about_themselves(owner: Client, review: AccessReview) -> None:
    assert answer(owner, review, alice="keep", bob="keep").status_code == 404
    assert not review.entries.exclude(answer="").exists()


def test_a_superuser_can_answer_and_complete_a_review(
    owner: Client, carols: Client, wiki: Application, review: AccessReview, bob: User
) -> None:
    assert "Wiki" in with_confirmed_identity(carols).get(page(review)).content.decode()
    answer(carols, review, bob="remove")
    assert not can_open(wiki, bob)
    answer(carols, review, alice="keep")
    review.refresh_from_db()

    assert review.closed_at is not None


def test_other_users_and_staff_can_neither_see_nor_answer_a_review(
    sams: Client, browser_of: Any, review: AccessReview, bob: User
) -> None:
    for browser in (sams, browser_of(bob)):
        assert with_confirmed_identity(browser).get(page(review)).status_code == 404
        assert answer(browser, review, bob="keep").status_code == 404
    assert not review.entries.exclude(answer="").exists()


def test_a_former_owner_cannot_answer(
    owner: Client, wiki: Application, review: AccessReview, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A superuser removes the owner between the page's query and the answer."""
    given = views.answer_as_shown
    monkeypatch.setattr(views, "answer_as_shown", lambda *a, **k: (wiki.owners.clear(), given(*a, **k))[1])
    assert answer(owner, review, bob="remove").status_code == 404
    assert owner.get(page(review)).status_code == 404
    assert not review.entries.exclude(answer="").exists()


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("answer-{bob}", "", 302),
        ("answer-{bob}", "grant", 302),
        ("answer-x", "keep", 404),
        ("answer-0", "keep", 404),
        ("answer-{other}", "keep", 404),
        ("answer-" + "9" * 30, "keep", 404),
        ("answer-" + "9" * 18, "keep", 404),
        ("x", "keep", 302),
    ],
)
def test_odd_answers_change_nothing(
    owner: Client, review: AccessReview, carol: User, name: str, value: str, status: int
) -> None:
    other = AccessReview.objects.create(name="Other", began_at=timezone.now())
    foreign = other.entries.create(user=carol, username="carol")
    field = name.format(bob=entry_of(review, "bob").pk, other=foreign.pk)

    for confirmed in ({}, {"confirmed": ""}):
        answer = owner.post(page(review), {field: value, **confirmed})
        assert answer.status_code == (status if confirmed else 302)
    assert not AccessReviewEntry.objects.exclude(answer="").exists()


@pytest.mark.usefixtures("known_brand")
def test_the_page_needs_the_same_queries_for_many_people(
    owner: Client, wiki: Application, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        UserFactory(username=f"person-{number}", groups=["staff"])
    review = reviews.begin(wiki)
    assert review is not None

    with django_assert_max_num_queries(16):
        assert owner.get(page(review)).content.decode().count('name="entry"') >= 49


# ---- many at once -----------------------------------------------------------------------------------------


def people(wiki: Application, alice: User) -> None:
    """Add a group that alice manages, with una and vera. It can also open another application."""
    team = GroupFactory(name="team")
    for name in ("una", "vera"):
        UserFactory(username=name, groups=["team"])
    wiki.rules.get(path="/").groups.add(team)
    ManagedGroup.objects.create(group=team).managers.set([alice])
    ApplicationFactory(name="Secret project", origins=["https://x.example.com"], groups=["team"])


def test_selected_people_are_removed_after_one_confirmation(
    owner: Client, wiki: Application, alice: User, bob: User
) -> None:
    people(wiki, alice)
    review = reviews.begin(wiki)
    assert review is not None

    asked = select(owner, review, "remove", "una", "bob")

    lines = {line.username: (line.loses, line.elsewhere) for line in asked.context["asked"].removed}
    assert lines == {"una": (("/",), 1), "bob": (("/a",), 0)}
    assert "Secret project" not in asked.content.decode()
    assert not review.entries.exclude(answer="").exists() and can_open(wiki, bob)
    assert confirm(owner, review, asked).status_code == 302
    assert {entry.username for entry in review.entries.filter(answer="remove")} == {"una", "bob"}
    assert not can_open(wiki, bob) and not User.objects.get(username="una").groups.exists()
    assert can_open(wiki, User.objects.get(username="vera"))


def test_all_shown_people_are_kept_except_the_owner_and_answered_entries(
    owner: Client, wiki: Application, alice: User
) -> None:
    people(wiki, alice)
    review = reviews.begin(wiki)
    assert review is not None
    answer(owner, review, una="remove")
    body = owner.get(page(review)).content.decode()
    shown = [entry.pk for entry in review.entries.all() if f'name="shown" value="{entry.pk}"' in body]

    asked = owner.post(page(review), {"answer": "keep-shown", "shown": shown})
    confirm(owner, review, asked)

    kept = {entry.username for entry in review.entries.filter(answer="keep")}
    assert kept == {"bob", "vera"}
    assert AuditEvent.objects.filter(kind="access_kept", actor="alice").count() == 2


def test_a_changed_effect_is_shown_again(
    owner: Client, wiki: Application, review: AccessReview, bob: User
) -> None:
    asked = select(owner, review, "remove", "bob")
    RuleFactory(application=wiki, path="/b", who="chosen", users=[bob])

    again = confirm(owner, review, asked)

    assert "another effect" in again.content.decode()
    assert [line.loses for line in again.context["asked"].removed] == [("/a", "/b")]
    assert not review.entries.exclude(answer="").exists() and can_open(wiki, bob)
    confirm(owner, review, again)
    assert not can_open(wiki, bob)


def test_a_person_answered_meanwhile_is_not_in_the_confirmation(
    owner: Client, review: AccessReview, bob: User
) -> None:
    answer(owner, review, bob="keep")

    assert "Others have answered" in select(owner, review, "remove", "bob").content.decode()


@pytest.mark.parametrize("button", ["", "grant", "keep", "keep-shown"])
def test_a_button_without_selected_people_saves_nothing(
    owner: Client, review: AccessReview, button: str
) -> None:
    assert owner.post(page(review), {"answer": button}).status_code == 302
    assert not review.entries.exclude(answer="").exists()


def test_entries_of_the_owner_or_of_another_review_are_not_found(
    owner: Client, review: AccessReview, carol: User
) -> None:
    other = AccessReview.objects.create(name="Other", began_at=timezone.now())
    foreign = other.entries.create(user=carol, username="carol")

    for key in (foreign.pk, entry_of(review, "alice").pk, 10**17):
        assert owner.post(page(review), {"answer": "remove", "entry": [key]}).status_code == 404


# ---- the administration -----------------------------------------------------------------------------------


def test_an_administrator_can_begin_a_review(carols: Client, wiki: Application) -> None:
    fields = {"action": "begin_reviews", "_selected_action": wiki.pk}
    carols.post("/admin/authgate/application/", fields)
    assert not AccessReview.objects.exists()
    carols.post("/admin/authgate/application/", {**fields, "confirmed": "yes"})

    assert AccessReview.objects.get().begun_by == "carol"
    assert AuditEvent.objects.get(kind="access_review_begun").actor == "carol"


def test_a_review_without_answers_or_owners_needs_attention(
    carols: Client, wiki: Application, review: AccessReview
) -> None:
    assert OVERDUE not in matters(carols)
    AccessReview.objects.update(began_at=timezone.now() - timedelta(days=31))
    assert "Wiki." in matters(carols)[OVERDUE]
    AccessReview.objects.update(began_at=timezone.now(), asked=[])
    assert "Wiki." in matters(carols)[OVERDUE]


def test_an_administrator_can_close_tasks_except_about_themselves(
    carols: Client, review: AccessReview, bob: User, carol: User
) -> None:
    review.entries.create(user=carol, username="carol", answer="remove", task_open=True)
    review.entries.filter(username="bob").update(answer="remove", task_open=True)
    keys = list(review.entries.values_list("pk", flat=True))
    fields = {"action": "close_tasks", "_selected_action": keys, "confirmed": "yes"}
    carols.post("/admin/accounts/accessreviewentry/", fields)

    assert [entry.username for entry in answers.open_tasks()] == ["carol"]
    assert entry_of(review, "bob").task_closed_by == "carol"


def test_a_review_can_be_downloaded_as_csv(owner: Client, carols: Client, review: AccessReview) -> None:
    answer(owner, review, bob="remove")
    url = f"/admin/accounts/accessreview/{review.pk}/csv/"
    text = carols.get(url).getvalue().decode()

    assert text.startswith("application,began,username,access by,last used,answer")
    assert ",bob,/a: named in the rule,,remove," in text
    assert carols.get("/admin/accounts/accessreview/999/csv/").status_code == 404


@pytest.mark.parametrize("what", ["accessreview/", "accessreviewentry/", "accessreview/{key}/csv/"])
def test_reviews_need_a_permission_and_are_read_only_in_the_administration(
    browser_of: Any, carols: Client, review: AccessReview, what: str
) -> None:
    pat = browser_of(UserFactory(username="pat", is_staff=True))
    url = f"/admin/accounts/{what.format(key=review.pk)}"

    assert (pat.get(url).status_code, carols.get(url).status_code) == (403, 200)
    assert carols.get(f"/admin/accounts/accessreview/{review.pk}/delete/").status_code == 403
    assert carols.post(f"/admin/accounts/accessreview/{review.pk}/change/", {"name": "x"}).status_code == 403


def test_a_review_is_kept_after_its_application_and_users_are_deleted(
    review: AccessReview, wiki: Application, bob: User
) -> None:
    bob.delete()
    wiki.delete()
    review.refresh_from_db()

    assert (review.name, entry_of(review, "bob").user) == ("Wiki", None)


def test_old_reviews_are_deleted_unless_a_task_is_open(review: AccessReview, settings: Any) -> None:
    long_ago = timezone.now() - timedelta(seconds=settings.IKD_KEEP_ACCESS_REVIEWS + 60)
    AccessReview.objects.update(began_at=long_ago, closed_at=long_ago)
    review.entries.update(task_open=True)
    tidy.go("tests", batches=None, pause=0)
    assert review.entries.count() == 2
    review.entries.update(task_open=False)
    tidy.go("tests", batches=None, pause=0)

    assert not AccessReview.objects.exists()


def test_answers_that_affect_many_need_a_ticked_box_and_show_counted_requests(
    owner: Client, wiki: Application, bob: User, review: AccessReview, settings: Any
) -> None:
    settings.IKD_CONFIRM_PEOPLE = 1
    RequestCount.objects.create(
        day=timezone.localdate(),
        application=wiki,
        person=bob.pk,
        rule=wiki.rules.get(path="/a").pk,
        method="GET",
        allowed=7,
    )
    asked = select(owner, review, "remove", "bob")
    text = asked.content.decode()
    assert "at most 7, of people: 1." in text and 'name="_sure"' in text

    again = confirm(owner, review, asked)
    assert "Tick the box to confirm." in again.content.decode()
    assert entry_of(review, "bob").answer == ""

    entry = entry_of(review, "bob")
    shown = again.context["asked"].shown
    owner.post(page(review), {f"answer-{entry.pk}": "remove", "confirmed": shown, "_sure": "yes"})
    assert entry_of(review, "bob").answer == "remove"
    assert not can_open(wiki, bob)
