"""One portal, one set of applications and one doctor, shared by the tests of all proxies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.doctor.examiner import Examiner
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal, start_portal


@pytest.fixture(scope="session")
def backend() -> Iterator[Backend]:
    backend = Backend(("app", "wiki", "ops"))
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture(scope="session")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    portal = start_portal(tmp_path_factory.mktemp("portal"), scheme="https")
    yield portal
    portal.server.stop()


@pytest.fixture(scope="session")
def examiner(portal: Portal) -> Iterator[Examiner]:
    examiner = Examiner(portal)
    yield examiner
    examiner.stop()
