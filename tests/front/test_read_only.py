"""The server when only IKD_VAR is writable, and when nothing is."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.front.serving import ROOT, Connection, eventually, free_port

SERVER = [
    sys.executable,
    "-m",
    "gunicorn",
    "-c",
    "ikd_portal/gunicorn_conf.py",
    "ikd_portal.asgi:application",
]
STRANGER = "54321"
"""A user id without an entry in passwd."""

PRIVATE_FOLDER = next(
    (
        str(each)
        for each in reversed(Path(sys.base_prefix).parents)
        if each != Path("/") and not each.stat().st_mode & 1
    ),
    "",
)
"""The folder above Python that other users cannot enter, if there is one, such as a home folder."""

ALL_READ_ONLY = """
mount --make-rprivate / || exit 77
if [ "$PRIVATE_FOLDER" ]; then
  mount -t tmpfs none /mnt && mkdir /mnt/python && mount --bind "$PYTHON" /mnt/python &&
  mount -t tmpfs -o mode=755 none "$PRIVATE_FOLDER" && mkdir -p -m 755 "$PYTHON" &&
  mount --move /mnt/python "$PYTHON" && mount -o remount,ro "$PRIVATE_FOLDER" || exit 77
fi
mount -o remount,bind,ro / || exit 77
for each in /tmp /var/tmp /dev/shm; do
  mount --bind $each $each && mount -o remount,bind,ro $each || exit 77
done
mount --bind "$IKD_VAR" "$IKD_VAR" && mount -o remount,bind,rw "$IKD_VAR" || exit 77
cd "$PWD" || exit 77
"""
FOLDERS = {"PRIVATE_FOLDER": PRIVATE_FOLDER, "PYTHON": sys.base_prefix}
BODY = b"x" * 1_000_000


class Server:
    """gunicorn with only the given environment. Its whole output is in `log`."""

    def __init__(self, folder: Path, command: list[str], **more: str) -> None:
        self.port, self.log = free_port(), folder / "said.txt"
        environment = {
            "PATH": os.environ["PATH"],
            "IKD_BIND": f"127.0.0.1:{self.port}",
            "IKD_WORKERS": "1",
            "IKD_PORTAL_URL": "https://sso.example.com",
            **FOLDERS,
            **more,
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def answers(self) -> bool:
        """Wait until the server answers or ends. Return whether it answers."""

        def is_up() -> bool:
            with Connection(("127.0.0.1", self.port)) as one:
                return one.get("/readyz", Connection="close").status == 200

        return eventually(lambda: self.process.poll() is not None or is_up()) and self.process.poll() is None

    def takes_uploads(self) -> bool:
        """Send a form that is too large for memory. Return whether a page read all of it."""
        head = (
            "POST /accounts/login/ HTTP/1.1\r\nHost: sso.example.com\r\nX-Forwarded-Proto: https\r\n"
            "Origin: https://sso.example.com\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            f"Cookie: __Host-ikd_csrf={'a' * 32}\r\n"
        )
        form = b'--b\r\nContent-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n' + b"a" * 32
        form += b'\r\n--b\r\nContent-Disposition: form-data; name="icon_file"; filename="i.png"\r\n\r\n'
        # Django keeps 2.5 MB in memory, and writes the rest to a file.
        form += BODY * 4 + b"\r\n--b--\r\n"
        with Connection(("127.0.0.1", self.port)) as one:
            one.send(head.encode() + f"Content-Length: {len(form)}\r\n\r\n".encode() + form)
            return one.reply().status == 200  # the page, with the form's missing fields

    def stop(self) -> str:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
        return self.log.read_text()


@pytest.fixture
def var(pattern: Path) -> Iterator[Path]:
    """A folder that other users can reach, unlike pytest's own."""
    with TemporaryDirectory(prefix="ikd-") as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "var"
        folder.mkdir()
        shutil.copy(pattern, folder / "ikd.sqlite3")
        yield folder


@pytest.mark.parametrize("named", ["/nowhere/at/all", "/proc/self"], ids=["is missing", "takes no files"])
def test_an_unusable_temporary_folder_is_not_used(named: str, var: Path, tmp_path: Path) -> None:
    server = Server(tmp_path, SERVER, IKD_VAR=str(var), TMPDIR=named)
    try:
        assert server.answers()
        assert server.takes_uploads()
        assert (var / "tmp").stat().st_mode & 0o777 == 0o700
    finally:
        said = server.stop()

    assert [line for line in said.splitlines() if json.loads(line)["level"] != "info"] == []


def read_only(var: Path, become: str) -> list[str]:
    """Return a command prefix that makes everything but IKD_VAR read-only."""
    if os.geteuid() or not shutil.which("unshare") or not shutil.which("setpriv"):
        pytest.skip("root alone can make file systems read-only")
    command = ["unshare", "-m", "sh", "-c", f'{ALL_READ_ONLY} exec setpriv {become} "$@"', "sh"]
    prefix = (
        "import sys, os; os.listdir(os.environ['IKD_VAR']); sys.exit(sys.base_prefix != os.environ['PYTHON'])"
    )
    trial = [*command, sys.executable, "-c", prefix]
    environment = {"PATH": os.environ["PATH"], "IKD_VAR": str(var), **FOLDERS}
    if subprocess.run(trial, env=environment, cwd=ROOT, capture_output=True).returncode:
        pytest.skip("no file system can be made read-only here, or Python is root's alone")
    return command


@pytest.fixture
def as_a_stranger(var: Path) -> list[str]:
    subprocess.run(["chown", "-R", f"{STRANGER}:{STRANGER}", var], check=True)
    return read_only(var, f"--reuid {STRANGER} --regid {STRANGER} --clear-groups --bounding-set=-all")


@pytest.fixture
def without_rights(var: Path) -> list[str]:
    """Run as root, which may own Python, but without the right to bypass file modes."""
    return read_only(var, "--bounding-set=-all --inh-caps=-all")


def test_ikd_var_alone_is_enough_for_a_user_without_a_name(
    as_a_stranger: list[str], var: Path, tmp_path: Path
) -> None:
    server = Server(tmp_path, [*as_a_stranger, *SERVER], IKD_VAR=str(var))
    try:
        assert server.answers()
        assert server.takes_uploads()
        with Connection(("127.0.0.1", server.port)) as one:
            one.check()
        assert eventually(lambda: any((var / "metrics").iterdir()))
    finally:
        said = server.stop()

    assert [line for line in said.splitlines() if json.loads(line)["level"] != "info"] == []


def test_the_first_start_creates_all_files_in_ikd_var(
    without_rights: list[str], var: Path, tmp_path: Path
) -> None:
    (var / "ikd.sqlite3").unlink()
    command = [*without_rights, sys.executable, "-m", "ikd_portal.run"]
    server = Server(tmp_path, command, IKD_VAR=str(var))
    try:
        assert server.answers()
        assert server.takes_uploads()
    finally:
        said = server.stop()

    assert "listening on" in said
    assert not re.search(r'"level": "(warning|error|critical)"', said)


@pytest.mark.parametrize(
    "command", [SERVER, [sys.executable, "-m", "ikd_portal.run"]], ids=["gunicorn", "run"]
)
def test_without_a_writable_folder_one_line_says_so(
    command: list[str], as_a_stranger: list[str], var: Path, tmp_path: Path
) -> None:
    subprocess.run(["chown", "-R", "0:0", var], check=True)
    var.chmod(0o755)
    server = Server(tmp_path, [*as_a_stranger, *command], IKD_VAR=str(var))
    try:
        assert not server.answers()
        assert server.process.returncode == 1
    finally:
        said = server.stop()

    assert "istening" not in said
    assert [line for line in said.splitlines() if "Starting gunicorn" not in line] == [said.splitlines()[-1]]
    assert f"No permission to write to {var}: choose another folder with IKD_VAR=." in said


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "IKD_PORTAL_URL",
            "sso",
            "IKD_PORTAL_URL must be an origin such as https://sso.example.com, is 'sso'",
        ),
        ("IKD_WORKERS", "many", "IKD_WORKERS must be a number, is 'many'"),
    ],
)
def test_a_wrong_setting_is_reported_in_one_line_before_the_server_listens(
    variable: str, value: str, line: str, var: Path, tmp_path: Path
) -> None:
    server = Server(tmp_path, SERVER, **{"IKD_VAR": str(var), variable: value})
    try:
        assert not server.answers()
        assert server.process.returncode == 1
    finally:
        said = server.stop()

    assert "Listening" not in said
    assert json.loads(said.splitlines()[-1])["message"] == line
