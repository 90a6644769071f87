"""Prepares the portal and serves it (`make run`). The demo prepares its portal in the same way."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

from authgate.folders import NotWritable, require_writable, use_temporary_folder
from ikd_portal import installation


class NotReady(Exception):
    """Why the portal cannot start, in one line that says how to fix it."""


def main() -> None:
    # Everything that is created in var/ from here on contains secrets or users' data.
    os.umask(0o077)
    try:
        address = _address()
        var = installation.var_folder().resolve()
        os.environ["IKD_VAR"] = str(var)
        prepare(var, say)
        _offer_first_administrator(var)
    except NotReady as problem:
        sys.exit(f"{problem}")
    say(f"The portal is {os.environ['IKD_PORTAL_URL']}, listening on {address}. Press Ctrl-C to stop it.")
    os.chdir(installation.ROOT)  # gunicorn looks for the packages there
    os.execv(sys.executable, server_command())  # noqa: S606, the shell would only stand between


def say(line: str) -> None:
    print(line, flush=True)


def server_command() -> list[str]:
    """Return the command line of the portal's server. gunicorn_conf reads IKD_BIND and IKD_WORKERS."""
    settings = str(installation.PACKAGE / "gunicorn_conf.py")
    return [sys.executable, "-m", "gunicorn", "-c", settings, "ikd_portal.asgi:application"]


def port_from(text: str) -> int:
    """Return the port in PORT. Raises NotReady."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise NotReady(f"PORT must be a number from 1 to 65535, is {text!r}.")
    return int(text)


def require_free(port: int) -> None:
    """Raise NotReady unless a server could listen on that port of 127.0.0.1."""
    error = _refusal("127.0.0.1", port)
    if error == errno.EACCES:
        raise NotReady(f"Port {port} needs more rights than you have: choose one with PORT=8000.")
    if error:
        raise NotReady(f"Port {port} is taken: choose another with PORT={_other(port)}.")


def _refusal(host: str, port: int) -> int:
    """Return the error number that a server would get there, or 0."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0


def _require_free_address(address: str) -> None:
    """Raise NotReady if nothing can listen on the address of IKD_BIND. gunicorn would retry for seconds.

    Forms that only gunicorn knows, such as a list or a Unix socket, are left to gunicorn.
    """
    host, _, port = address.rpartition(":")
    if not host or "," in address or "/" in address or not (port.isascii() and port.isdigit()):
        return
    error = _refusal(host.strip("[]"), min(int(port), 65535))
    if error == errno.EADDRINUSE:
        raise NotReady(f"IKD_BIND={address}: another program listens there. Choose another port.")
    if error == errno.EACCES:
        raise NotReady(
            f"IKD_BIND={address}: this port needs more rights than you have. Choose one above 1023."
        )
    if error == errno.EADDRNOTAVAIL:
        raise NotReady(f"IKD_BIND={address}: this machine does not have this address.")


def prepare(var: Path, progress: Callable[[str], None]) -> None:
    """Create the folder, secrets, tables and cache tables that are missing. Raises NotReady.

    Afterwards, Django is set up.
    """
    try:
        require_writable(var)
        use_temporary_folder(var)
    except NotWritable as problem:
        raise NotReady(str(problem)) from None
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ikd_portal.settings")
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import CommandError, call_command
    from django.db import DatabaseError

    from ikd_portal.migration_turn import turn_to_migrate

    try:
        (var / "static").mkdir(exist_ok=True)  # for collectstatic; WhiteNoise warns without it
        django.setup()
        call_command("check", stdout=StringIO())
        progress("Bringing the database up to date …")
        with turn_to_migrate(progress):
            call_command("migrate", interactive=False, verbosity=0)
            call_command("createcachetable", verbosity=0)
    except (ImproperlyConfigured, CommandError) as mistake:
        raise NotReady(str(mistake)) from None
    except DatabaseError as error:
        raise NotReady(f"The database refused a command: {error}".rstrip()) from None
    except OSError as error:
        raise NotReady(f"{error.strerror}: {error.filename}") from None


def _address() -> str:
    port = port_from(os.environ.get("PORT") or "8000")
    os.environ.setdefault("IKD_PORTAL_URL", f"http://localhost:{port}")
    if "IKD_BIND" not in os.environ:
        require_free(port)
        os.environ["IKD_BIND"] = f"127.0.0.1:{port}"
    else:
        _require_free_address(os.environ["IKD_BIND"])
    return os.environ["IKD_BIND"]


def _offer_first_administrator(var: Path) -> None:
    from django.core.management import call_command

    from accounts.onboarding.first_administrator import is_needed

    if (var / "demo.json").exists():
        say("Warning: this folder contains the demo's users and passwords. To use an empty one, set IKD_VAR.")
    if is_needed():
        say("There is no administrator yet. Open this link within an hour to become the first one:")
        call_command("first_admin_link")


def _other(port: int) -> int:
    return port + 1 if port < 65535 else 8000


if __name__ == "__main__":
    main()
