"""New users who arrive from a provider at the same moment, on both databases. Each gets their own account."""

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
def names_chosen_before_any_account_is_saved() -> Iterator[None]:
    """Hold the first accounts back until all have chosen a name. On SQLite, they choose in turn."""
    all_chose = threading.Event()
    everybody = threading.Barrier(AT_ONCE, action=all_chose.set)

    def wait(instance: User, **kwargs: object) -> None:
        # Those that lose choose again, and must not wait for the barrier a second time.
        if instance.pk is None and connection.vendor == "postgresql" and not all_chose.is_set():
            everybody.wait(60)

    pre_save.connect(wait, sender=User)
    try:
        yield
    finally:
        pre_save.disconnect(wait, sender=User)


def arrive_at_once(provider: Provider, person: Callable[[int], dict[str, Any]]) -> list[PortalClient]:
    """Let several browsers return from the provider at once, and return them."""
    browsers = [PortalClient(HTTP_HOST="sso.example.com") for _ in range(AT_ONCE)]
    left = [browser.get("/upstreams/campus/start")["Location"] for browser in browsers]
    paths = [provider.sign_in(location, person(number)) for number, location in enumerate(left)]

    def come_back(number: int) -> int:
        try:
            return int(browsers[number].get(paths[number]).status_code)
        finally:
            connection.close()

    with names_chosen_before_any_account_is_saved(), ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = list(pool.map(come_back, range(AT_ONCE)))
    assert statuses == [302] * AT_ONCE
    assert all(is_signed_in(browser) for browser in browsers)
    return browsers


def test_users_with_the_same_name_get_separate_accounts(people: Cast, provider: Provider) -> None:
    arrive_at_once(provider, lambda number: {"sub": str(number), "preferred_username": "alice"})

    made = dict(Identity.objects.values_list("subject", "user__username"))
    assert sorted(made.values()) == [f"alice-{number}" for number in range(2, AT_ONCE + 2)]
    assert not Identity.objects.filter(user=people.alice).exists()


def test_users_with_the_same_address_get_separate_accounts(provider: Provider) -> None:
    Upstream.objects.update(linking=Upstream.Linking.NEVER)
    shared = {"email": "erin@example.com", "email_verified": True}

    arrive_at_once(
        provider, lambda number: {"sub": str(number), "preferred_username": f"e{number}", **shared}
    )

    assert User.objects.filter(identities__isnull=False).count() == AT_ONCE
    assert User.objects.filter(email="erin@example.com").count() == 1


def test_one_user_with_many_browsers_gets_one_account(provider: Provider) -> None:
    arrive_at_once(provider, lambda number: {"sub": "7", "preferred_username": "erin", "name": "Erin"})

    assert Identity.objects.get().user == User.objects.get(username="erin")
    assert not User.objects.filter(username__startswith="erin-").exists()


def test_a_sign_in_locks_its_provider_before_its_user(provider: Provider) -> None:
    # In another order, two sign-ins of one user could wait for each other. PostgreSQL would abort one.
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
