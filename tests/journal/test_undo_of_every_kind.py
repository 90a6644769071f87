"""A change of any table in the journal can be undone on its page, which shows whom that affects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.db.models import ForeignKey
from django.test import Client

from accounts.models import StrictGroup, User
from authgate.journal.states import model_of
from authgate.journal.tables import BY_NAME
from authgate.models import JournalEntry
from tests.admin.conftest import browser_of
from tests.factories import ApplicationFactory, RuleFactory, UserFactory
from tests.feed.conftest import cluster, database, pattern, vendor  # noqa: F401
from tests.journal.test_undo import in_one_change, page, state

__all__ = ["browser_of"]

GAINS = {"gained"}
AFTER_A_DELETION: dict[str, set[str]] = {
    "accounts_user": GAINS,
    "account_emailaddress": set(),
    "auth_group": {"gained", "stricter"},
    "accounts_strictgroup": {"stricter"},
    "auth_group_permissions": set(),
    "accounts_user_groups": {"gained", "stricter"},
    "accounts_user_user_permissions": set(),
    "authgate_application": GAINS,
    "authgate_application_named_groups": set(),
    "authgate_application_owners": set(),
    "authgate_application_owner_groups": set(),
    "authgate_origin": GAINS,
    "authgate_rule": {"gained", "lost"},
    "authgate_rule_groups": GAINS,
    "authgate_rule_users": GAINS,
}
"""The parts of the effect when a deleted row of each table is restored."""

CHANGES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "accounts_user": ({"is_active": False}, {"gained"}),
    "account_emailaddress": ({"verified": False}, set()),
    "accounts_user_groups": ({"ends_at": datetime(2099, 1, 1, tzinfo=UTC)}, set()),
    "auth_group": ({"name": "renamed"}, set()),
    "authgate_application": ({"maintenance": True}, {"reopened"}),
    "authgate_origin": ({"value": "https://other.example.com"}, {"gained", "lost"}),
    "authgate_rule": ({"second_factor": True}, {"changed"}),
}
"""A change of each table with changeable rows, and the effect of undoing it."""


@pytest.fixture
def carols(database: None, browser_of: Callable[[User], Client]) -> Client:  # noqa: F811
    """Return a superuser's browser. Every table of the journal has a row."""
    group = Group.objects.create(name="crew")
    group.permissions.add(Permission.objects.all()[0])
    StrictGroup.objects.create(group=group)
    dora = UserFactory(username="dora", email="dora@example.com", verified=True, groups=["crew"])
    dora.user_permissions.add(Permission.objects.all()[0])
    site = ApplicationFactory(name="Site", origins=["https://site.example.com"], groups=["crew"])
    RuleFactory(application=site, path="/few", who="chosen", users=[UserFactory(username="fred")])
    owner, owners = UserFactory(username="owner"), Group.objects.create(name="owners")
    for related, row in ((site.named_groups, group), (site.owners, owner), (site.owner_groups, owners)):
        related.add(row)
    return browser_of(UserFactory(username="carla", is_staff=True, is_superuser=True))


def row_in(table: str) -> Any:
    """Return the fixture's row in a table."""
    model, names = model_of(table), {"username": "dora", "name__in": ("crew", "Site")}
    for name, value in names.items():
        if name.partition("__")[0] in {field.name for field in model._meta.fields}:
            return model._base_manager.get(**{name: value})
    if table == "authgate_rule":
        return model._base_manager.get(path="/few")
    parents = {
        "user": User.objects.get(username="dora").pk,
        "group": Group.objects.get(name="crew").pk,
        "application": model_of("authgate_application")._base_manager.get(name="Site").pk,
        "rule": model_of("authgate_rule")._base_manager.filter(application__name="Site").values("pk"),
    }
    keys = [field.name for field in model._meta.fields if isinstance(field, ForeignKey)]
    wanted = next(name for name in ("rule", "application", "user", "group") if name in keys)
    found = parents[wanted]
    lookup = wanted if isinstance(found, int) else f"{wanted}__in"
    return model._base_manager.get(**{lookup: found})


def asked(client: Client, entry: JournalEntry, parts: set[str]) -> Any:
    """Return the page of the confirmation, which must show these parts of an effect."""
    answer = client.get(page(entry, "undo"))
    assert answer.status_code == 200, client.get(page(entry)).context["problems"]
    effect = answer.context["effect"]
    assert {name for name in effect.__slots__ if getattr(effect, name)} == parts
    told = answer.content.partition(b"Who is affected")[2]
    assert (b"dora" in told or b"fred" in told) == bool(parts)
    return answer


def confirmed(client: Client, entry: JournalEntry, answer: Any) -> None:
    sent = {"_carried": answer.context["carried"], "_sure": "yes"}
    assert client.post(page(entry, "undo"), sent).status_code == 302


def test_every_journaled_table_is_tested() -> None:
    changeable = {name for name, table in BY_NAME.items() if not model_of(name)._meta.auto_created}

    assert AFTER_A_DELETION.keys() == BY_NAME.keys()
    assert CHANGES.keys() == changeable - {"accounts_strictgroup"}


@pytest.mark.parametrize("table", BY_NAME)
def test_a_deletion_is_undone_and_done_again(carols: Client, table: str) -> None:
    before = state()
    entry = in_one_change(row_in(table).delete)
    after = state()

    confirmed(carols, entry, asked(carols, entry, AFTER_A_DELETION[table]))
    assert state() == before

    created = JournalEntry.objects.order_by("-pk")[0]
    opposite = {"gained": "lost", "lost": "gained", "stricter": "looser"}
    parts = {opposite[part] for part in AFTER_A_DELETION[table]}
    confirmed(carols, created, asked(carols, created, parts))
    assert state() == after


@pytest.mark.parametrize("table", CHANGES)
def test_a_change_is_undone(carols: Client, table: str) -> None:
    values, parts = CHANGES[table]
    before = state()
    row = row_in(table)

    entry = in_one_change(lambda: type(row)._base_manager.filter(pk=row.pk).update(**values))
    confirmed(carols, entry, asked(carols, entry, parts))

    assert state() == before
