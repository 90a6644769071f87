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

    `hints` are set as soon as an answer needs them. For a remembered head `headers` are empty, and `head`
    says which credentials were found in them.
    """

    contract: Contract
    target: Target
    query: Query
    application: Application
    headers: RequestHeaders
    now: float
    hints: Browser | None = None
    head: ReadCredentials | None = None

    @property
    def browser(self) -> Browser:
        return self.hints or browser_of(self.headers.values)

    def with_hints(self) -> Context:
        """Return the context with the browser's hints read, which several parts of an answer look at."""
        return self if self.hints else self._replace(hints=browser_of(self.headers.values))


class ReadCredentials(NamedTuple):
    """The credential of ours in a remembered head, and an Authorization that is the application's own."""

    ours: Credential | None
    authorization: bytes | None
