"""Starts and ends the measured servers, each on the server's core and on its own port."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine

ROOT = Path(__file__).parent.parent
PORTAL_URL = "http://sso.example.com"
STARTS_WITHIN = 60.0
POSTGRESQL_FOLDERS = [
    str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
]


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    pid: int
    address: tuple[str, int]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str) -> str | None:
    """Return a program's path. Also search root's folders of Debian, and pip's folder."""
    folders = ["/usr/sbin", *POSTGRESQL_FOLDERS, str(Path(sys.executable).parent)]
    path = os.pathsep.join([os.environ.get("PATH", ""), *folders])
    return shutil.which(name, path=path)


@contextmanager
def running(
    name: str,
    command: list[str],
    port: int,
    log: Path,
    env: dict[str, str] | None = None,
    core: int | None = machine.SERVER_CORE,
    user: str | None = None,
    within: float = STARTS_WITHIN,
) -> Iterator[Server]:
    """Run a server while the block runs. It counts as started when it accepts connections."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command if core is None else machine.pinned(command, core),
            env=os.environ | (env or {}),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            user=user,
        )
    try:
        _wait_for(process, port, log, within)
        yield Server(name, process.pid, ("127.0.0.1", port))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path, within: float) -> None:
    until = time.monotonic() + within
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not start:\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def portal(
    name: str,
    var: Path,
    *,
    workers: int = 1,
    worker_class: str = "",
    unix: Path | None = None,
    core: int | None = machine.SERVER_CORE,
    **env: str,
) -> Iterator[Server]:
    """Run the portal as in production, on the data in `var`, optionally with another worker class."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "ikd_portal" / "gunicorn_conf.py")]
    command += ["--timeout", str(int(2 * STARTS_WITHIN))]
    if worker_class:
        command += ["--worker-class", worker_class]
    for bind in (f"127.0.0.1:{port}", *([f"unix:{unix}"] if unix else [])):
        command += ["--bind", bind]
    env = environment(var) | env | {"IKD_WORKERS": str(workers)}
    command.append("ikd_portal.asgi:application")
    with running(name, command, port, var / f"{name.replace(' ', '-')}.log", env, core) as server:
        _wait_for_workers(server, workers)
        yield server


def filled(name: str, var: Path, sessions: int) -> AbstractContextManager[Server]:
    """Run the portal with `sessions` sessions in memory from the start."""
    worker_class = "benchmarks.workers.FilledWorker"
    return portal(name, var, worker_class=worker_class, IKD_BENCH_SESSIONS=str(sessions))


def _wait_for_workers(server: Server, workers: int) -> None:
    """Wait until all workers exist and one answers. gunicorn listens long before."""
    until = time.monotonic() + STARTS_WITHIN
    while len(machine.checkers(server.pid)) < workers and time.monotonic() < until:
        time.sleep(0.05)
    connection = http.client.HTTPConnection(*server.address, timeout=STARTS_WITHIN)
    connection.request("GET", "/healthz")
    connection.getresponse().read()
    connection.close()


def environment(var: Path) -> dict[str, str]:
    """Return the environment of a separate portal, independent of this process's environment."""
    ours = {name: "" for name in os.environ if name.startswith("IKD_")}
    ours |= {
        "IKD_VAR": str(var),
        "IKD_PORTAL_URL": PORTAL_URL,
        "IKD_SECRET_KEY": "benchmarks, no secret " * 3,
    }
    ours |= {"DATABASE_URL": database_url(var), "REDIS_URL": ""}
    return ours | {"DJANGO_SETTINGS_MODULE": "ikd_portal.settings"}


def name_database(var: Path, url: str) -> None:
    """Make every portal on the data in `var` use that database."""
    (var / "database-url").write_text(url)


def database_url(var: Path) -> str:
    """Return the database URL for `var`, or "" for the SQLite file there."""
    named = var / "database-url"
    return named.read_text() if named.exists() else ""


@contextmanager
def nginx(name: str, folder: Path, block: str, port: int) -> Iterator[Server]:
    """Run nginx with one worker and the given content of its `http` block, in its own folder."""
    found = program("nginx")
    if found is None:
        raise RuntimeError("nginx is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    user = "user root;\n" if os.getuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log warn;\n"
        f"events {{ worker_connections 1024; }}\n"
        "http {\naccess_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 75;\n"
        f"{temporary}{block}\n}}\n"
    )
    command = [found, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with running(name, command, port, folder / "output.log") as server:
        yield server


def constant(port: int) -> str:
    """Return the configuration of a server that answers every request with 200."""
    return f"server {{ listen 127.0.0.1:{port}; location / {{ return 200; }} }}"
