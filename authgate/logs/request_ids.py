"""A number for each request: the page for a failure shows it, and each log line of the request has it."""

from __future__ import annotations

import os
from contextvars import ContextVar

current_request: ContextVar[str] = ContextVar("current_request", default="")
"""The number of the request that this thread answers."""


def begin_request() -> None:
    """Draw a new number for the request that begins in this thread. Numbers from clients are never used."""
    current_request.set(os.urandom(6).hex())
