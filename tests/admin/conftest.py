"""Browsers in the administration: `carols` of a superuser, `sams` of a staff user with every permission."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from tests.factories import UserFactory


class PortalClient(Client):
    """A browser that opens the portal's pages at the portal's address, over https."""

    def generic(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["secure"] = True
        return super().generic(*args, **kwargs)


@pytest.fixture
def browser_of() -> Callable[[User], Client]:
    def browser(user: User) -> Client:
        client = PortalClient(HTTP_HOST="sso.example.com")
        client.force_login(user, backend="accounts.backends.PasswordBackend")
        return client

    return browser


@pytest.fixture
def sam(db: None) -> User:
    sam = UserFactory(username="sam", email="sam@example.com", verified=True, is_staff=True)
    sam.user_permissions.set(Permission.objects.all())
    return sam


@pytest.fixture
def carols(carol: User, browser_of: Callable[[User], Client]) -> Client:
    return browser_of(carol)


@pytest.fixture
def sams(sam: User, browser_of: Callable[[User], Client]) -> Client:
    return browser_of(sam)


def permission_keys(count: int = 1) -> list[str]:
    """Return the primary keys of some permissions. They differ after a database was flushed."""
    keys = Permission.objects.order_by("pk").values_list("pk", flat=True)[:count]
    return [str(key) for key in keys]
