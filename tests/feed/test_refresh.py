"""Many threads refresh one sign-in at once, on both databases. No newer refresh token is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Identity, UpstreamSession
from accounts.upstreams.oidc import metadata
from accounts.upstreams.oidc.refresh import Outcome, refresh
from authgate.models import SignIn
from tests.factories import UpstreamFactory
from tests.front.serving import Cast, Database
from tests.upstreams.provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    metadata.forget_all()
    started = Provider()
    yield started
    started.stop()


@pytest.fixture
def session(database: Database, people: Cast, provider: Provider) -> UpstreamSession:
    sign_in = SignIn.objects.filter(user=people.alice).latest("pk")
    upstream = UpstreamFactory(issuer=provider.issuer, allow_private=True)
    Identity.objects.create(upstream=upstream, subject="alice-there", user=people.alice)
    attempt = {"client_id": "portal", "nonce": "n"}
    provider.refresh_tokens["refresh"] = attempt, "access"
    return UpstreamSession.objects.create(
        sign_in=sign_in,
        upstream=upstream,
        subject="alice-there",
        refresh_token="refresh",
        checked_at=timezone.now(),
    )


def test_one_of_many_simultaneous_refreshes_asks_the_provider(
    session: UpstreamSession, provider: Provider
) -> None:
    def one(_: int) -> Outcome:
        try:
            return refresh(session.pk).outcome
        finally:
            connection.close()

    slow = provider._refreshed

    def slowly(token: str) -> Any:
        time.sleep(0.3)
        return slow(token)

    provider._refreshed = slowly  # type: ignore[method-assign]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(one, range(8)))

    assert sorted(outcome.name for outcome in outcomes) == ["BUSY"] * 7 + ["FRESH"]
    session.refresh_from_db()
    assert session.refresh_token.reveal() in provider.refresh_tokens
    assert session.sign_in.ended_at is None


def test_a_refresh_with_an_expired_lease_keeps_the_newer_token(
    session: UpstreamSession, provider: Provider
) -> None:
    """The provider takes longer than the lease. Meanwhile, another process stores a newer token."""
    slow = provider._refreshed

    def overtaken(token: str) -> Any:
        held = UpstreamSession.objects.filter(pk=session.pk)
        held.update(refresh_token="newer", tried_at=None)
        connection.close()
        return slow(token)

    provider._refreshed = overtaken  # type: ignore[method-assign]
    refresh(session.pk)

    session.refresh_from_db()
    assert session.refresh_token.reveal() == "newer"
