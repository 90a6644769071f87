"""Errors of providers, each with a reason for administrators and a page for the visitor."""

from __future__ import annotations

from enum import Enum


class ErrorPage(Enum):
    """The page that a visitor sees. The value is its HTTP status."""

    UNAVAILABLE = 503
    BROKEN = 502
    REFUSED = 403
    STALE = 400


class ProviderError(Exception):
    """A sign-in by a provider failed. `reason` is for administrators, and contains no secret.

    `is_retryable` is true if the attempt may have failed only because another tab was faster.
    """

    def __init__(
        self, reason: str, page: ErrorPage = ErrorPage.BROKEN, *, is_retryable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.page = page
        self.is_retryable = is_retryable
