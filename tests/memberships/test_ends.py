"""The end of a membership in memory, the journal, Explain, deletions in the background, and identities."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.test import RequestFactory
from django.utils import timezone

from accounts.models import Membership, User
from authgate.admin.undo_permissions import refusals
from authgate.check.admission import identity_claims
from authgate.check.context import Context
from authgate.check.memory import UNKNOWN, Session
from authgate.check.pipeline import read
from authgate.explain.access import GROUP, Reason, load_directory, openers, scopes_of
from authgate.explain.past import Past
from authgate.explain.persons import Person
from authgate.explain.worlds import PRESENT
from authgate.journal.undo import change_of, lock, steps_for, take_back
from authgate.models import AuditEvent, Change, JournalEntry
from authgate.worker import loader
from authgate.worker.feed import Feed
from authgate.worker.memory import OverMemory
from ikd_portal.tidy.kinds import _end_memberships
from tests.authgate.asking import facts
from tests.factories import GroupFactory, UserFactory
from tests.feed.test_freshness import digest_of, remember
from tests.front.serving import WIKI, Cast

HOUR = timedelta(hours=1)


def ends(user: User, at: datetime | None) -> None:
    Membership.objects.filter(user=user).update(ends_at=at)


def ended(user: User) -> None:
    ends(user, timezone.now() - timedelta(seconds=1))


def groups(user: User) -> list[str]:
    return sorted(group.name for group in user.groups.all())


# ---- memory -----------------------------------------------------------------------------------------------


def test_memory_loads_a_session_again_when_a_membership_ends(feed: Feed, people: Cast) -> None:
    end = timezone.now().replace(microsecond=0) + HOUR
    ends(people.alice, end)
    digest = remember(feed, people.alice_cookie)

    before = feed.memory.session(digest, end.timestamp() - 0.001)

    assert isinstance(before, Session)
    assert before.subject.groups_until == end.timestamp()
    assert feed.memory.session(digest, end.timestamp()) is UNKNOWN


def test_a_session_loaded_for_waiting_checks_is_loaded_again_after_the_end(feed: Feed, people: Cast) -> None:
    end = timezone.now().replace(microsecond=0) + HOUR
    ends(people.alice, end)
    digest = digest_of(people.alice_cookie)
    memory = OverMemory(feed.memory)
    memory.sessions[digest] = loader.load_session(digest)

    assert isinstance(memory.session(digest, end.timestamp() - 1), Session)
    assert memory.session(digest, end.timestamp()) is UNKNOWN


def test_a_session_without_an_end_is_read_again_only_when_idle(feed: Feed, people: Cast) -> None:
    session = loader.load_session(digest_of(people.alice_cookie))

    assert session is not None
    assert (session.subject.groups_until, session.read_again_at) == (math.inf, session.idle_at)


def test_a_membership_also_ends_by_the_workers_clock(feed: Feed, people: Cast) -> None:
    """If a worker's clock is ahead of the database's, it must not load the same session repeatedly."""
    end = timezone.now().replace(microsecond=0) + HOUR
    ends(people.alice, end)
    with time_machine.travel(end, tick=False):
        session = loader.load_session(digest_of(people.alice_cookie))

    assert session is not None
    assert (session.subject.groups, session.subject.groups_until) == ((), math.inf)


def test_the_feed_reports_a_new_end(people: Cast) -> None:
    newest = Change.objects.order_by("-pk").first()

    ends(people.alice, timezone.now() + HOUR)

    told = Change.objects.filter(pk__gt=newest.pk if newest else 0)
    assert set(told.values_list("kind", "key")) == {("user", people.alice.pk)}


def test_a_signed_identity_expires_with_the_membership(people: Cast) -> None:
    end = int(time.time()) + 30
    ends(people.alice, datetime.fromtimestamp(end, timezone.get_current_timezone()))
    session = loader.load_session(digest_of(people.alice_cookie))
    assert session is not None
    memory = loader.memory_for_one_request()
    loader.load_application_into(memory, WIKI)
    context = read(facts(f"{WIKI}/"), memory)
    assert isinstance(context, Context)

    assert identity_claims(context, session, memory)["exp"] == end


# ---- adding and removing ----------------------------------------------------------------------------------


def test_a_user_added_again_after_the_end_is_a_member_without_end(people: Cast) -> None:
    ended(people.alice)
    staff = Group.objects.get(name="staff")

    people.alice.groups.add(staff)

    assert groups(people.alice) == ["staff"]
    assert Membership.everything.get(user=people.alice).ends_at is None
    assert AuditEvent.objects.filter(kind="group_membership_ended", subject="alice").count() == 1


def test_a_user_added_again_before_the_end_keeps_the_end(people: Cast) -> None:
    end = timezone.now() + HOUR
    ends(people.alice, end)

    people.alice.groups.set([Group.objects.get(name="staff"), GroupFactory(name="more")])

    kept = dict(people.alice.memberships.values_list("group__name", "ends_at"))
    assert kept == {"staff": end, "more": None}


def test_an_ended_membership_is_not_prolonged(people: Cast) -> None:
    ended(people.alice)

    ends(people.alice, timezone.now() + HOUR)

    assert groups(people.alice) == []


def test_users_and_groups_are_deleted_with_their_ended_memberships(people: Cast) -> None:
    ended(people.alice)
    ended(people.bob)

    people.alice.delete()
    Group.objects.get(name="guests").delete()

    assert not Membership.everything.filter(group__name__in=("staff", "guests")).exists()


# ---- deletions in the background --------------------------------------------------------------------------


def test_ended_memberships_are_deleted_and_recorded(people: Cast) -> None:
    ended(people.alice)
    end = Membership.everything.get(user=people.alice).ends_at
    ends(people.bob, timezone.now() + HOUR)

    assert (_end_memberships(), _end_memberships()) == (1, 0)

    [event] = AuditEvent.objects.filter(kind="group_membership_ended")
    assert (event.actor, event.subject) == ("", "alice")
    assert event.details == {"group": "staff", "ended": end and end.isoformat()}
    assert set(Membership.everything.values_list("user__username", flat=True)) == {"bob"}


# ---- Explain ----------------------------------------------------------------------------------------------


def opened_by(at: datetime) -> dict[str, list[Reason]]:
    past = Past(at)
    [(wiki, _)] = [each for each in past.applications() if each[0].name == "Wiki"]
    people = past.directory()
    found = openers(wiki, scopes_of(wiki)[0], people, at.timestamp())
    return {people.users[user]: reasons for user, reasons in found.items()}


def test_explain_uses_the_end_at_past_and_future_moments(people: Cast) -> None:
    before = timezone.now()
    time.sleep(0.003)  # SQLite's journal stores milliseconds
    end = before + HOUR
    ends(people.alice, end)

    assert [each.until for each in opened_by(before)["alice"]] == [None]
    assert [each.until for each in opened_by(timezone.now())["alice"]] == [end]
    assert "alice" in opened_by(end - timedelta(microseconds=1))
    assert "alice" not in opened_by(end)
    assert Past(end).standing_of(Person("alice")).principal("").subject.groups == ()  # type: ignore[union-attr]


def test_explain_uses_the_end_of_a_deleted_membership_in_the_past(people: Cast) -> None:
    end = timezone.now() + timedelta(seconds=0.5)
    ends(people.alice, end)
    between = end - timedelta(microseconds=1)
    time.sleep(0.6)
    after = timezone.now()
    assert _end_memberships() == 1

    assert "alice" in opened_by(between)
    assert "alice" not in opened_by(after)


def test_lists_show_the_end(people: Cast) -> None:
    end = timezone.now().replace(microsecond=0) + HOUR
    ends(people.alice, end)
    [wiki] = [each for each in loader.load_applications() if each.name == "Wiki"]

    [reason] = openers(wiki, scopes_of(wiki)[0], load_directory(), time.time())[people.alice.pk]

    assert (reason.kind, reason.until) == (GROUP, end)
    [told] = PRESENT.groups_of(PRESENT.standing_of(Person("alice")))
    assert told.startswith("staff (until ")


# ---- the journal ------------------------------------------------------------------------------------------


def undo(entry: JournalEntry) -> None:
    with transaction.atomic():
        steps = steps_for(change_of(entry))
        lock(steps)
        take_back(steps)


def newest_entry() -> JournalEntry:
    return JournalEntry.objects.filter(table_name="accounts_user_groups").order_by("-pk")[0]


@pytest.mark.parametrize("later", [None, 2 * HOUR], ids=["removed", "prolonged"])
def test_a_changed_end_is_undone(people: Cast, later: timedelta | None) -> None:
    end = timezone.now() + HOUR
    ends(people.alice, end)
    ends(people.alice, later and timezone.now() + later)

    undo(newest_entry())

    assert people.alice.memberships.get().ends_at == end


@pytest.mark.parametrize(("may", "expected"), [(("user",), False), (("user", "group"), True)])
def test_a_user_who_may_not_change_groups_does_not_undo_an_end(
    people: Cast, rf: RequestFactory, may: tuple[str, ...], expected: bool
) -> None:
    ends(people.alice, timezone.now() + HOUR)
    helper: User = UserFactory(username="helper", is_staff=True)
    names = [f"change_{name}" for name in may]
    helper.user_permissions.set(
        Permission.objects.filter(codename__in=names, content_type__app_label="accounts")
    )
    request = rf.get("/")
    request.user = helper

    assert (refusals(request, steps_for(change_of(newest_entry()))) == []) is expected


def test_undoing_a_removal_restores_the_membership_with_its_end(people: Cast) -> None:
    end = timezone.now() + HOUR
    ends(people.alice, end)
    people.alice.groups.clear()

    undo(newest_entry())

    assert people.alice.memberships.get().ends_at == end


def test_an_ended_membership_that_is_restored_stays_ended(people: Cast) -> None:
    ended(people.alice)
    _end_memberships()

    undo(newest_entry())

    assert groups(people.alice) == []
    assert Membership.everything.filter(user=people.alice).exists()
