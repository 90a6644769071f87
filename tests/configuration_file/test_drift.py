"""Objects of a file that were changed by hand, as shown in the administration."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission
from django.test import Client as Browser
from django.utils import timezone

from accounts.models import Group, Upstream, User
from authgate.models import Application
from openid.models import Client
from tests.admin.conftest import browser_of, carols  # noqa: F401
from tests.configuration_file.conftest import Apply
from tests.configuration_file.test_apply import CAMPUS, WIKI
from tests.factories import ApplicationFactory, UserFactory

pytestmark = pytest.mark.django_db

EVERYTHING = f"{WIKI}    clients:\n      wiki-client: {{redirect_uris: [https://a.example/cb]}}\n{CAMPUS}"


def matters(browser: Browser) -> list[str]:
    found = browser.get("/admin/").context["matters"]
    return [matter.advice for matter in found if matter.title == "Changed by hand"]


def test_unchanged_objects_are_not_listed(apply: Apply, carols: Browser) -> None:  # noqa: F811
    apply(EVERYTHING)
    key = Application.objects.get().pk

    assert matters(carols) == []
    page = carols.get(f"/admin/authgate/application/{key}/change/").content.decode()
    assert "A configuration file manages this object." in page


@pytest.mark.parametrize(
    ("change", "url", "keys"),
    [
        (lambda: Application.objects.update(category="x", name="Wiki"), "authgate/application", ""),
        (lambda: Application.objects.update(description="x"), "authgate/application", "description"),
        (lambda: Application.objects.get().rules.all().delete(), "authgate/application", "rules"),
        (
            lambda: Client.objects.update(redirect_uris="https://b.example/"),
            "authgate/application",
            "redirect",
        ),
        (lambda: Upstream.objects.update(client_id="x"), "accounts/upstream", "client_id"),
        (lambda: Group.objects.get(name="staff").strict_group.delete(), "accounts/group", "second_factor"),
        (lambda: Group.objects.filter(name="staff").update(name="crew"), "accounts/group", "name"),
    ],
    ids=[
        "another key",
        "text",
        "rules",
        "client",
        "provider",
        "second factor",
        "name",
    ],
)
def test_a_change_by_hand_is_shown(
    apply: Apply,
    carols: Browser,  # noqa: F811
    change: Callable[[], object],
    url: str,
    keys: str,
) -> None:
    apply(EVERYTHING)
    change()
    models = {"authgate/application": Application, "accounts/upstream": Upstream, "accounts/group": Group}
    row = (
        models[url].objects.order_by("-pk").first()
        if url != "accounts/group"
        else Group.objects.earliest("pk")
    )

    page = carols.get(f"/admin/{url}/{row.pk}/change/").content.decode()

    assert bool(matters(carols)) is bool(keys)
    assert ("differs from the configuration file" in page) is bool(keys)
    assert keys in page


def test_a_deleted_object_is_named(apply: Apply, carols: Browser) -> None:  # noqa: F811
    apply(WIKI)
    Application.objects.get().delete()

    assert "Wiki" in matters(carols)[0]


def test_a_lockdown_does_not_count_as_a_change_by_hand(apply: Apply, carols: Browser) -> None:  # noqa: F811
    apply("applications:\n  Wiki: {enabled: true}\n")
    Application.objects.update(enabled=False, locked_down_at=timezone.now())

    assert matters(carols) == []


def test_an_object_outside_every_file_has_no_note(carols: Browser) -> None:  # noqa: F811
    key = ApplicationFactory().pk

    assert (
        "configuration file" not in carols.get(f"/admin/authgate/application/{key}/change/").content.decode()
    )


def test_providers_are_listed_only_for_staff_who_may_view_them(
    apply: Apply,
    browser_of: Callable[[User], Browser],  # noqa: F811
) -> None:
    apply(CAMPUS)
    Upstream.objects.update(client_id="x")
    pat = UserFactory(username="pat", is_staff=True)
    pat.user_permissions.set(Permission.objects.filter(codename="view_application"))

    assert matters(browser_of(pat)) == []
