"""Newcomers who arrive from a provider at the same moment, on both databases: each gets in, as themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.models.signals import pre_save
from django.test.utils import CaptureQueriesContext

from accounts.models import Identity, Upstream, User
from accounts.upstreams.oidc import metadata
from tests.accounts.conftest import PortalClient
from tests.accounts.signing_in import is_signed_in
from tests.factories import UpstreamFactory
from tests.front.serving import Cast, Database
from tests.upstreams.provider import Provider

AT_ONCE = 6


@pytest.fixture
def provider(database: Database) -> Iterator[Provider]:
    metadata.forget_all()
    started = Provider()
    UpstreamFactory(
        slug="campus", issuer=started.issuer, allow_private=True, trusted_email_domains="example.com"
    )
    yield started
    started.stop()


@contextmanager
def all_choosing_before_one_is_made() -> Iterator[None]:
    """Hold each first account back until everybody has chosen a name. SQLite lets one choose at a time."""
    all_chose = threading.Event()
    everybody = threading.Barrier(AT_ONCE, action=all_chose.set)

    def wait(instance: User, **kwargs: object) -> None:
        # The losers choose again, and no winner comes back to wait with them.
        if instance.pk is None and connection.vendor == "postgresql" and not all_chose.is_set():
            everybody.wait(60)

    pre_save.connect(wait, sender=User)
    try:
        yield
    finally:
        pre_save.disconnect(wait, sender=User)


def arrive_at_once(provider: Provider, person: Callable[[int], dict[str, Any]]) -> list[PortalClient]:
    """Let so many browsers come back from the provider at once; give them."""
    browsers = [PortalClient(HTTP_HOST="sso.example.com") for _ in range(AT_ONCE)]
    left = [browser.get("/upstreams/campus/start")["Location"] for browser in browsers]
    paths = [provider.sign_in(location, person(number)) for number, location in enumerate(left)]

    def come_back(number: int) -> int:
        try:
            return int(browsers[number].get(paths[number]).status_code)
        finally:
            connection.close()

    with all_choosing_before_one_is_made(), ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(come_back, range(AT_ONCE)))
    assert statuses == [302] * AT_ONCE
    assert all(is_signed_in(browser) for browser in browsers)
    return browsers


def test_people_of_one_name_each_get_an_account_of_their_own(people: Cast, provider: Provider) -> None:
    arrive_at_once(provider, lambda number: {"sub": str(number), "preferred_username": "alice"})

    made = dict(Identity.objects.values_list("subject", "user__username"))
    assert sorted(made.values()) == [f"alice-{number}" for number in range(2, AT_ONCE + 2)]
    assert not Identity.objects.filter(user=people.alice).exists()


def test_people_of_one_address_are_not_joined_by_it(provider: Provider) -> None:
    Upstream.objects.update(linking=Upstream.Linking.NEVER)
    shared = {"email": "erin@example.com", "email_verified": True}

    arrive_at_once(
        provider, lambda number: {"sub": str(number), "preferred_username": f"e{number}", **shared}
    )

    assert User.objects.filter(identities__isnull=False).count() == AT_ONCE
    assert User.objects.filter(email="erin@example.com").count() == 1


def test_one_person_with_many_browsers_gets_one_account(provider: Provider) -> None:
    arrive_at_once(provider, lambda number: {"sub": "7", "preferred_username": "erin", "name": "Erin"})

    assert Identity.objects.get().user == User.objects.get(username="erin")
    assert not User.objects.filter(username__startswith="erin-").exists()


def test_a_sign_in_locks_its_provider_before_its_user(provider: Provider) -> None:
    # In another order, two sign-ins of one person could wait for each other, and PostgreSQL would end one.
    browser = PortalClient(HTTP_HOST="sso.example.com")
    location = browser.get("/upstreams/campus/start")["Location"]
    path = provider.sign_in(location, {"sub": "7", "preferred_username": "erin"})

    with CaptureQueriesContext(connection) as captured:
        browser.get(path)

    steps = [query["sql"] for query in captured.captured_queries]
    begun = next(
        number for number, sql in enumerate(steps) if sql.startswith('INSERT INTO "authgate_signin"')
    )
    provider_read = next(
        number for number, sql in enumerate(steps) if number > begun and 'FROM "accounts_upstream"' in sql
    )
    written = [
        number
        for number, sql in enumerate(steps)
        if number > begun and sql.startswith('UPDATE "accounts_user"')
    ]
    assert User.objects.get(username="erin").language and len(written) == 2
    assert provider_read < min(written)
