from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.core.cache import cache

from accounts.models import ManagedGroup, User
from tests.accounts.conftest import client, other_browser
from tests.admin.conftest import browser_of, carols, sam, sams
from tests.factories import GroupFactory

__all__ = ["browser_of", "carols", "client", "other_browser", "sam", "sams"]


@pytest.fixture(autouse=True)
def empty_cache(request: pytest.FixtureRequest) -> None:
    if "db" in request.fixturenames:
        request.getfixturevalue("db")
        cache.clear()


@pytest.fixture
def team(alice: User) -> Group:
    """A group that alice manages."""
    group: Group = GroupFactory(name="team")
    ManagedGroup.objects.create(group=group).managers.set([alice])
    return group
