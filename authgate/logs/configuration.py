"""The configuration of the loggers and of uncaught exceptions."""

from __future__ import annotations

import logging
import os
import sys
import threading
from logging.config import dictConfig
from types import TracebackType
from typing import Any

FORMATS = ("json", "text")
LEVELS = ("debug", "info", "warning", "error", "critical")


def configuration() -> dict[str, Any]:
    """Return the configuration of all loggers for `dictConfig`. Raises ValueError for a bad variable."""
    lines, level = _format_wanted(), _level_wanted()
    # Debug lines of libraries contain URLs with codes, and SQL with its values.
    of_libraries = max(level, logging.INFO)
    levels = {
        "ikd": level,
        "django": of_libraries,
        "django.db.backends": max(level, logging.WARNING),
        "django.request": max(level, logging.ERROR),  # the proxy's access log already has each 404
        "django.server": of_libraries,
        "gunicorn.access": of_libraries,
        "gunicorn.error": of_libraries,
        "uvicorn": of_libraries,
        "uvicorn.access": of_libraries,
        "uvicorn.error": of_libraries,
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": f"authgate.logs.lines.{lines.title()}Lines"}},
        "handlers": {"stderr": {"class": "authgate.logs.handler.StandardError", "formatter": "lines"}},
        "root": {"level": of_libraries, "handlers": ["stderr"]},
        "loggers": {
            name: {"level": each, "handlers": [], "propagate": True} for name, each in levels.items()
        },
    }


def configure(wanted: dict[str, Any]) -> None:
    """Configure logging and Python's warnings. Django calls this with its setting LOGGING."""
    dictConfig(wanted)
    logging.captureWarnings(True)


def watch_uncaught_exceptions() -> None:
    """Write uncaught exceptions as log lines, also those of threads. For servers, not for commands."""
    log = logging.getLogger("ikd.uncaught")

    def log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, Exception):
            log.critical("an exception ends this process", exc_info=(kind, error, trace))
        else:
            sys.__excepthook__(kind, error, trace)

    def log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and isinstance(args.exc_value, Exception):
            name = args.thread.name if args.thread else "?"
            exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
            log.error("an exception ends the thread %s", name, exc_info=exc_info)

    def log_unraisable(args: Any) -> None:
        if args.exc_value is not None:
            exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
            log.error("%s", args.err_msg or "an exception was ignored", exc_info=exc_info)

    sys.excepthook = log_uncaught
    threading.excepthook = log_uncaught_in_thread
    sys.unraisablehook = log_unraisable


def _format_wanted() -> str:
    wanted = os.environ.get("IKD_LOG_FORMAT") or ("text" if _is_terminal() else "json")
    if wanted not in FORMATS:
        raise ValueError(f"IKD_LOG_FORMAT must be json or text, is {wanted!r}")
    return wanted


def _level_wanted() -> int:
    wanted = (os.environ.get("IKD_LOG_LEVEL") or "info").lower()
    if wanted not in LEVELS:
        raise ValueError(f"IKD_LOG_LEVEL must be one of {', '.join(LEVELS)}, is {wanted!r}")
    return int(getattr(logging, wanted.upper()))


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # standard error is closed
        return False
