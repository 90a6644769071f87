"""What the steps of a check hand on."""

from __future__ import annotations

from typing import NamedTuple

from authgate.check.contracts import Contract
from authgate.check.credentials import Credential
from authgate.check.decision import Application
from authgate.check.query import Query
from authgate.check.request import Browser, RequestHeaders, browser_of
from authgate.check.target import Target


class Context(NamedTuple):
    """A check as it was read, built once. `now` is Unix time.

    For a remembered head `headers` are empty, and `head` says what was found in them.
    """

    contract: Contract
    target: Target
    query: Query
    application: Application
    headers: RequestHeaders
    now: float
    head: ReadHeaders | None = None

    @property
    def browser(self) -> Browser:
        return self.head.browser if self.head is not None else browser_of(self.headers.values)


class ReadHeaders(NamedTuple):
    """What a remembered head says beside its target. `authorization` is the application's own."""

    browser: Browser
    credential: Credential | None
    authorization: bytes | None
