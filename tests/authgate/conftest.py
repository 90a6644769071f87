from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from authgate.models import Application
from authgate.worker.write_behind import writer
from tests.authgate.asking import WIKI
from tests.factories import ApplicationFactory

# All examples of a property test share its fixtures, such as an application.
_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
hypothesis_settings.register_profile(
    "quick", max_examples=60, deadline=None, database=None, suppress_health_check=_SHARED
)
hypothesis_settings.register_profile(
    "thorough", max_examples=5_000, deadline=None, suppress_health_check=_SHARED
)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True)
def nothing_to_write() -> None:
    """Discard the writes that checks of an earlier test have left in the queue."""
    writer.clear()


@pytest.fixture
def wiki(db: None) -> Application:
    return ApplicationFactory(name="Wiki", origins=[WIKI], groups=["staff"])
