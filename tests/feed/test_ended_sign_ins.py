"""Sign-ins by a provider end with the provider's rows on both databases, and the feed reports it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import Identity, Upstream, UpstreamSession
from authgate.models import Change, SignIn
from tests.factories import UpstreamFactory
from tests.front.serving import Cast, Database


def raw(sql: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


ENDS: dict[str, Callable[[Upstream], object]] = {
    "the upstream deleted": lambda upstream: upstream.delete(),
    "disabled by raw SQL": lambda upstream: raw("UPDATE accounts_upstream SET enabled = %s", False),
    "the identity deleted by raw SQL": lambda upstream: raw("DELETE FROM accounts_identity"),
    "the identity given away": lambda upstream: Identity.objects.update(subject="somebody else"),
}


@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS)
def test_a_sign_in_ends_and_the_feed_reports_it(
    database: Database, people: Cast, change: Callable[[Upstream], object]
) -> None:
    sign_in = SignIn.objects.filter(user=people.alice).latest("pk")
    upstream = UpstreamFactory()
    Identity.objects.create(upstream=upstream, subject="1", user=people.alice)
    UpstreamSession.objects.create(sign_in=sign_in, upstream=upstream, subject="1", checked_at=timezone.now())
    newest = Change.objects.latest("pk").pk

    change(upstream)

    sign_in.refresh_from_db()
    assert sign_in.ended_at is not None
    assert ("sign_in", sign_in.pk) in Change.objects.filter(pk__gt=newest).values_list("kind", "key")
