"""The image of deploy/docker, built and run: `make image-test`.

It is not a part of `make test`. Without a cache, it downloads a Debian and every package, which takes
minutes. The storage in ~/.cache/ikd-portal-tests makes later runs quick.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.demo.conftest import START_LIMIT, free_port
from tests.demo.visitor import Visitor
from tests.front.serving import eventually
from tests.install.containers import IN_BUILD, Engine, engine, memory_of, missing_programs
from tests.install.running import PASSWORD, SEED, Running

pytestmark = [
    pytest.mark.server,
    pytest.mark.xdist_group("image"),
    pytest.mark.skipif(not os.environ.get("IKD_IMAGE_TESTS"), reason="run make image-test"),
]

MEGABYTE = 1_000_000
PROCESSES = 4
"""Two that answer checks, and two that answer pages."""

SHELLS = {"sh", "bash", "dash", "busybox"}
MANAGERS = {"apt", "apt-get", "dpkg", "pip", "pip3", "easy_install"}
NO_ISSUES = "System check identified no issues (0 silenced)."
COMPILERS = {"cc", "gcc", "g++", "c++", "clang", "as", "ld", "make", "perl"}


@pytest.fixture(scope="module")
def containers() -> Iterator[Engine]:
    missing = missing_programs()
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"missing: {missing}")
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {missing}")
    with engine() as found:
        yield found


@pytest.fixture(scope="module")
def image(containers: Engine) -> str:
    return containers.build("tests")


@pytest.fixture(scope="module")
def files(containers: Engine, image: str) -> dict[str, int]:
    """Every path in the image with its mode."""
    mounted = Path(containers.podman("image", "mount", image))
    found = {str(path.relative_to(mounted)): path.lstat().st_mode for path in mounted.rglob("*")}
    containers.podman("image", "unmount", image)
    return found


@dataclass(frozen=True, slots=True)
class Container(Running):
    name: str
    volume: Path
    started_within: float


@pytest.fixture(scope="module")
def running(containers: Engine, image: str) -> Iterator[Container]:
    """The image, started as its Dockerfile says, with a named volume."""
    port = free_port()
    containers.podman("volume", "create", "ikd-tests")
    before = time.monotonic()
    name = containers.start(
        image, "-v", "ikd-tests:/data", "-e", f"IKD_BIND=127.0.0.1:{port}", *own_url(port)
    )
    assert eventually(Running(port).is_up, START_LIMIT), containers.podman("logs", name)
    took = time.monotonic() - before
    volume = Path(containers.podman("volume", "inspect", "-f", "{{.Mountpoint}}", "ikd-tests"))
    yield Container(port, name, volume, took)
    containers.stop(name)


def own_url(port: int) -> tuple[str, str]:
    return "-e", f"IKD_PORTAL_URL=http://localhost:{port}"


# ---- what is in it -----------------------------------------------------------------------------------------


def test_the_image_is_small(containers: Engine, image: str) -> None:
    assert containers.inspect(image)["Size"] < 200 * MEGABYTE


def test_the_image_has_no_shell_package_manager_or_compiler(files: dict[str, int]) -> None:
    programs = {Path(path).name for path, mode in files.items() if not stat.S_ISDIR(mode) and mode & 0o111}

    assert programs & (SHELLS | MANAGERS | COMPILERS) == set()
    assert [path for path in files if "site-packages/pip" in path or "ensurepip" in path] == []


def test_no_program_changes_its_user(files: dict[str, int]) -> None:
    assert [path for path, mode in files.items() if stat.S_ISREG(mode) and mode & 0o6000] == []


def test_only_the_folders_for_data_can_be_written(files: dict[str, int]) -> None:
    writable = {path for path, mode in files.items() if mode & 0o022 and not stat.S_ISLNK(mode)}

    assert writable == {"data", "tmp"}


def test_the_image_has_no_key_and_no_data(containers: Engine, image: str, files: dict[str, int]) -> None:
    variables = containers.inspect(image)["Config"]["Env"]

    assert [name for name in variables if re.search("KEY|SECRET|PASSWORD|TOKEN|DATABASE", name)] == []
    assert [
        path for path in files if re.search(r"(secret|encryption)-key|\.sqlite3$|site-packages/tests/", path)
    ] == []
    assert [path for path in files if path.startswith("data/")] == []


def test_the_image_has_an_unprivileged_user_and_a_health_check(containers: Engine, image: str) -> None:
    config = containers.inspect(image)["Config"]

    assert config["User"] == "10001:0"
    assert containers.inspect(image)["Healthcheck"]["Test"] == ["CMD", "ikd-portal", "healthcheck"]
    assert list(config["Volumes"]) == ["/data"]


def test_every_module_is_compiled(files: dict[str, int]) -> None:
    """Otherwise, a start on a read-only file system would compile them every time."""
    modules = {path for path in files if path.endswith(".py") and "/site-packages/" in path}
    compiled = {path for path in files if path.endswith(".pyc")}
    names = {re.sub(r"__pycache__/([^/]+)\.cpython-\d+\.pyc$", r"\1.py", path) for path in compiled}

    assert len(modules) > 1000
    assert modules - names == set()


def test_two_builds_have_the_same_layers(containers: Engine, image: str) -> None:
    again = containers.build("tests-again", f"/.{IN_BUILD}")

    assert containers.inspect(again)["RootFS"] == containers.inspect(image)["RootFS"]


# ---- what it does ------------------------------------------------------------------------------------------


def test_the_first_start_creates_keys_in_the_volume(running: Container) -> None:
    keys = [running.volume / name for name in ("secret-key", "encryption-key")]

    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o600, 0o600]
    assert {key.stat().st_uid for key in keys} == {10001}


def test_users_sign_in_and_checks_are_answered(containers: Engine, running: Container) -> None:
    make = ("manage", "createsuperuser", "--noinput", "--username", "carol", "--email", "carol@example.com")
    password = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    made = containers.execute(running.name, "ikd-portal", *make, variables=password)
    seeded = containers.execute(running.name, "ikd-portal", "manage", "shell", "-c", SEED)
    visitor = Visitor(running.port)
    page = visitor.open_signing_in(f"{running.url}/admin/", "carol", PASSWORD)

    assert (made[0], seeded[0]) == (0, 0), made[1] + seeded[1]
    assert visitor.url == f"{running.url}/admin/"
    assert "carol" in page
    assert eventually(lambda: running.check("/public") == 200)
    assert running.check("/page") == 401


def test_styles_chinese_and_time_zones_are_there(containers: Engine, image: str, running: Container) -> None:
    zone = ("-e", "IKD_TIME_ZONE=Asia/Shanghai")

    assert running.ask("/static/ikd.css")[0] == 200
    assert "登录" in running.ask("/accounts/login/", Accept_Language="zh-CN")[2]
    assert containers.run(image, *zone, command=("check",)) == (0, NO_ISSUES)


def test_the_health_check_reports_whether_the_portal_answers(containers: Engine, running: Container) -> None:
    elsewhere = {"IKD_BIND": f"127.0.0.1:{free_port()}"}

    assert eventually(lambda: containers.execute(running.name, "ikd-portal", "healthcheck")[0] == 0)
    assert containers.execute(running.name, "ikd-portal", "healthcheck", variables=elsewhere)[0] == 1


@pytest.mark.parametrize("user", ["54321:0", "10001:10001", "0:0"])
def test_any_user_that_may_write_to_the_volume_works(
    user: str, containers: Engine, image: str, tmp_path: Path
) -> None:
    port, data = free_port(), tmp_path / "data"
    data.mkdir()
    os.chown(data, 10001 if user == "10001:10001" else 0, 0)
    data.chmod(0o770)
    options = ("--user", user, "--cap-drop", "all", "--security-opt", "no-new-privileges")
    bind = ("-e", f"IKD_BIND=127.0.0.1:{port}", *own_url(port))
    name = containers.start(image, *options, "-v", f"{data}:/data", *bind)

    assert eventually(Running(port).is_up, START_LIMIT), containers.podman("logs", name)
    assert stat.S_IMODE((data / "secret-key").stat().st_mode) == 0o600
    containers.stop(name)


def test_a_user_without_write_access_gets_a_message(containers: Engine, image: str) -> None:
    code, said = containers.run(image, "--user", "54321:54321")

    assert code == 1
    assert said == "No permission to write to /data: choose another folder with IKD_VAR=."


def test_another_container_continues_with_the_same_volume(
    containers: Engine, image: str, tmp_path: Path
) -> None:
    keys = []
    for _ in range(2):
        port = free_port()
        bind = ("-e", f"IKD_BIND=127.0.0.1:{port}", *own_url(port))
        name = containers.start(image, "-v", "ikd-again:/data", *bind)
        assert eventually(Running(port).is_up, START_LIMIT), containers.podman("logs", name)
        keys.append(containers.execute(name, "python", "-c", "print(open('/data/secret-key').read())"))
        containers.stop(name)

    assert keys[0] == keys[1]
    assert keys[0][0] == 0


def test_an_idle_portal_needs_little_memory_and_processor_time(
    containers: Engine, image: str, running: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measures a container without requests, and one that answered the other tests."""
    port = free_port()
    name = containers.start(image, "-e", f"IKD_BIND=127.0.0.1:{port}", *own_url(port))
    pid = _pid_of(containers, name)
    assert eventually(lambda: len(_children_of(pid)) == PROCESSES, START_LIMIT), containers.podman(
        "logs", name
    )
    time.sleep(60)
    before = _seconds_of(pid)
    time.sleep(10)
    busy = (_seconds_of(pid) - before) / 10
    idle, used = memory_of(pid), memory_of(_pid_of(containers, running.name))
    containers.stop(name)
    size = containers.inspect(image)["Size"]
    with capsys.disabled():
        print(
            f"\nimage {size / MEGABYTE:.0f} MB, first start {running.started_within:.1f} s, idle: "
            f"{idle / MEGABYTE:.0f} MB (PSS), {busy:.1%} of a core, in use: {used / MEGABYTE:.0f} MB"
        )

    assert idle < 140 * MEGABYTE
    assert used < 190 * MEGABYTE
    assert busy < 0.5


def _pid_of(containers: Engine, name: str) -> int:
    return int(containers.podman("inspect", "-f", "{{.State.Pid}}", name))


def _children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _seconds_of(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(
        _seconds_of(int(child)) for child in _children_of(pid)
    )
