"""Changes are undone and confirmed in the same way on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client

from accounts.models import User
from authgate.models import AuditEvent
from tests.admin.forms import confirm, send
from tests.effect.rehearsals import effect_of
from tests.factories import ApplicationFactory, UserFactory
from tests.feed.conftest import cluster, database, pattern, vendor  # noqa: F401

pytestmark = pytest.mark.usefixtures("database")


def rows_of_the_feed() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM authgate_change")
        return int(cursor.fetchone()[0])


def test_a_change_is_undone_and_then_confirmed(browser_of: Callable[[User], Client]) -> None:
    carol = UserFactory(username="carol", is_staff=True, is_superuser=True)
    alice = UserFactory(username="alice", groups=["staff"])
    wiki = ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])
    carols, before = browser_of(carol), rows_of_the_feed()

    effect = effect_of(lambda: User.objects.filter(pk=alice.pk).update(is_active=False))
    asked = send(carols, f"/admin/authgate/application/{wiki.pk}/change/", enabled=None)

    assert [each.path for each in effect.lost] == ["/"]
    assert rows_of_the_feed() == before
    wiki.refresh_from_db()
    assert wiki.enabled
    assert confirm(carols, asked).status_code == 302
    wiki.refresh_from_db()
    assert not wiki.enabled
    assert AuditEvent.objects.filter(kind="changed").count() == 1
