"""Portals that start at the same moment on one PostgreSQL: one migrates it, and the others wait."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg

from tests.feed.cluster import Cluster
from tests.pattern import ROOT, portals_environment

PREPARE = """
import sys
from pathlib import Path
from ikd_portal.run import NotReady, prepare
try:
    prepare(Path(sys.argv[1]), print)
except NotReady as problem:
    sys.exit(str(problem))
"""


def start(url: str, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    settings = {"DATABASE_URL": url, "IKD_VAR": str(folder), "IKD_PORTAL_URL": "https://sso.example.com"}
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(folder)],
        cwd=ROOT,
        env=portals_environment() | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_three_portals_start_on_an_empty_database(cluster: Cluster, tmp_path: Path) -> None:
    url = cluster.database("first_start").url

    started = [start(url, tmp_path / name) for name in "abc"]
    said = [each.communicate(timeout=600)[0] for each in started]

    assert [each.returncode for each in started] == [0, 0, 0], said
    assert any("Waiting for another portal" in each for each in said)
    with psycopg.connect(url) as connection:
        twice = connection.execute(
            "SELECT app, name FROM django_migrations GROUP BY app, name HAVING count(*) > 1"
        ).fetchall()
        locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
    assert (twice, locks) == ([], (0,))
