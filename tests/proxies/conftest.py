"""One portal, one set of applications and one of each proxy for a test session (and for each worker)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proxies.backend import Backend
from tests.proxies.mistakes import Events
from tests.proxies.portal import Portal, start_portal
from tests.proxies.proxy import Proxy
from tests.proxies.registry import PUBLISH_NO_CHECK, REMOVE_COOKIES, STARTERS

METRICS_TOKEN = "the token of the tests"


@pytest.fixture(scope="session")
def backend() -> Iterator[Backend]:
    backend = Backend(("app", "wiki", "ops"))
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    portal = start_portal(tmp_path_factory.mktemp("portal"), scheme="https", IKD_METRICS_TOKEN=METRICS_TOKEN)
    yield portal
    portal.server.stop()


@pytest.fixture
def events(portal: Portal) -> Events:
    """The events that administrators see from here on."""
    return Events(portal)


@pytest.fixture(scope="session")
def nginx(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    yield from _running("nginx", portal, backend, tmp_path_factory)


@pytest.fixture(scope="session")
def traefik(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    yield from _running("traefik", portal, backend, tmp_path_factory)


@pytest.fixture(scope="session")
def envoy(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    yield from _running("envoy", portal, backend, tmp_path_factory)


@pytest.fixture(scope="session")
def haproxy(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    yield from _running("haproxy", portal, backend, tmp_path_factory)


@pytest.fixture(scope="session")
def caddy(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    yield from _running("caddy", portal, backend, tmp_path_factory)


@pytest.fixture(scope="session")
def ingress_nginx(
    portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    yield from _running("ingress_nginx", portal, backend, tmp_path_factory)


@pytest.fixture(scope="session")
def envoy_gateway(
    portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    yield from _running("envoy_gateway", portal, backend, tmp_path_factory)


@pytest.fixture(params=list(STARTERS))
def proxy(request: pytest.FixtureRequest) -> Proxy:
    """Each real proxy in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Proxy)
    found.backend.take()
    return found


@pytest.fixture(params=REMOVE_COOKIES)
def cutter(request: pytest.FixtureRequest) -> Proxy:
    """Each proxy that removes the portal's cookies before the application."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Proxy)
    found.backend.take()
    return found


@pytest.fixture(params=PUBLISH_NO_CHECK)
def hider(request: pytest.FixtureRequest) -> Proxy:
    """Each proxy that answers 404 for a check's URL on every site."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Proxy)
    found.backend.take()
    return found


def _running(name: str, portal: Portal, backend: Backend, folders: pytest.TempPathFactory) -> Iterator[Proxy]:
    proxy = STARTERS[name](portal, backend, folders.mktemp(name))
    yield proxy
    proxy.server.stop()
