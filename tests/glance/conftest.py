from __future__ import annotations

from tests.admin.conftest import browser_of, carols, sam, sams

__all__ = ["browser_of", "carols", "sam", "sams"]
