"""Databases of both kinds with the cast."""

from __future__ import annotations

from tests.admin.conftest import browser_of, carols, sam, sams  # noqa: F401
from tests.feed.conftest import cluster, database, people, vendor  # noqa: F401
from tests.front.conftest import pattern  # noqa: F401
