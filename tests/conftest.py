"""The cast: alice is in staff, bob in guests, carol an administrator, dave disabled."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest
from _pytest import fixtures, runner
from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.core.signals import setting_changed
from django.db import connection
from django.template.base import Template
from django.test import TransactionTestCase
from django.test.client import ClientHandler
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from accounts.branding import brand
from accounts.models import User
from authgate.models import Application, SignIn
from authgate.sampling import sample
from authgate.worker import readiness
from ikd_portal.settings import cache
from tests.compiling import compile_a_share
from tests.factories import person
from tests.pattern import fill_from_pattern
from tests.quick import FOLDERS_OF_SERVERS, LONG, quick_tests

if TYPE_CHECKING:
    from playwright.sync_api import Playwright

    from tests.browser.driver import Driver
    from tests.database_copy import DatabaseCopy
    from tests.distribution import LongestFirst
    from tests.upstreams.keycloak import Keycloak


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst | None:
    """Divide the tests as tests/distribution.py says, if they run under `--dist loadgroup`."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.distribution import LongestFirst

    return LongestFirst(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip the import of files that `make quick` leaves out: importing them takes longer than many tests."""
    if config.option.markexpr != "quick":
        return None
    path = collection_path.relative_to(config.rootpath)
    return True if path.as_posix() in LONG or FOLDERS_OF_SERVERS.intersection(path.parts) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Exclude objects that live until the end from garbage collection, and collect the others less often."""
    gc.disable()
    try:
        compile_a_share(session.config, lambda path: bool(pytest_ignore_collect(path, session.config)))
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark what `make quick` runs."""
    for item in quick_tests(items):
        item.add_marker("quick")


def pytest_configure() -> None:
    """Return no arguments for pytest's own `request`, rather than inspect it 30 times for each test.

    pytest reserves the name, so no other fixture has it.
    """
    find = fixtures.getfuncargnames

    def find_argument_names(function: Any, *, name: str = "", cls: type | None = None) -> tuple[str, ...]:
        return () if name == "request" else find(function, name=name, cls=cls)

    fixtures.getfuncargnames = find_argument_names
    runner.runtestprotocol = partial(_with_large_stack, runner.runtestprotocol)


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


_with_large_stack = FunctionType(_call.__code__.replace(co_stacksize=70_000), globals())
"""Call a function so that the frames of all its calls fit into one piece of memory of 1 MiB.

CPython keeps frames in pieces of 16 KiB. It asks the kernel for a piece whenever a call begins a new one, and
returns it when that call ends. Without this, requests did so a hundred times each: a tenth of their time.
"""


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> Iterator[None]:
    """Copy all tables into the tests' database before pytest-django migrates it, so that it finds no work."""
    if connection.vendor != "sqlite":
        yield
        return
    with closing(fill_from_pattern(str(connection.creation._get_test_db_name()))):
        yield


@pytest.fixture(scope="session", autouse=True)
def middleware_loaded_once() -> Iterator[None]:
    """Share the loaded middleware among all `Client`s. Each would search for all static files again.

    A change of Django's settings loads it again. Loading it reads none of the portal's own settings.
    """
    parts = ("_view_middleware", "_template_response_middleware", "_exception_middleware")
    loaded: dict[str, Any] = {}
    load = ClientHandler.load_middleware

    def load_once(self: ClientHandler, is_async: bool = False) -> None:
        if not loaded:
            load(self, is_async)
            loaded.update({part: getattr(self, part) for part in (*parts, "_middleware_chain")})
        vars(self).update(loaded)

    def forget(setting: str, **_: Any) -> None:
        if not setting.startswith("IKD_"):
            loaded.clear()

    setting_changed.connect(forget)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientHandler, "load_middleware", load_once)
        yield
    setting_changed.disconnect(forget)


@pytest.fixture(scope="session", autouse=True)
def contexts_of_pages(django_test_environment: None) -> Iterator[None]:
    """Record in `response.context` the contexts of pages only. Django also records one for each widget."""
    render_and_keep = Template._render  # type: ignore[attr-defined]

    def render(self: Any, context: Any) -> Any:
        is_part = (self.name or "").startswith(("django/forms/", "admin/widgets/"))
        return self.nodelist.render(context) if is_part else render_and_keep(self, context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Template, "_render", render)
        yield


@pytest.fixture(scope="session")
def empty_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[DatabaseCopy]:
    """Return a copy of the empty database, which is restored after each test without a transaction.

    Django would empty a hundred tables, and then send all signals of a migration.
    """
    from tests.database_copy import DatabaseCopy

    with django_db_blocker.unblock():
        copy = DatabaseCopy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: copy.restore())
        yield copy
    copy.close()


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """Run one Keycloak for all tests of the group keycloak, because its start takes long."""
    from tests.upstreams.keycloak import Keycloak

    started = Keycloak(tmp_path_factory.mktemp("keycloak"))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    from tests.browser.driver import Driver

    started = Driver()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def playwright(driver: Driver) -> Iterator[Playwright]:
    with driver.at_work() as playwright:
        yield playwright


@pytest.fixture(autouse=True)
def emptied_at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Copy the empty database before the first test without a transaction. Redis has no transactions."""
    marker = request.node.get_closest_marker("django_db")
    has_none = marker is not None and marker.kwargs.get("transaction")
    if has_none or {"transactional_db", "live_server"}.intersection(request.fixturenames):
        request.getfixturevalue("empty_database")
    yield
    if "TESTS_REDIS" in os.environ:
        for each in caches.all():
            each.clear()


@pytest.fixture
def caches_in_tables(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep codes and limits in database tables, even if the tests run on Redis."""
    monkeypatch.delenv("REDIS_URL", raising=False)
    settings.CACHES = {alias: cache(alias) for alias in settings.CACHES}


@pytest.fixture(autouse=True, scope="module")
def no_rows_left_behind(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Fail in the module that leaves rows in the process's own database, not in a later one."""
    yield
    if not str(connection.settings_dict["NAME"]).startswith(("file:memorydb", "tests")):
        return
    tables = [User._meta.db_table, Application._meta.db_table, SignIn._meta.db_table]
    tables += [each._table for each in caches.all() if isinstance(each, DatabaseCache)]
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        rows = {table: cursor.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in tables}
    left = [table for table, row in rows.items() if row]
    assert not left, f"this module left rows in {left}"


@pytest.fixture(autouse=True)
def forget_earlier_tests() -> None:
    """Forget what an earlier test left: the brand, spent budgets of events, and a failed write.

    One fixture does all three, because pytest's own work for a fixture takes longer than this.
    """
    brand.forget()
    sample.clear()
    readiness._LastWrite.at, readiness._LastWrite.trouble = -1e9, None


@pytest.fixture
def known_brand(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the brand in memory, as a worker does for all but one page in five seconds."""
    monkeypatch.setattr(brand, "REMEMBERED_FOR", 600.0)
    brand.current()


@pytest.fixture
def alice(db: None) -> User:
    return person("alice")


@pytest.fixture
def bob(db: None) -> User:
    return person("bob")


@pytest.fixture
def carol(db: None) -> User:
    return person("carol")


@pytest.fixture
def dave(db: None) -> User:
    return person("dave")
