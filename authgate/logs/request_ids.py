"""A number for each request. The error page shows it, and each log line of the request contains it."""

from __future__ import annotations

import os
from contextvars import ContextVar

current_request: ContextVar[str] = ContextVar("current_request", default="")
"""The number of the current request in this thread."""


def begin_request() -> None:
    """Create a new number for the request that begins in this thread. Numbers from clients are never used."""
    current_request.set(os.urandom(6).hex())
