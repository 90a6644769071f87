"""Run Python programs as forks of a process that has already imported a portal's modules.

`tests/forks.py` starts it with a socket. Each message on it names a program. Some modules read settings when
they are imported. If a program has other values for these, it is executed instead.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import LazySettings, empty, settings
from django.db import connections
from django.urls import get_resolver
from django.utils import translation
from django.utils.module_loading import import_string

import ikd_portal
from ikd_portal import shared_memory

SETTINGS = "ikd_portal.settings"
MODULES = (
    *("gunicorn.app.wsgiapp", "gunicorn.workers.base", "ikd_portal.reload", "ikd_portal.startup_checks"),
    *("ikd_portal.worker", "ikd_portal.page_processes", "ikd_portal.shared_memory"),
    *("authgate.endpoints.check_view", "authgate.endpoints.protocol"),
    *("authgate.pages.framed", "authgate.pages.refused", "authgate.traces.spans"),
    *("accounts.access_reviews.rounds", "accounts.upstreams.oidc.recheck_worker", "openid.deliveries"),
    *("ikd_portal.tidy.rounds", "uvicorn.lifespan.off", "django.core.wsgi", "django.views.debug"),
    *(
        "django.db.models.sql.compiler",
        "django.template.loaders.cached",
        "django.template.loaders.filesystem",
    ),
    *("django.template.loaders.app_directories", "django.core.cache.backends.db", "django.templatetags.i18n"),
    *("django.contrib.admin.templatetags.admin_list", "allauth.account.templatetags.account"),
)
"""Modules that a portal imports, besides its applications, views and middleware."""

ANY_PORTAL = {
    "DJANGO_SETTINGS_MODULE": SETTINGS,
    "IKD_VAR": "/nonexistent",
    "IKD_PORTAL_URL": "https://sso.example.com",
    "IKD_SECRET_KEY": "any key",
    "IKD_ENCRYPTION_KEYS": "any key",
}
MISSING = object()


# ---- before a fork ----------------------------------------------------------------------------------------


@contextmanager
def noted_settings() -> Iterator[dict[str, Any]]:
    """Record each setting that is read in this block, with its value. Django looks each up like this once."""
    noted: dict[str, Any] = {}
    read = LazySettings.__getattr__

    def note(self: LazySettings, name: str) -> Any:
        noted[name] = MISSING
        noted[name] = read(self, name)
        return noted[name]

    LazySettings.__getattr__ = note  # type: ignore[method-assign]
    try:
        yield noted
    finally:
        LazySettings.__getattr__ = read  # type: ignore[method-assign]


def preload() -> dict[str, Any]:
    """Import a portal's modules. Return the settings that were read."""
    os.environ.update(ANY_PORTAL)
    with noted_settings() as noted:
        apps.populate(settings.INSTALLED_APPS)
        for name in MODULES:
            importlib.import_module(name)
        for path in settings.MIDDLEWARE:
            import_string(path)
        for language, _ in settings.LANGUAGES:
            with translation.override(language):
                _ = get_resolver().reverse_dict  # imports all views
    shared_memory.WARM_UP_CALLS = 1  # importing more only saves memory, which tests measure without forks
    forget_settings()
    gc.collect()
    gc.freeze()
    return noted


def forget_settings() -> None:
    """Make Django read the settings again on next use."""
    settings.__dict__.clear()
    settings._wrapped = empty
    sys.modules.pop(SETTINGS, None)
    vars(ikd_portal).pop("settings", None)
    connections.__dict__.pop("settings", None)
    connections._settings = None
    with suppress(AttributeError):
        del connections["default"]
    tempfile.tempdir = None


# ---- the fork ---------------------------------------------------------------------------------------------


def next_program(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Return the program in the fork, or None in this process at the end."""
    answers: dict[int, tuple[int, int]] = {}
    events = select.poll()
    events.register(requests, select.POLLIN)
    while True:
        for number, _ in events.poll():
            if number in answers:
                events.unregister(number)
                os.close(number)
                _tell_end(*answers.pop(number))
                continue
            message, streams, _, _ = socket.recv_fds(requests, 2**20, 4)
            if not message:
                return None
            answer = streams.pop()
            pid = os.fork()
            if pid == 0:
                requests.close()
                for each in (answer, *answers, *(its_answer for _, its_answer in answers.values())):
                    os.close(each)
                return json.loads(message) | {"streams": streams}
            for each in streams:
                os.close(each)
            _tell(answer, pid)
            end = os.pidfd_open(pid)
            answers[end] = pid, answer
            events.register(end, select.POLLIN)


def _tell_end(pid: int, answer: int) -> None:
    _, status = os.waitpid(pid, 0)
    _tell(answer, os.waitstatus_to_exitcode(status))
    os.close(answer)


def _tell(answer: int, number: int) -> None:
    with suppress(BrokenPipeError):  # no process waits for the answer
        os.write(answer, b"%d\n" % number)


# ---- the program ------------------------------------------------------------------------------------------


def run(program: dict[str, Any], noted: dict[str, Any]) -> None:
    """Run a program as `python` would with its arguments."""
    command, environment = program["command"], program["environment"]
    os.chdir(program["folder"])
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    _set(environment)
    are_settings_fit = _are_same(noted)
    _set(environment)
    for number, stream in enumerate(program["streams"]):
        os.dup2(stream, number)  # all three are open already, so a new stream has a higher number
        os.close(stream)
    if not are_settings_fit:
        os.execv(command[0], command)
    sys.orig_argv[:] = command
    if command[1] == "-m":
        sys.argv[:] = command[2:]
        sys.path[0] = program["folder"]
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = command[1:]
        sys.path[0] = str(Path(command[1]).resolve().parent)
        runpy.run_path(command[1], run_name="__main__")


def _set(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _are_same(noted: dict[str, Any]) -> bool:
    """Return whether the settings that were read are the same now. Models only use the engine."""
    try:
        found = {name: getattr(settings, name, MISSING) for name in noted}
    except Exception:
        return False  # the program reports the mistake itself
    finally:
        forget_settings()
    both = [values | {"DATABASES": values["DATABASES"]["default"]["ENGINE"]} for values in (noted, found)]
    return both[0] == both[1]


def main() -> None:
    requests = socket.socket(fileno=int(sys.argv[1]))
    noted = preload()
    program = next_program(requests)
    if program is not None:
        run(program, noted)


if __name__ == "__main__":
    main()
