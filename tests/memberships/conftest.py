"""Databases of both kinds with the cast, and browsers for the admin."""

from __future__ import annotations

from tests.accounts.conftest import client  # noqa: F401
from tests.admin.conftest import browser_of, carols, sam, sams  # noqa: F401
from tests.feed.conftest import clock, cluster, database, feed, people, vendor  # noqa: F401
from tests.front.conftest import pattern  # noqa: F401
