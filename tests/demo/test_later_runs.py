"""Ctrl-C ends every program of the demo, and a later run keeps the passwords."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.demo.conftest import END_LIMIT, Demo, is_open
from tests.demo.visitor import Visitor

pytestmark = pytest.mark.proxy


@dataclass
class History:
    """A first run behind Traefik, ended by Ctrl-C, and a second run behind nginx on another port."""

    first: Demo
    exit_code: int
    left_running: dict[int, str]
    still_listens: bool
    second: Demo


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    if not shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") and not os.environ.get("CI"):
        pytest.skip("nginx is missing: apt install nginx-light")
    var = tmp_path_factory.mktemp("demo") / "var"
    first = Demo(var).start()
    exit_code = first.stop(signal.SIGINT)
    left_running, still_listens = first.processes(), is_open(first.port)
    second = Demo(var, proxy="nginx").start()
    yield History(first, exit_code, left_running, still_listens, second)
    second.stop()


def test_ctrl_c_ends_everything_that_was_started(history: History) -> None:
    assert history.exit_code == 0
    assert history.left_running == {}
    assert not history.still_listens


def test_a_later_run_keeps_the_passwords(history: History) -> None:
    assert history.second.notes["users"] == history.first.notes["users"]


def test_the_applications_move_to_the_new_port(history: History) -> None:
    demo = history.second

    page = Visitor(demo.port).open_signing_in(demo.url("wiki"), "bob", demo.notes["users"]["bob"])

    assert str(demo.port) in demo.url("wiki")
    assert "Hello bob" in page


def test_the_demo_ends_with_a_reason_if_a_program_dies(history: History) -> None:
    demo = history.second
    [backend] = [pid for pid, command in demo.processes().items() if "backend.py" in command]

    os.kill(backend, signal.SIGKILL)

    assert demo.process.wait(END_LIMIT) == 1
    assert "The backend ended by itself (signal 9). The last lines of " in demo.said()
    assert demo.processes() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_signal_or_a_closed_terminal_ends_the_demo_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    demo = Demo(tmp_path / "var").start()

    exit_code = demo.stop(number)

    assert (exit_code, demo.processes()) == (0, {})


def test_no_program_keeps_running_after_sigkill(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "var").start()

    demo.stop(signal.SIGKILL)

    assert _all_end(demo)


def _all_end(demo: Demo) -> bool:
    deadline = time.monotonic() + END_LIMIT
    while demo.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    return demo.processes() == {}
