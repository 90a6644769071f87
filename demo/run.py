"""The whole portal to try out, with a real proxy, three applications and four users (`make demo`)."""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # this file may be run from any folder

from authgate.folders import NotWritable, require_writable  # noqa: E402
from demo import notes, proxies  # noqa: E402
from demo.cast import PEOPLE, PORTAL_HOST, SITES, new_passwords, url_of  # noqa: E402
from demo.processes import Program, end, free_port, start  # noqa: E402
from demo.proxies.shipped import Kind  # noqa: E402
from ikd_portal import installation  # noqa: E402
from ikd_portal.run import NotReady, port_from, prepare, require_free, say, server_command  # noqa: E402

START_LIMIT = 60.0
"""Seconds within which everything has to answer."""


class Stopped(BaseException):
    """A signal asks the demo to end: SIGINT (Ctrl-C), SIGTERM or SIGHUP."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folder and ports of this demo."""

    var: Path
    port: int
    portal_port: int
    backend_port: int

    @property
    def portal(self) -> str:
        return url_of(PORTAL_HOST, self.port)


def main() -> int:
    os.umask(0o077)  # only this user may read files in var/
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores this signal
        signal.signal(signal.SIGHUP, _stop)
    programs: list[Program] = []
    try:
        return _run(programs)
    except (NotReady, NotWritable) as problem:
        print(problem, file=sys.stderr)
        return 1
    except Stopped:
        return 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if programs:
            _end_all(programs)


def _run(programs: list[Program]) -> int:
    var = installation.demo_folder().resolve()
    port = port_from(os.environ.get("PORT") or "8000")
    kind = proxies.kind_from(os.environ.get("PROXY") or "traefik")
    require_writable(var)
    with _locked(var):
        require_free(port)
        place = Place(var, port, free_port(), free_port())
        known = _prepare_data(place)
        _start_all(programs, place, kind)
        _wait_until_answering(programs, place)
        notes.publish(var)
        _introduce(place, kind, known["users"])
        return _watch(programs)


def _prepare_data(place: Place) -> dict[str, Any]:
    """Fill the database on the first run, and keep it afterwards. Return the notes."""
    _use_own_environment(place)
    prepare(place.var, say)
    from demo import data

    old = notes.read(place.var)
    if old is None and data.has_users():
        raise NotReady(
            f"{place.var} holds a portal that is not the demo's: choose another folder with IKD_VAR=."
        )
    known = notes.describe(place.port, old["users"] if old else new_passwords())
    notes.write(place.var, known)
    if not data.has_users():
        say("Creating users, groups and applications …")
        data.seed(place.port, known["users"])
    elif old and old["connect"] != known["connect"]:
        data.move({name: facts["url"] for name, facts in old["applications"].items()}, place.port)
    data.close()
    return known


def _use_own_environment(place: Place) -> None:
    """Remove settings of another portal, so that the demo's users never go into another database."""
    for name in list(os.environ):
        if name.startswith("IKD_") or name in ("DATABASE_URL", "REDIS_URL"):
            del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "ikd_portal.settings",
        "IKD_VAR": str(place.var),
        "IKD_PORTAL_URL": place.portal,
        "IKD_BIND": f"127.0.0.1:{place.portal_port}",
        "IKD_WORKERS": "2",
        "IKD_LOG_FORMAT": "text",
    }


def _start_all(programs: list[Program], place: Place, kind: Kind) -> None:
    logs = place.var / "log"
    logs.mkdir(exist_ok=True)
    command = proxies.write_configuration(kind, place.var, place.port, place.portal_port, place.backend_port)
    commands = {"portal": server_command(), "backend": _backend_command(place), "proxy": command}
    for name, command in commands.items():
        say(f"Starting the {f'proxy ({kind.name})' if name == 'proxy' else name} …")
        log = logs / f"{name}.log"
        programs.append(start(name, command, log=log, env=dict(os.environ), folder=ROOT))


def _backend_command(place: Place) -> list[str]:
    sites = [f"{site.name}={site.url(place.port)}" for site in SITES]
    return [sys.executable, str(ROOT / "demo" / "backend.py"), str(place.backend_port), place.portal, *sites]


def _wait_until_answering(programs: list[Program], place: Place) -> None:
    """Wait until portal and applications answer through the proxy. Raises NotReady."""
    deadline = time.monotonic() + START_LIMIT
    for host in (PORTAL_HOST, *(site.host for site in SITES)):
        while (answer := _answer_of(place.port, host)) not in ("200", "302"):
            _require_alive(programs)
            if time.monotonic() > deadline:
                raise NotReady(f"{host} does not answer in time ({answer}): see {place.var / 'log'}.")
            time.sleep(0.1)


def _answer_of(port: int, host: str) -> str:
    """Return the status of a page, or the reason why there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": f"{host}:{port}", "Accept": "text/html"})
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def _watch(programs: list[Program]) -> int:
    """Wait for Ctrl-C. Raises NotReady if one of the programs ends."""
    tick = Event()
    while not tick.wait(0.5):
        _require_alive(programs)
    return 0


def _require_alive(programs: list[Program]) -> None:
    for program in programs:
        if program.process.poll() is not None:
            raise NotReady(program.exit_report())


def _introduce(place: Place, kind: Kind, passwords: dict[str, str]) -> None:
    lines = ["", f"Everything runs, behind {kind.name}. Open one of these:", ""]
    lines += [f"  {site.name:7} {site.url(place.port) + '/':38} {site.access}" for site in SITES]
    lines += [f"  {'portal':7} {place.portal + '/':38} your applications; /admin/ for carol"]
    lines += ["", "and sign in as:", ""]
    lines += [f"  {person.username:7} {passwords[person.username]:38} {person.role}" for person in PEOPLE]
    lines += ["", f"The same for scripts: {place.var / notes.READY}. Logs and mail: {place.var / 'log'}."]
    lines += ["Press Ctrl-C to stop everything. The data are kept.", ""]
    say("\n".join(lines))


def _locked(var: Path) -> Any:
    """Lock the folder, because two demos would move its applications to two ports. Raises NotReady."""
    lock = (var / "demo.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise NotReady(
            f"A demo runs in {var} already: end it, or choose another folder with IKD_VAR=."
        ) from None
    return lock


def _end_all(programs: list[Program]) -> None:
    with suppress(OSError):  # the terminal may be gone
        say("\nEnding everything …")
    end(programs)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
