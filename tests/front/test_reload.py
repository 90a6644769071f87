"""SIGHUP starts new code. The master loads the portal before it forks, so workers share memory."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.front.serving import ROOT, Cast, Database, Portal, children, eventually

TOKEN = "the token of operators"

OTHER_VERSION = "import ikd_portal; ikd_portal.__version__ = {!r}"
BROKEN = "import sys; sys.modules['ikd_portal.wsgi'] = None"

SLOW_TO_TRY = """
import pathlib, sys, time
if "--check-config" in sys.orig_argv:
    pathlib.Path({waits!r}).touch()
    time.sleep(3600)
"""

SLOW_TO_LOAD = """
import os, pathlib, sys, time
class Slow:
    def find_spec(self, name, *_):
        if name == "ikd_portal.wsgi":
            pathlib.Path({waits!r}).touch()
            time.sleep(3600)
if "IKD_RELOADED" in os.environ:
    sys.meta_path.insert(0, Slow())
"""

MOST_MEMORY = 120_000_000
"""The most bytes of an idle portal with two processes each for checks and pages. See docs/sizing.md."""


@pytest.fixture
def portal(database: Database, people: Cast, tmp_path: Path) -> Iterator[Portal]:
    """A portal with code in a file that changes, as in an upgrade."""
    portal = Portal(tmp_path, database, IKD_METRICS_TOKEN=TOKEN, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    yield portal.start("--timeout", "4", "--pid", str(tmp_path / "pid"))
    portal.stop()


def change_code(portal: Portal, code: str) -> None:
    """Write the file that Python runs whenever it starts."""
    (portal.folder / "sitecustomize.py").write_text(code)


def version(portal: Portal) -> str:
    with portal.connect() as connection:
        answer = connection.get("/healthz", Authorization=f"Bearer {TOKEN}", Connection="close")
    return answer.body.decode().removeprefix("ok ").strip()


def log_of(portal: Portal) -> str:
    return portal.log.read_text()


def everyone(portal: Portal) -> list[int]:
    assert portal.process is not None
    return children(portal.process.pid)


def test_new_code_serves_after_each_reload_and_no_request_is_lost(portal: Portal) -> None:
    assert portal.process is not None
    master = portal.process.pid
    failed: list[object] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                if portal.ask().status != 401:
                    failed.append("another status")
            except OSError as error:
                failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    for each in ("7.7.7", "8.8.8"):
        before = set(everyone(portal))
        change_code(portal, OTHER_VERSION.format(each))
        portal.reload()
        assert eventually(lambda each=each: version(portal) == each), log_of(portal)  # type: ignore[misc]
        assert eventually(lambda before=before: not before & set(everyone(portal)))  # type: ignore[misc]
    ended.set()
    asking.join(30)

    assert failed == []
    assert len(everyone(portal)) == 2
    assert (portal.folder / "pid").read_text().strip() == str(master)
    assert not (portal.folder / "pid.2").exists()


def test_if_the_new_code_does_not_load_the_old_processes_stay(portal: Portal) -> None:
    before = everyone(portal)

    change_code(portal, BROKEN)
    portal.reload()

    assert eventually(lambda: "The new code does not load" in log_of(portal))
    assert "ikd_portal.wsgi" in log_of(portal)
    assert portal.ask().status == 401
    assert everyone(portal) == before

    change_code(portal, OTHER_VERSION.format("9.9.9"))
    portal.reload()

    assert eventually(lambda: version(portal) == "9.9.9")


def test_an_old_process_that_hangs_is_killed_after_a_reload(portal: Portal) -> None:
    (hanging,) = portal.page_workers()

    portal.reload()
    assert eventually(lambda: len(everyone(portal)) > 2)
    os.kill(hanging, signal.SIGSTOP)

    assert eventually(lambda: not Path(f"/proc/{hanging}").exists())
    assert eventually(lambda: (len(portal.workers()), len(portal.page_workers())) == (1, 1))
    assert portal.ask().status == 401


def test_a_signal_during_a_reload_waits_for_the_new_master(portal: Portal) -> None:
    assert portal.process is not None

    portal.reload()
    portal.reload()
    portal.process.send_signal(signal.SIGUSR1)
    assert eventually(lambda: "Reload:" in log_of(portal))
    portal.process.terminate()

    assert portal.process.wait(60) == 0
    assert not (portal.folder / "pid").exists()


def test_a_stop_signal_together_with_a_reload_is_not_lost(portal: Portal) -> None:
    assert portal.process is not None

    portal.process.send_signal(signal.SIGSTOP)  # so that it finds all signals at once
    portal.reload()
    portal.process.terminate()
    portal.process.send_signal(signal.SIGCONT)

    assert portal.process.wait(60) == 0


@pytest.mark.parametrize("slow", [SLOW_TO_TRY, SLOW_TO_LOAD], ids=["while the code is tried", "after that"])
def test_a_stop_during_a_reload_does_not_wait_for_the_new_code(portal: Portal, slow: str) -> None:
    assert portal.process is not None
    waits = portal.folder / "waits"
    change_code(portal, slow.format(waits=str(waits)))

    portal.reload()
    assert eventually(waits.exists), log_of(portal)
    portal.process.terminate()

    assert portal.process.wait(60) == 0
    assert not (portal.folder / "pid").exists()
    assert not list(portal.folder.glob("pages-*"))


def test_a_portal_at_a_unix_socket_keeps_it_over_a_reload(
    database: Database, people: Cast, tmp_path: Path
) -> None:
    path = tmp_path / "portal.sock"
    portal = Portal(tmp_path, database, IKD_BIND=f"unix:{path}").start()
    before = set(everyone(portal))
    inode = path.stat().st_ino

    portal.reload()

    assert eventually(lambda: not before & set(everyone(portal)) and len(everyone(portal)) == 2)
    assert path.stat().st_ino == inode
    assert portal.ask().status == 401
    portal.stop()
    assert not path.exists()


def test_processes_share_memory(database: Database, people: Cast, tmp_path: Path) -> None:
    portal = Portal(tmp_path, database, workers=2, as_fork=False, IKD_PAGE_WORKERS="2").start()
    assert portal.process is not None

    memory = sum(map(memory_of, (portal.process.pid, *everyone(portal))))
    portal.stop()

    assert memory < MOST_MEMORY


def memory_of(pid: int) -> int:
    """Return a process's part of the memory that it uses (PSS), in bytes."""
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) * 1024
