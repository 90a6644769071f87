"""Answers to checks that fail: 503, never access."""

from __future__ import annotations

from authgate.check.responses import NO_STORE, Answer


def broken(decision_id: str, page: bytes = b"") -> Answer:
    """Return 503 for an internal error. `page` is the HTML that a browser shows."""
    headers = ((b"x-auth-decision", decision_id.encode()), (b"retry-after", b"2"), *NO_STORE)
    if page:
        headers += ((b"content-type", b"text/html; charset=utf-8"), (b"x-content-type-options", b"nosniff"))
    return Answer(503, headers, page)


def overloaded() -> Answer:
    """Return 503 for a check that is shed. Retry-After asks the client to try again in a second."""
    return Answer(503, ((b"retry-after", b"1"), *NO_STORE))
