"""Configuration of the loggers, and of exceptions that no code caught."""

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
    # Debug lines of libraries hold addresses with codes, and SQL with its values.
    of_libraries = max(level, logging.INFO)
    levels = {
        "ikd": level,
        "django": of_libraries,
        "django.db.backends": max(level, logging.WARNING),
        "django.request": max(level, logging.ERROR),  # each 404 is a line in the proxy's access log
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
    """Set up logging and the warnings of Python. Django calls this with its setting LOGGING."""
    dictConfig(wanted)
    logging.captureWarnings(True)


def watch_uncaught_exceptions() -> None:
    """Write exceptions that nothing caught, in threads too, as log lines. For servers, not for commands."""
    log = logging.getLogger("ikd.uncaught")

    def of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, Exception):
            log.critical("an exception ends this process", exc_info=(kind, error, trace))
        else:
            sys.__excepthook__(kind, error, trace)

    def of_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and isinstance(args.exc_value, Exception):
            name = args.thread.name if args.thread else "?"
            told = (args.exc_type, args.exc_value, args.exc_traceback)
            log.error("an exception ends the thread %s", name, exc_info=told)

    def of_nobody(args: Any) -> None:
        if args.exc_value is not None:
            told = (args.exc_type, args.exc_value, args.exc_traceback)
            log.error("%s", args.err_msg or "an exception was ignored", exc_info=told)

    sys.excepthook = of_process
    threading.excepthook = of_thread
    sys.unraisablehook = of_nobody


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
    except (AttributeError, ValueError):  # closed
        return False
