"""Run pytest on a PostgreSQL and a Redis of its own: `python -m tests.on_postgresql ARGUMENTS`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import django
import pytest

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from tests.feed.cluster import migrated  # noqa: E402
from tests.front.serving import free_port, program  # noqa: E402
from tests.own_database import RUN_ON  # noqa: E402

CONNECTIONS = 200
"""Each worker of pytest-xdist and its servers have their own connections."""


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a cluster with the migrated database, and yield its URL without a database."""
    cluster = migrated(max_connections=CONNECTIONS)
    try:
        yield f"postgres://ikd@127.0.0.1:{cluster.port}"
    finally:
        cluster.remove()


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis, and yield its URL without the number of a database."""
    port = free_port()
    command = [program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen([*command, "--save", "", "--databases", "256"], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def main(arguments: list[str]) -> int:
    try:
        with postgresql() as database, redis() as store:
            environment = os.environ | {RUN_ON: database, "TESTS_REDIS": store}
            command = [sys.executable, "-m", "pytest", *arguments]
            return subprocess.run(command, env=environment, check=False).returncode
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        print(f"Without the tests on PostgreSQL: {missing}", file=sys.stderr)
        return int(os.environ.get("CI") == "true")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
