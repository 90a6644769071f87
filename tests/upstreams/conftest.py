from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import caches

from accounts.models import Upstream
from accounts.upstreams.oidc import metadata
from tests.accounts.conftest import client, other_browser  # noqa: F401
from tests.factories import UpstreamFactory
from tests.upstreams.cas_server import CasServer
from tests.upstreams.provider import Provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    started = Provider()
    yield started
    started.stop()


@pytest.fixture
def upstream(provider: Provider, db: None) -> Upstream:
    """The provider as an administrator entered it. Its verified addresses of example.com are trusted."""
    return UpstreamFactory(
        name="Campus",
        slug="campus",
        issuer=provider.issuer,
        allow_private=True,
        trusted_email_domains="example.com",
    )


@pytest.fixture(autouse=True)
def forget_providers(request: pytest.FixtureRequest) -> None:
    metadata.forget_all()
    if "upstream" in request.fixturenames:
        request.getfixturevalue("db")
        for cache in caches.all():
            cache.clear()


@pytest.fixture
def server() -> Iterator[CasServer]:
    started = CasServer()
    yield started
    started.stop()


@pytest.fixture
def campus(server: CasServer, db: None) -> Upstream:
    """A CAS server as an administrator entered it. Its addresses of example.com are trusted."""
    for cache in caches.all():
        cache.clear()
    return UpstreamFactory(
        kind=Upstream.Kind.CAS,
        name="Campus",
        slug="campus",
        issuer="",
        client_id="",
        server_url=server.url,
        allow_private=True,
        trusted_email_domains="example.com",
    )
