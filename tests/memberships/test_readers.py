"""No code counts an ended membership, although its row may still exist."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db.models import Count, Exists, OuterRef, Prefetch, Q
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.delegation import applications
from accounts.lockdown import lock_down_user  # noqa: F401  (imports every reader there is)
from accounts.models import Membership, StrictGroup, User
from accounts.privilege import privileged
from authgate.explain.access import load_directory
from authgate.factor_policy import in_strict_group
from authgate.memberships import groups_in
from authgate.worker import loader
from openid import sweep
from tests.factories import ApplicationFactory, GroupFactory, UserFactory

ROOT = Path(__file__).parents[2]


@pytest.fixture
def team(db: None) -> Group:
    group: Group = GroupFactory(name="team")
    group.permissions.add(Permission.objects.get(codename="view_user"))
    StrictGroup.objects.create(group=group)
    ApplicationFactory(name="Owned").owner_groups.add(group)
    return group


@pytest.fixture
def eve(team: Group) -> User:
    eve: User = UserFactory(username="eve", groups=["team"], is_staff=True)
    return eve


def users() -> Any:
    return User.objects.filter(username="eve")


READERS: dict[str, Callable[[User, Group], Any]] = {
    "user.groups": lambda eve, team: eve.groups.exists(),
    "count of user.groups": lambda eve, team: eve.groups.count(),
    "list of user.groups": lambda eve, team: list(eve.groups.all()),
    "group.user_set": lambda eve, team: list(team.user_set.all()),
    "group.user_set filtered": lambda eve, team: team.user_set.filter(pk=eve.pk).exists(),
    "user.memberships": lambda eve, team: list(eve.memberships.all()),
    "filter by a group": lambda eve, team: list(users().filter(groups=team)),
    "filter by a group's name": lambda eve, team: list(users().filter(groups__name="team")),
    "filter by groups": lambda eve, team: list(users().filter(groups__in=Group.objects.all())),
    "filter by any group": lambda eve, team: list(users().filter(groups__isnull=False)),
    "exclude those without a group": lambda eve, team: list(users().exclude(groups=None)),
    "either of two": lambda eve, team: list(users().filter(Q(groups=team) | Q(username="nobody"))),
    "those not excluded by a group": lambda eve, team: not users().exclude(groups=team).exists(),
    "those not excluded by a name": lambda eve, team: not users().exclude(groups__name="team").exists(),
    "groups of a user": lambda eve, team: list(Group.objects.filter(user=eve)),
    "groups of a name": lambda eve, team: list(Group.objects.filter(user__username="eve")),
    "values": lambda eve, team: [key for key in users().values_list("groups__pk", flat=True) if key],
    "values of a name": lambda eve, team: [n for n in users().values_list("groups__name", flat=True) if n],
    "annotated count": lambda eve, team: users().annotate(many=Count("groups")).get().many,
    "annotated members": lambda eve, team: Group.objects.annotate(many=Count("user")).get(pk=team.pk).many,
    "prefetched": lambda eve, team: list(users().prefetch_related("groups").get().groups.all()),
    "prefetched with a queryset": lambda eve, team: list(
        users().prefetch_related(Prefetch("groups", Group.objects.order_by("name"))).get().groups.all()
    ),
    "subquery": lambda eve, team: list(
        users().filter(Exists(User.groups.through.objects.filter(user=OuterRef("pk"))))
    ),
    "subquery by groups": lambda eve, team: list(
        users().filter(Exists(Group.objects.filter(user=OuterRef("pk"))))
    ),
    "permissions": lambda eve, team: get_user_model().objects.get(pk=eve.pk).has_perm("accounts.view_user"),
    "users with a permission": lambda eve, team: list(
        User.objects.with_perm(
            "accounts.view_user", backend="django.contrib.auth.backends.ModelBackend"
        ).filter(is_superuser=False)
    ),
    "privileged": lambda eve, team: (
        list(privileged(users()).exclude(Q(is_staff=True) | Q(is_superuser=True)))
        if User.objects.filter(pk=eve.pk).update(is_staff=False)
        else None
    ),
    "strict": lambda eve, team: users().annotate(strict=in_strict_group("pk")).get().strict,
    "subject": lambda eve, team: loader.subject_of(eve).groups,
    "directory": lambda eve, team: load_directory().members.get(team.pk),
    "sweep": lambda eve, team: sweep._people({eve.pk})[eve.pk].groups,
    "owned": lambda eve, team: list(applications.owned_by(eve)),
}


@pytest.mark.parametrize("name", READERS)
def test_an_ended_membership_does_not_count(name: str, eve: User, team: Group) -> None:
    reads = READERS[name]
    before = reads(eve, team)
    Membership.objects.filter(user=eve).update(ends_at=timezone.now() + timedelta(hours=1))
    User.objects.filter(pk=eve.pk).update(is_staff=True)
    with_an_end = reads(eve, team)

    Membership.objects.filter(user=eve).update(ends_at=timezone.now() - timedelta(seconds=1))
    User.objects.filter(pk=eve.pk).update(is_staff=True)

    assert (bool(before), bool(with_an_end)) == (True, True)
    assert not reads(eve, team)
    assert Membership.everything.filter(user=eve).exists()


TABLE = "accounts_user_groups"
KNOWN = {
    "accounts/models/membership.py",
    "authgate/admin/undo_permissions.py",
    "authgate/explain/past.py",
    "authgate/journal/tables.py",
    "authgate/journal/words.py",
    "authgate/worker/triggers.py",
    "ikd_portal/tidy/kinds.py",
    "openid/sweep.py",
}
"""Code that may name the table or read ended memberships: model, triggers, journal, and deletion."""


def sources() -> list[Path]:
    found = (
        path
        for app in ("accounts", "authgate", "openid", "ikd_portal")
        for path in (ROOT / app).rglob("*.py")
    )
    return [path for path in found if "migrations" not in path.parts]


def test_no_other_code_reads_ended_memberships() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in sources()}

    assert {name for name, text in texts.items() if TABLE in text or "Membership.everything" in text} == KNOWN
    assert not [name for name, text in texts.items() if "Membership._base_manager" in text]


def test_no_query_reads_memberships_by_another_relation() -> None:
    """Only the two relations of `Membership` leave out ended memberships."""
    leading = {
        field.name for field in Membership._meta.get_fields() if field.is_relation and not field.auto_created
    }

    assert leading == {"user", "group"}
    assert {type(Membership._meta.get_field(name)).__name__ for name in leading} == {"LiveForeignKey"}
    assert User.groups.through is Membership


ends = st.one_of(st.none(), st.integers(0, 40))


@given(st.lists(ends, max_size=6), st.integers(0, 40))
def test_current_groups_are_returned_with_their_next_end(moments: list[int | None], now: int) -> None:
    begin = timezone.now().replace(microsecond=0)
    rows = [
        (None if after is None else begin + timedelta(seconds=after), number, str(number))
        for number, after in enumerate(moments)
    ]

    groups, until = groups_in(rows, begin.timestamp() + now)

    coming = [after for after in moments if after is not None and after > now]
    assert [key for key, _ in groups] == [
        number for number, after in enumerate(moments) if after is None or after > now
    ]
    assert until == min((begin.timestamp() + after for after in coming), default=math.inf)


def test_a_user_without_a_group_has_none() -> None:
    assert groups_in([(None, None, None)], 0) == ((), math.inf)
