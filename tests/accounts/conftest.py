from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

PORTAL = "https://sso.example.com"


class PortalClient(Client):
    """A browser that opens the portal's pages at the portal's address, over https."""

    def generic(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["secure"] = True
        return super().generic(*args, **kwargs)


@pytest.fixture
def client() -> PortalClient:
    return PortalClient(HTTP_HOST="sso.example.com")


@pytest.fixture
def other_browser() -> PortalClient:
    return PortalClient(HTTP_HOST="sso.example.com")
