"""A wiki that signs its users in by OpenID Connect, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from django.core.cache import cache

from accounts.models import User
from authgate.models import Application
from openid.models import Client
from tests.accounts.conftest import PortalClient, client, other_browser  # noqa: F401
from tests.accounts.signing_in import sign_in
from tests.factories import ApplicationFactory
from tests.feed.conftest import cluster, database, vendor  # noqa: F401
from tests.front.conftest import pattern  # noqa: F401
from tests.front.serving import Database
from tests.openid.relying_party import CALLBACK, RelyingParty, register


@pytest.fixture
def db(database: Database) -> None:  # noqa: F811
    """Stand for pytest-django's database: each test runs on both."""


@pytest.fixture
def wiki(db: None) -> Application:
    cache.clear()
    return ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])


@pytest.fixture
def rp(wiki: Application) -> RelyingParty:
    """The wiki as a confidential client."""
    return register(wiki)


@pytest.fixture
def app(wiki: Application) -> RelyingParty:
    """The wiki's app for phones: a public client."""
    return register(wiki, kind=Client.Kind.PUBLIC, redirect_uris=f"{CALLBACK}\nhttp://127.0.0.1/callback")


@pytest.fixture
def browser(client: PortalClient, alice: User, rp: RelyingParty) -> PortalClient:  # noqa: F811
    """A browser in which alice is signed in."""
    sign_in(client, "alice")
    return client
