"""Workers after their clock is set back, and workers after their master died."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.front.serving import Database, Portal, eventually
from tests.own_database import create_database_in

TIMEOUT = 3
"""Seconds without a sign of life after which the master kills a worker."""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(create_database_in(tmp_path))


STEPPED = """
import pathlib, time
of_the_machine, offset = time.time, pathlib.Path({offset!r})
time.time = lambda: of_the_machine() + float(offset.read_text())
"""
"""Python runs this at its start. It shifts the wall clock by the seconds in a file."""


def test_a_clock_that_is_set_back_kills_no_worker(database: Database, tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(STEPPED.format(offset=str(offset)))
    portal = Portal(tmp_path, database, PYTHONPATH=str(tmp_path)).start("--timeout", str(TIMEOUT))
    try:
        with portal.connect() as connection:
            before = connection.get("/healthz").header("date")
        workers = portal.workers()
        offset.write_text(str(-25 * 3600))
        time.sleep(2 * TIMEOUT + 1)
        with portal.connect() as connection:
            answer = connection.get("/healthz")

        assert answer.status == 200
        assert answer.header("date")[:11] != before[:11]  # proof that the clock was really stepped
        assert portal.workers() == workers
    finally:
        portal.stop()


def test_if_the_master_is_killed_its_workers_end_and_free_the_port(
    database: Database, tmp_path: Path
) -> None:
    portal = Portal(tmp_path, database, workers=2).start()
    workers = portal.workers()
    try:
        assert portal.process is not None
        portal.process.kill()
        portal.process.wait(10)

        assert eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        with pytest.raises(ConnectionRefusedError):
            portal.connect()
    finally:
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
