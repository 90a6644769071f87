"""Many threads keep long pages at the same moment, on both databases. No page is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from django.db import connections
from django.utils import timezone

from authgate import kept_pages
from authgate.models import KeptPage
from tests.front.serving import Database

AT_ONCE, EACH = 8, 5
CLIENT = "198.51.100.7"


def test_every_page_is_kept_while_old_ones_are_removed(database: Database) -> None:
    over = timezone.now() - timedelta(minutes=1)
    KeptPage.objects.bulk_create(
        KeptPage(key=f"old-{number}", network="n", address="/", expires_at=over) for number in range(300)
    )

    pages = at_once(
        lambda number: [f"https://a.example/{number}/{each}?{'x' * 4_000}" for each in range(EACH)]
    )

    assert len(pages) == AT_ONCE * EACH
    assert not KeptPage.objects.filter(expires_at__lte=over).exists()


def test_the_same_page_asked_for_at_once_is_kept_once(database: Database) -> None:
    pages = at_once(lambda number: [f"https://a.example/?{'x' * 4_000}"] * EACH)

    assert len(pages) == 1
    assert KeptPage.objects.count() == 1


def at_once(pages_of: Callable[[int], list[str]]) -> set[str]:
    """Keep pages in several threads. Return those that can be read again under their keys."""

    def work(number: int) -> list[tuple[str, str | None]]:
        try:
            return [(page, kept_pages.keep(page, CLIENT)) for page in pages_of(number)]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        kept = [pair for pairs in pool.map(work, range(AT_ONCE)) for pair in pairs]
    for page, key in kept:
        assert key is not None
        assert kept_pages.kept(key) == page
    return {page for page, _ in kept}
