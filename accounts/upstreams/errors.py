"""What can go wrong with a provider: a reason for administrators, a page for the visitor."""

from __future__ import annotations

from enum import Enum


class ErrorPage(Enum):
    """Which page a visitor gets, with its status."""

    UNAVAILABLE = 503
    BROKEN = 502
    REFUSED = 403
    STALE = 400


class ProviderError(Exception):
    """Signing in by a provider came to an end. `reason` is for administrators and holds no secret.

    `is_retryable` says that another attempt may succeed: another tab, or an earlier answer, was quicker.
    """

    def __init__(
        self, reason: str, page: ErrorPage = ErrorPage.BROKEN, *, is_retryable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.page = page
        self.is_retryable = is_retryable
