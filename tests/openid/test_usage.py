"""Sign-ins by OpenID Connect and refreshes count as use of the client's application."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from accounts.access_reviews import reviews
from accounts.models import User
from authgate.models import Application, RequestCount, Rule, SignIn
from authgate.sign_ins import end_sign_ins
from authgate.usage.removals import find
from authgate.usage.requests import last_use
from authgate.usage.tightening import PEOPLE
from authgate.worker.usage import EVERY, usage
from tests.accounts.conftest import PortalClient
from tests.factories import RuleFactory, UserFactory
from tests.front.serving import Database, Portal
from tests.openid.relying_party import RelyingParty
from tests.openid.test_real_server import code_fields, exchange

Row = tuple[int, int, str, int, int, int]


@pytest.fixture(autouse=True)
def _counted_from_here(db: None) -> Iterator[None]:
    usage.clear()
    yield
    usage.clear()


def written() -> list[Row]:
    """Write the counts, and return person, rule, method, and allowed, refused and asked requests."""
    usage.write()
    rows = RequestCount.objects.order_by("pk")
    return list(rows.values_list("person", "rule", "method", "allowed", "refused", "asked"))


def test_an_authorization_counts_once_for_its_rule(
    browser: PortalClient, rp: RelyingParty, wiki: Application, alice: User
) -> None:
    rp.tokens(browser)

    assert written() == [(alice.pk, wiki.rules.get().pk, "openid", 1, 0, 0)]
    assert last_use(alice.pk, wiki.pk) == timezone.localdate()


def test_each_refresh_counts(browser: PortalClient, rp: RelyingParty, wiki: Application, alice: User) -> None:
    tokens = rp.tokens(browser, scope="openid offline_access")
    written()

    assert rp.refresh(tokens["refresh_token"]).status_code == 200

    assert written() == [(alice.pk, wiki.rules.get().pk, "openid", 2, 0, 0)]


def test_a_refresh_that_fails_counts_nothing(browser: PortalClient, rp: RelyingParty) -> None:
    tokens = rp.tokens(browser, scope="openid offline_access")
    before = written()
    end_sign_ins(SignIn.objects.all())

    assert rp.refresh(tokens["refresh_token"]).status_code == 400

    assert written() == before


def test_refusals_and_second_factors_are_counted(
    browser: PortalClient, rp: RelyingParty, wiki: Application, alice: User
) -> None:
    rule = wiki.rules.get()
    Rule.objects.filter(pk=rule.pk).update(second_factor=True)
    rp.authorize(browser)
    rule.groups.clear()
    rp.authorize(browser)

    assert written() == [(alice.pk, rule.pk, "openid", 0, 1, 1)]


def test_counting_makes_no_query(browser: PortalClient, rp: RelyingParty, wiki: Application) -> None:
    rp.tokens(browser)

    assert not RequestCount.objects.exists()


def test_a_sign_in_by_openid_connect_counts_for_findings_and_reviews(
    browser: PortalClient, rp: RelyingParty, wiki: Application, alice: User
) -> None:
    idle = UserFactory(username="idle", groups=["staff"])
    rp.tokens(browser)
    written()

    since = timezone.localdate() - timedelta(days=30)
    found = find(wiki.pk, PEOPLE, 0, 0, since)
    review = reviews.begin(wiki)

    assert found is not None and found[0].people == (idle.pk,)
    assert review is not None
    assert dict(review.entries.values_list("username", "last_use")) == {
        "alice": timezone.localdate(),
        "idle": None,
    }


def test_a_rule_for_another_path_stays_unused(
    browser: PortalClient, rp: RelyingParty, wiki: Application
) -> None:
    RuleFactory(application=wiki, path="/admin", who="chosen", groups=["staff"])
    Group.objects.get(name="staff")
    rp.tokens(browser)
    written()

    assert set(RequestCount.objects.values_list("rule", flat=True)) == {wiki.rules.get(path="/").pk}


def test_the_running_server_writes_the_counts(
    rp: RelyingParty,
    wiki: Application,
    alice: User,
    database: Database,
    browser: PortalClient,
    tmp_path: Path,
) -> None:
    portal = Portal(tmp_path, database, IKD_PAGE_WORKERS="2").start()
    try:
        status, tokens = exchange(
            portal, rp, code_fields(rp, rp.code(browser, scope="openid offline_access"))
        )
        fields = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        assert (status, exchange(portal, rp, fields)[0]) == (200, 200)
        patience = time.monotonic() + 10 * EVERY
        while not RequestCount.objects.exists() and time.monotonic() < patience:
            time.sleep(0.5)
    finally:
        portal.stop()

    # The authorization itself was sent to this process.
    assert list(RequestCount.objects.values_list("person", "method", "allowed")) == [(alice.pk, "openid", 1)]
