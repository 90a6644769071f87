"""The lists of users who can open an application show the day of each user's last request."""

from __future__ import annotations

import csv
import io
from datetime import date

import pytest
from django.test import Client

from accounts.models import User
from authgate.models import Application, RequestCount
from tests.factories import RuleFactory, UserFactory

pytestmark = pytest.mark.django_db


def used(application: Application, user: User, rule: int, day: date, allowed: int = 1) -> None:
    RequestCount.objects.create(
        application=application, person=user.pk, rule=rule, day=day, method="GET", allowed=allowed
    )


def test_each_line_has_the_last_day_for_its_path(wiki: Application, alice: User, carols: Client) -> None:
    UserFactory(username="anna", groups=["staff"])
    admin = RuleFactory(application=wiki, path="/admin", groups=["staff"])
    used(wiki, alice, wiki.rules.get(path="/").pk, date(2026, 3, 4))
    used(wiki, alice, wiki.rules.get(path="/").pk, date(2026, 3, 1))
    used(wiki, alice, admin.pk, date(2026, 3, 9), allowed=0)
    below = "/admin/authgate/application"

    for url in (f"{wiki.pk}/access/?format=csv", f"opened-by/{alice.pk}/?format=csv", "access/"):
        content = b"".join(carols.get(f"{below}/{url}").streaming_content).decode()  # type: ignore[attr-defined]
        found = {
            (line["username"], line["path"], line["last used"])
            for line in csv.DictReader(io.StringIO(content))
        }
        assert {("alice", "/", "2026-03-04"), ("alice", "/admin", "")} <= found
        assert ("anna", "/", "") in found or url.startswith("opened-by")

    page = carols.get(f"{below}/{wiki.pk}/access/").content.decode()
    assert "4 Mar 2026" in page
    assert "The portal has counts since 1 Mar 2026." in page
