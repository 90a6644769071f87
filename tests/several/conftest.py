from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.feed.cluster import Cluster
from tests.feed.conftest import cluster  # noqa: F401
from tests.front.conftest import pattern  # noqa: F401
from tests.front.serving import Database
from tests.several.stage import Network, Several, two_portals
from tests.several.stores import Redis, Relay

FIRST = "ikd_first"
"""The first portal's role in PostgreSQL. A separate role makes it possible to block only this portal."""


@pytest.fixture(scope="package")
def network() -> Iterator[Network | None]:
    """A network for the second portal, or None if this user cannot create one."""
    network = Network()
    if not network.make():
        yield None
        return
    yield network
    network.remove()


@pytest.fixture(scope="package")
def redis(network: Network | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    hosts = ("127.0.0.1", network.redis) if network else ("127.0.0.1",)
    redis = Redis(tmp_path_factory.mktemp("redis"), *hosts).start()
    yield redis
    redis.stop()


@pytest.fixture(scope="package")
def several(
    cluster: Cluster,  # noqa: F811
    redis: Redis,
    network: Network | None,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Several]:
    """Two portals on one PostgreSQL and one Redis. The second reaches both over its network."""
    name = f"s{uuid.uuid4().hex}"
    over_tcp = cluster.database(name, "pattern")
    cluster.execute(f"DROP ROLE IF EXISTS {FIRST}", f"CREATE ROLE {FIRST} LOGIN SUPERUSER")
    first = Database(f"postgres://{FIRST}@/{name}?host={cluster.folder}&port={cluster.port}")
    relay = Relay(network.database if network else "127.0.0.1", cluster.port)
    second = Database(f"postgres://ikd@{relay.host}:{relay.port}/{name}")
    stores = tuple(f"redis://{host}:{redis.port}/0" for host in (redis.hosts[0], redis.hosts[-1]))
    folder = tmp_path_factory.mktemp("several")
    with (
        django_db_blocker.unblock(),
        over_tcp.connected(),
        two_portals(second, folder, network, first, stores) as several,
    ):
        yield several
    relay.close()


@pytest.fixture(scope="package")
def both_on_sqlite(
    pattern: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[tuple[Database, Several]]:
    folder = tmp_path_factory.mktemp("on-sqlite")
    shutil.copy(pattern, folder / "ikd.sqlite3")
    database = Database(f"sqlite:///{folder / 'ikd.sqlite3'}")
    with ExitStack() as stack:
        with django_db_blocker.unblock(), database.connected():
            several = stack.enter_context(two_portals(database, folder, None))
        yield database, several


@pytest.fixture
def on_sqlite(
    both_on_sqlite: tuple[Database, Several], django_db_blocker: DjangoDbBlocker
) -> Iterator[Several]:
    """Two portals on one SQLite file. Models read and write it in the test."""
    database, several = both_on_sqlite
    with django_db_blocker.unblock(), database.connected():
        yield several
