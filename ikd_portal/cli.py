"""The command `ikd-portal`: the server, the demo and every management command, without a checkout."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from ikd_portal import __version__, installation

COMMANDS = {
    "check": "check the settings; --deploy checks more",
    "backup": "copy the database to a file while the portal runs",
    "restore": "replace the database with a backup",
    "move": "copy the database to another one",
    "plan": "show what a configuration file would change",
    "apply": "apply a configuration file",
    "export": "print the configuration as a file",
    "doctor": "test the proxies of applications through their public addresses",
    "explain": "explain which answer a request gets",
    "lockdown": "lock down a user or an application, or undo it",
    "tidy": "delete expired data",
}
"""Management commands that are commands of `ikd-portal` too."""

OWN = {
    "run": "create missing keys and folders, and serve the portal",
    "demo": "try the portal: a proxy, three protected sites and four users",
    "manage": "run any management command, such as createsuperuser; without a name, list them",
    "healthcheck": "exit with 0 if the portal on this machine answers",
    "version": "print the version",
}
LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. A mistake ends it with status 1 and one line that says how to fix it."""
    # Files that commands create contain secrets or users' data.
    os.umask(0o077)
    chosen = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    if chosen.env_file:
        _read_variables(chosen.env_file)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ikd_portal.settings")
    name, rest = chosen.command, chosen.arguments
    if name in OWN and name != "manage" and rest:
        sys.exit(
            f"ikd-portal {name} takes no arguments. Set environment variables, or see ikd-portal --help."
        )
    if name in COMMANDS:
        _manage("ikd-portal", [name, *rest])
    elif name == "manage":
        _manage("ikd-portal manage", rest)
    else:
        {"run": _run, "demo": _demo, "healthcheck": _healthcheck, "version": _version}[name]()


def _parser() -> argparse.ArgumentParser:
    described = OWN | COMMANDS
    width = max(map(len, described)) + 2
    parser = argparse.ArgumentParser(
        prog="ikd-portal",
        usage="ikd-portal [--env-file FILE] COMMAND ...",
        description="Single sign-on for the services behind your reverse proxy.",
        epilog="commands:\n"
        + "\n".join(f"  {name:{width}}{text}" for name, text in described.items())
        + "\n\nEnvironment variables configure the portal. `ikd-portal backup --help` describes a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--env-file", type=Path, metavar="FILE", help="read variables from a file of lines NAME=value"
    )
    parser.add_argument("command", choices=described, metavar="COMMAND", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _read_variables(file: Path) -> None:
    """Set the variables of a file that are not set yet. Messages never quote a line: it may be secret."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        sys.exit(f"{file} is not a text file in UTF-8.")
    except OSError as error:
        sys.exit(f"{file} cannot be read: {error.strerror}.")
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line[0] in "#;":
            continue
        found = LINE.fullmatch(line)
        if not found or "\0" in line:
            sys.exit(f"{file}, line {number}: write NAME=value.")
        name, value = found[1], found[2].strip()
        if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
            value = value[1:-1]
        os.environ.setdefault(name, value)


def _run() -> None:
    from ikd_portal import run

    run.main()


def _demo() -> None:
    # Run the demo as another program, because the portal's packages must not import the demo.
    file = str(installation.ROOT / "demo" / "run.py")
    os.execv(sys.executable, [sys.executable, file])  # noqa: S606, the shell would only stand between


def _version() -> None:
    print(__version__)


def _healthcheck() -> None:
    from ikd_portal import healthcheck

    healthcheck.main()


def _manage(name: str, arguments: list[str]) -> None:
    """Run a management command. `name` is the program name in its help."""
    if arguments[:1] == ["version"] or arguments == ["--version"]:  # Django would print its own version
        _version()
        return
    _require_settings()
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    from authgate.journal.actor import acting_as_command

    try:
        with acting_as_command(arguments):
            execute_from_command_line([name, *arguments])
    except ImproperlyConfigured as mistake:
        sys.exit(str(mistake))
    except DatabaseError as error:
        sys.exit(f"The database returned an error: {error}".strip())
    except OSError as error:
        _give_up(error)
    except KeyboardInterrupt:
        sys.exit(130)


def _require_settings() -> None:
    from ikd_portal import startup_checks

    if mistake := startup_checks.mistake():
        sys.exit(mistake)


def _give_up(error: OSError) -> NoReturn:
    sys.exit(": ".join(str(part) for part in (error.strerror or error, error.filename) if part))
