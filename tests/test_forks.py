"""Programs that start as forks behave as if they were executed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forks import ROOT, Fork, Process, started
from tests.pattern import portals_environment

pytestmark = pytest.mark.server

SAYS = "from accounts.upstreams import provider_threads as t; print(t._places._value); "


def shell(folder: Path, script: str, **settings: str) -> Process:
    environment = portals_environment() | {
        "IKD_VAR": str(folder),
        "IKD_PORTAL_URL": "https://sso.example.com",
    }
    environment["DATABASE_URL"] = f"sqlite:///{folder / 'ikd.sqlite3'}"
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", script]
    with (folder / "output").open("wb") as output:
        return started(command, output=output, cwd=ROOT, env=environment | settings)


def output(folder: Path) -> list[str]:
    return (folder / "output").read_text().splitlines()


def test_a_program_has_its_own_settings_arguments_and_folder(tmp_path: Path) -> None:
    script = "import os, sys, django.conf; print(django.conf.settings.IKD_VAR, sys.argv[:2], os.getcwd())"

    process = shell(tmp_path, script)

    assert process.wait(60) == 0
    assert isinstance(process, Fork)
    assert output(tmp_path) == [f"{tmp_path} ['manage.py', 'shell'] {ROOT}"]


def test_a_program_uses_its_own_database(tmp_path: Path) -> None:
    process = shell(tmp_path, "from django.db import connection; print(connection.settings_dict['NAME'])")

    assert process.wait(60) == 0
    assert output(tmp_path) == [str(tmp_path / "ikd.sqlite3")]


@pytest.mark.parametrize(
    ("threads", "expected"), [({}, "8"), ({"IKD_THREADS": "3"}, "3")], ids=["same", "other"]
)
def test_a_setting_that_modules_read_is_the_programs_own(
    tmp_path: Path, threads: dict[str, str], expected: str
) -> None:
    process = shell(tmp_path, SAYS + "import sys; print('tests.preloaded' in sys.orig_argv)", **threads)

    assert process.wait(60) == 0
    assert output(tmp_path) == [expected, "False"]


def test_a_wrong_setting_is_reported_once(tmp_path: Path) -> None:
    process = shell(tmp_path, "from django.conf import settings; settings.DEBUG", IKD_PORTAL_URL="sso")

    assert process.wait(60) == 1
    assert "".join(output(tmp_path)).count("IKD_PORTAL_URL must be an origin") == 1


def test_the_exit_code_and_an_exception_are_reported(tmp_path: Path) -> None:
    exits = shell(tmp_path, "import sys; sys.exit(7)")
    assert exits.wait(60) == exits.returncode == exits.poll() == 7

    fails = shell(tmp_path, "raise OSError('of its own')")
    assert fails.wait(60) == 1
    assert output(tmp_path)[-1] == "OSError: of its own"


def test_a_program_is_ended_by_signals(tmp_path: Path) -> None:
    process = shell(tmp_path, "import time; time.sleep(600)")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)

    process.terminate()

    assert process.wait(60) == -signal.SIGTERM
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_program_inherits_no_file(tmp_path: Path) -> None:
    other = shell(tmp_path, "import time; time.sleep(600)")
    process = shell(
        tmp_path,
        "import os; print(sorted(os.listdir('/proc/self/fd'))[:3], len(os.listdir('/proc/self/fd')))",
    )
    code = process.wait(60)
    other.kill()

    assert code == 0
    assert output(tmp_path) == ["['0', '1', '2'] 4"]  # the last descriptor is that of the folder


def test_a_program_with_other_variables_is_executed(tmp_path: Path) -> None:
    process = shell(tmp_path, "print('executed')", PYTHONUTF8="1")

    assert process.wait(60) == 0
    assert isinstance(process, subprocess.Popen)
    assert output(tmp_path) == ["executed"]


def test_a_program_with_code_for_the_start_of_python_is_executed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('first')")

    process = shell(tmp_path, "print('executed')", PYTHONPATH=os.fspath(tmp_path))

    assert process.wait(60) == 0
    assert isinstance(process, subprocess.Popen)
    assert output(tmp_path) == ["first", "executed"]


def test_a_program_imports_from_its_own_path(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("print('found')")

    process = shell(tmp_path, "import beside", PYTHONPATH=os.fspath(tmp_path))

    assert process.wait(60) == 0
    assert isinstance(process, Fork)
    assert output(tmp_path) == ["found"]
