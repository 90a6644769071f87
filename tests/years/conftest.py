"""Databases of both kinds, and a clock that can be moved."""

from __future__ import annotations

from tests.feed.conftest import cluster, database, people, vendor  # noqa: F401
from tests.front.conftest import pattern  # noqa: F401
