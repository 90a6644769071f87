"""Audit events about users' changes to their own accounts."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from accounts.models import User
from authgate.audit import record
from authgate.peer import client_address


def record_own(kind: str, request: HttpRequest, user: User, details: dict[str, Any] | None = None) -> None:
    """Write an audit event with the user as actor and subject, and with the request's client address."""
    name = user.username
    record(kind, actor=name, subject=name, address=client_address(request), details=details)
