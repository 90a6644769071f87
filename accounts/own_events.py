"""Audit events of what a user does with their own account."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from accounts.models import User
from authgate.audit import record
from authgate.peer import client_address


def record_own(kind: str, request: HttpRequest, user: User, details: dict[str, Any] | None = None) -> None:
    """Write an audit event of a user about themselves, with the address of the request."""
    name = user.username
    record(kind, actor=name, subject=name, address=client_address(request), details=details)
