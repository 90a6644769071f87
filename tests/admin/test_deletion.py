"""Every row that an administrator may delete can be deleted with its records, on the admin's own pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from accounts.access_requests import requests
from accounts.models import AccessRequest, AccessReview, Invitation, StrictGroup, User
from authgate.models import Application, AuditEvent, DoctorReport, RequestCount, Rule
from openid.models import Client as ConnectedClient
from openid.models import ClientSecret, Consent
from tests.admin.forms import confirm
from tests.delegation.kinds import Cast
from tests.factories import RuleFactory
from tests.feed.conftest import cluster, database, pattern, vendor  # noqa: F401

pytestmark = pytest.mark.usefixtures("database")

KINDS = ("application", "group", "user", "upstream", "identity", "invitation", "configurationevent")


@pytest.fixture
def cast(database: None) -> Cast:  # noqa: F811
    """Return rows of every kind, and rows that refer to them."""
    cast = Cast(kinds=())
    now, today = timezone.now(), timezone.localdate()
    grant = RuleFactory(application=cast.wiki, who=Rule.Who.CHOSEN, users=[cast.victim])
    AccessRequest.objects.filter(pk=cast.request.pk).update(
        answer="granted", answered_at=now, answered_by="root", grant=grant, until=now
    )
    assert requests.ask(cast.rule, cast.victim, page="https://wiki.example.com/", words="", address=None)
    RequestCount.objects.create(
        day=today, application=cast.wiki, person=cast.victim.pk, rule=cast.rule.pk, method="GET", allowed=3
    )
    DoctorReport.objects.create(application=cast.wiki, at=now, level="pass")
    ClientSecret.objects.create(client=cast.client, digest=b"y" * 32)
    Consent.objects.create(client=cast.client, user=cast.victim, scopes="openid", given_at=now)
    cast.victim.groups.add(cast.bound, cast.team)
    cast.wiki.owner_groups.add(cast.team)
    StrictGroup.objects.create(group=cast.team)
    Invitation.objects.filter(pk=cast.invitation.pk).update(used_by=cast.victim, used_at=now)
    return cast


def row_of(cast: Cast, kind: str) -> Any:
    return {
        "application": cast.wiki,
        "group": cast.team,
        "user": cast.victim,
        "upstream": cast.upstream,
        "identity": cast.identity,
        "invitation": cast.invitation,
        "configurationevent": cast.mistake,
    }[kind]


def list_url(row: Any) -> str:
    label = "accounts" if isinstance(row, Group) else row._meta.app_label
    return f"/admin/{label}/{row._meta.model_name}/"


def is_gone(row: Any) -> bool:
    return not type(row)._base_manager.filter(pk=row.pk).exists()


def deleted_on_its_page(browser: Client, row: Any) -> Any:
    """Return the response to a deletion after confirming each page that asks."""
    url = f"{list_url(row)}{row.pk}/delete/"
    asked = browser.get(url)
    answer = confirm(browser, asked)
    return browser.post(url, {"post": "yes"}) if answer is asked else answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_superuser_deletes_a_row_on_its_page(
    cast: Cast, browser_of: Callable[[User], Client], kind: str
) -> None:
    row, browser = row_of(cast, kind), browser_of(cast.other_root)

    answer = deleted_on_its_page(browser, row)

    assert answer.status_code == 302
    assert is_gone(row)


@pytest.mark.parametrize("kind", KINDS)
def test_a_superuser_deletes_a_row_in_the_list(
    cast: Cast, browser_of: Callable[[User], Client], kind: str
) -> None:
    row, browser = row_of(cast, kind), browser_of(cast.other_root)
    fields = {"_selected_action": row.pk, "action": "delete_selected"}

    asked = browser.post(list_url(row), fields)
    answer = confirm(browser, asked)
    if answer is asked:
        answer = browser.post(list_url(row), {**fields, "post": "yes"})

    assert answer.status_code == 302
    assert is_gone(row)


@pytest.mark.parametrize("kind", ["application", "group", "invitation", "configurationevent"])
def test_staff_with_the_permission_delete_a_row(
    cast: Cast, sam: User, browser_of: Callable[[User], Client], kind: str
) -> None:
    row, browser = row_of(cast, kind), browser_of(sam)

    answer = deleted_on_its_page(browser, row)

    assert answer.status_code == 302
    assert is_gone(row)


def test_rows_of_an_application_are_deleted_with_it(cast: Cast, browser_of: Callable[[User], Client]) -> None:
    browser = browser_of(cast.other_root)

    asked = browser.get(f"/admin/authgate/application/{cast.wiki.pk}/delete/")
    confirm(browser, asked)

    assert "Access requests: 2" in asked.content.decode()
    assert "OpenID Connect clients: 1" in asked.content.decode()
    assert "equest count" not in asked.content.decode()
    for model in (AccessRequest, RequestCount, DoctorReport, ConnectedClient, ClientSecret, Consent):
        assert not model.objects.exists(), model
    assert AccessReview.objects.get().application is None
    assert AuditEvent.objects.filter(kind="deleted", subject="Wiki").count() == 1


def test_staff_cannot_delete_a_privileged_identity_nor_its_provider(
    cast: Cast, sam: User, browser_of: Callable[[User], Client]
) -> None:
    browser, url = browser_of(sam), f"/admin/accounts/identity/{cast.identity.pk}/delete/"

    assert browser.get(url).status_code == 403
    assert browser.post(url, {"post": "yes"}).status_code == 403
    assert not is_gone(cast.identity)


def test_counters_are_not_loaded(
    cast: Cast, browser_of: Callable[[User], Client], django_assert_max_num_queries: Any
) -> None:
    browser, today = browser_of(cast.other_root), timezone.localdate()
    RequestCount.objects.bulk_create(
        RequestCount(day=today, application=cast.wiki, person=1000 + number, rule=1, method="GET")
        for number in range(2_000)
    )
    url = f"/admin/authgate/application/{cast.wiki.pk}/delete/"

    with django_assert_max_num_queries(120):
        asked = browser.get(url)

    assert len(asked.content) < 60_000
    assert Application.objects.filter(pk=cast.wiki.pk).exists()
