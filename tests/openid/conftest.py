"""A wiki with OpenID Connect for its sign-ins, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import cache as cache_of_one_result

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.cache import cache
from django.utils import timezone
from playwright.sync_api import Browser, Page, Playwright
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import User
from authgate.encryption import Secret
from authgate.models import Application
from authgate.network_limits import WrongTries
from openid import wrong_clients
from openid.models import Client, ProviderKey
from tests.accounts.conftest import PortalClient, client, other_browser  # noqa: F401
from tests.accounts.signing_in import begin_session
from tests.browser.driver import Driver
from tests.factories import ApplicationFactory
from tests.feed.conftest import cluster, database, vendor  # noqa: F401
from tests.front.conftest import pattern  # noqa: F401
from tests.front.serving import Database
from tests.openid.installation import PATIENCE, Provider
from tests.openid.relying_party import CALLBACK, RelyingParty, register


@pytest.fixture
def db(database: Database) -> None:  # noqa: F811
    """Replace pytest-django's database: each test runs on both."""


@cache_of_one_result
def signing_key() -> Secret:
    """Return one key for all databases. Generating and parsing a key takes longer than most tests."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret.of(pem.decode())


@pytest.fixture(autouse=True)
def reset_wrong_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset the limit of wrong requests, so that no test uses it up for another."""
    monkeypatch.setattr(wrong_clients, "_wrong", WrongTries())
    monkeypatch.setattr(wrong_clients, "_right", OrderedDict())


@pytest.fixture
def wiki(db: None) -> Application:
    cache.clear()
    ProviderKey.objects.create(kid="known", private_key=signing_key(), signs_from=timezone.now())
    return ApplicationFactory(name="Wiki", origins=["https://wiki.example.com"], groups=["staff"])


@pytest.fixture
def rp(wiki: Application) -> RelyingParty:
    """The wiki as a confidential client."""
    return register(wiki)


@pytest.fixture
def app(wiki: Application) -> RelyingParty:
    """The wiki's app for phones, a public client."""
    return register(wiki, kind=Client.Kind.PUBLIC, redirect_uris=f"{CALLBACK}\nhttp://127.0.0.1/callback")


@pytest.fixture
def browser(client: PortalClient, alice: User, rp: RelyingParty) -> PortalClient:  # noqa: F811
    """A browser with alice signed in."""
    begin_session(client, "alice")
    return client


# ---- other projects' clients, in a real browser -----------------------------------------------------------


@pytest.fixture(scope="session")
def running_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    started = Provider.start(tmp_path_factory.mktemp("provider"))
    yield started
    started.stop()


@pytest.fixture
def provider(running_provider: Provider, django_db_blocker: DjangoDbBlocker) -> Iterator[Provider]:
    """The portal of all these tests. In `rows`, models read and write its database."""
    with django_db_blocker.unblock(), running_provider.rows():
        yield running_provider


@pytest.fixture(scope="module")
def chromium(driver: Driver, playwright: Playwright) -> Browser:
    return driver.browser()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()
