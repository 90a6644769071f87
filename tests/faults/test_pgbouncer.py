"""PgBouncer in transaction mode with two connections, behind threads that render pages at once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django.plugin import DjangoDbBlocker

from tests.factories import UpstreamFactory, UserFactory
from tests.feed.bouncer import Bouncer
from tests.feed.cluster import Cluster
from tests.front.serving import Database, cast

THREADS = 4
PASSWORD = "correct horse battery"


class Browser(Client):
    def generic(self, *args: object, **kwargs: object) -> object:
        return super().generic(*args, **{**kwargs, "secure": True})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pooled(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Database]:
    name = f"p{uuid.uuid4().hex}"
    cluster.database(name, "pattern")
    bouncer = Bouncer(cluster, name, size=2)
    try:
        with django_db_blocker.unblock(), bouncer.database.connected():
            cast()
            UpstreamFactory(name="Provider")
            carol = UserFactory(username="carol", is_staff=True, is_superuser=True)
            carol.set_password(PASSWORD)
            carol.save(update_fields=["password"])
            yield bouncer.database
    finally:
        bouncer.stop()


def sign_in() -> Client:
    browser = Browser(HTTP_HOST="sso.example.com")
    browser.post(reverse("account_login"), {"login": "carol", "password": PASSWORD})
    return browser


def administration() -> list[str]:
    """Return the addresses of every list, and of one object in each."""
    found = []
    for model, page in admin.site._registry.items():
        if not page.get_urls():
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        found.append(reverse(f"{name}_changelist"))
        if (first := model._default_manager.first()) is not None:
            found.append(reverse(f"{name}_change", args=[first.pk]))
    return found


def test_every_page_of_the_administration_works_each_time(pooled: Database) -> None:
    addresses = administration()
    statuses: list[tuple[str, int]] = []
    errors: list[BaseException] = []

    def open_all(start: int) -> None:
        try:
            browser = sign_in()
            for address in addresses[start:] + addresses[:start]:
                page = browser.get(address, follow=True)
                statuses.append((page.request["PATH_INFO"], page.status_code))
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=open_all, args=(number * 3,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert errors == []
    assert len(statuses) == THREADS * len(addresses) > 60
    assert {status for _, status in statuses} == {200}
    assert all(address.startswith("/admin/") for address, _ in statuses)
