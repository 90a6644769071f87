"""One of a thousand simultaneous requests with one code succeeds, and none from another browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.own_database import RUN_ON, create_database_in

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]


def race(tmp_path: Path, **more: str) -> str:
    apart = {"IKD_VAR": str(tmp_path), "DATABASE_URL": create_database_in(tmp_path), "REDIS_URL": ""}
    # The test settings would use the test database and Redis instead.
    environment = {**os.environ, RUN_ON: "", "TESTS_REDIS": "", **apart, **more}
    command = [sys.executable, "-m", "tests.authgate.code_race"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is missing (Debian: redis-server)")
        pytest.skip("redis-server is missing (Debian: redis-server)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            program,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            str(tmp_path),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("redis-server does not answer")


def test_one_request_succeeds_with_the_database_alone(tmp_path: Path) -> None:
    assert race(tmp_path) == "0 1 1 1 1"


def test_one_request_succeeds_with_redis(tmp_path: Path, redis: str) -> None:
    assert race(tmp_path, REDIS_URL=redis) == "0 1 1 1 1"


def test_nobody_gets_in_while_redis_is_away(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Connection"):
        race(tmp_path, REDIS_URL="redis://127.0.0.1:1/0")
