"""Errors of providers: a reason for administrators, a page for the visitor."""

from __future__ import annotations

from enum import Enum


class ErrorPage(Enum):
    """The page that a visitor gets, with its status."""

    UNAVAILABLE = 503
    BROKEN = 502
    REFUSED = 403
    STALE = 400


class ProviderError(Exception):
    """A sign-in by a provider failed. `reason` is for administrators, and has no secret.

    `is_retryable` is true if another attempt may succeed, because another tab was faster.
    """

    def __init__(
        self, reason: str, page: ErrorPage = ErrorPage.BROKEN, *, is_retryable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.page = page
        self.is_retryable = is_retryable
