"""The cast: alice is in staff, bob in guests, carol an administrator, dave disabled."""

from __future__ import annotations

import pytest

from accounts.branding import brand
from accounts.models import User
from authgate.sampling import sample
from tests.factories import UserFactory


@pytest.fixture(autouse=True)
def forget_the_brand() -> None:
    """What one test called the portal is nothing that the next may remember."""
    brand.forget()


@pytest.fixture(autouse=True)
def full_budgets() -> None:
    """Events that one test caused are no reason to keep none of the next."""
    sample.clear()


@pytest.fixture
def known_brand(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that knows the brand, as it does for all but one page in five seconds."""
    monkeypatch.setattr(brand, "REMEMBERED_FOR", 600.0)
    brand.current()


@pytest.fixture
def alice(db: None) -> User:
    return UserFactory(username="alice", email="alice@example.com", verified=True, groups=["staff"])


@pytest.fixture
def bob(db: None) -> User:
    return UserFactory(username="bob", email="bob@example.com", verified=True, groups=["guests"])


@pytest.fixture
def carol(db: None) -> User:
    return UserFactory(
        username="carol", email="carol@example.com", verified=True, is_staff=True, is_superuser=True
    )


@pytest.fixture
def dave(db: None) -> User:
    return UserFactory(username="dave", email="dave@example.com", verified=True, is_active=False)
