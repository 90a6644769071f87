"""Shared memory has the libraries that most portals need. Other libraries are loaded on first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from accounts.models import Upstream
from tests.factories import UpstreamFactory
from tests.front.serving import ROOT, Cast, Database, Portal

FOR_FEW = {"PIL", "requests", "ua_parser", "yaml"}
"""Libraries for uploaded pictures, providers, names of browsers, and command files."""

LOAD = """
import sys
from types import SimpleNamespace
from ikd_portal import shared_memory, worker
def wsgi():
    import ikd_portal.asgi
shared_memory.load(SimpleNamespace(wsgi=wsgi))
print(*sys.modules)
"""


def loaded(database: Database, folder: Path) -> set[str]:
    """Return the modules that the server has loaded before it forks."""
    environment = Portal(folder, database).environment
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_libraries_that_few_portals_need_are_not_loaded(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    found = loaded(database, tmp_path)

    assert {"accounts.urls", "ikd_portal.urls", "openid.urls"} <= found
    assert found & FOR_FEW == set()


@pytest.mark.parametrize(
    ("kind", "enabled", "is_needed"),
    [
        (Upstream.Kind.OIDC, True, True),
        (Upstream.Kind.OIDC, False, False),
        (Upstream.Kind.CAS, True, False),
    ],
    ids=["OpenID Connect", "disabled", "CAS"],
)
def test_processes_share_the_library_of_providers_in_use(
    database: Database, people: Cast, tmp_path: Path, kind: str, enabled: bool, is_needed: bool
) -> None:
    upstream = UpstreamFactory.create(kind=kind, enabled=enabled)

    found = loaded(database, tmp_path)
    upstream.delete()

    assert ("requests" in found) == is_needed


def test_the_server_starts_without_a_table(database: Database, people: Cast, tmp_path: Path) -> None:
    """This happens if the database is older than the portal: it listens, and reports that it is not ready."""
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE openid_logoutdelivery")

    assert "ikd_portal.urls" in loaded(database, tmp_path)
