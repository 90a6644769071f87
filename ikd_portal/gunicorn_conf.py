"""gunicorn's configuration: `gunicorn -c ikd_portal/gunicorn_conf.py ikd_portal.asgi:application`."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

from authgate import folders
from authgate.logs.configuration import configuration, configure, watch_uncaught_exceptions
from ikd_portal import page_socket, shared_memory, startup_checks
from ikd_portal.installation import var_folder
from ikd_portal.reload import load_unless_ended, prepare_reload, take_over  # gunicorn knows `reload`


def _give_up(reason: str) -> NoReturn:
    """Log the reason in one line and exit, before the server listens."""
    logging.getLogger("ikd.start").critical("%s", reason)
    sys.exit(1)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        _give_up(f"{name} must be a number, is {text!r}")
    return int(text)


try:
    logconfig_dict = configuration()
except ValueError as mistake:
    os.environ["IKD_LOG_FORMAT"], os.environ["IKD_LOG_LEVEL"] = "json", "info"
    configure(configuration())
    _give_up(f"{mistake}")
configure(logconfig_dict)
watch_uncaught_exceptions()

bind = os.environ.get("IKD_BIND", "127.0.0.1:8000")
page_workers = _number("IKD_PAGE_WORKERS", os.environ.get("IKD_PAGE_WORKERS", "2"))
workers = _number("IKD_WORKERS", os.environ.get("IKD_WORKERS", "2")) + page_workers
worker_class = "ikd_portal.worker.PortalWorker"
keepalive = 75  # longer than a proxy's idle timeout, so that the proxy closes idle connections first
timeout = 30
graceful_timeout = 30
umask = 0o117  # mode 0660 for a Unix socket: only its group may connect as the proxy
control_socket_disable = True
forwarded_allow_ips = ""
with suppress(folders.NotWritable):  # on_starting reports it; a reload continues
    worker_tmp_dir = str(folders.heartbeat_folder(folders.use_temporary_folder(var_folder())))


def on_starting(server: Any) -> None:
    """Refuse to listen if workers could not start. Load the portal, so that workers share its memory."""
    prepare_reload(server)
    if mistake := startup_checks.mistake():
        _give_up(mistake)
    load_unless_ended(lambda: shared_memory.load(server.app))


def when_ready(server: Any) -> None:
    """After a reload, take over the old workers."""
    take_over(server)


_spawned: list[Any] = []
"""The workers that this master started."""


def pre_fork(server: Any, worker: Any) -> None:
    """Assign a worker to pages until there are enough page workers, and otherwise to checks."""
    living = [each for each in _spawned if each.pid in server.WORKERS]
    for_pages = sum(each.is_for_pages for each in living)
    worker.pages = page_socket.open_or_inherit(var_folder()) if page_workers else None
    worker.is_for_pages = for_pages < page_workers
    _spawned[:] = [*living, worker]


def on_exit(server: Any) -> None:
    """Remove the page processes' socket, unless a new master has taken over."""
    if not server.reexec_pid:
        page_socket.remove()
