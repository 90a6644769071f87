"""What the steps of a check hand on."""

from __future__ import annotations

from typing import NamedTuple

from authgate.check.contracts import Contract
from authgate.check.credentials import Credential
from authgate.check.query import Query
from authgate.check.request import Browser, RequestHeaders, browser_of
from authgate.decision.rules import Application
from authgate.decision.target import Target

_new = tuple.__new__  # half the time of a NamedTuple's own constructor


class Context(NamedTuple):
    """A check as it was read, built once. `now` is Unix time.

    `hints` are set as soon as an answer needs them. For a known head `headers` are empty, and `head` is what
    was found in them.
    """

    contract: Contract
    target: Target
    query: Query
    application: Application
    headers: RequestHeaders
    now: float
    hints: Browser | None = None
    head: KnownHead | None = None

    @property
    def browser(self) -> Browser:
        if self.hints:
            return self.hints
        return browser_of(self.headers.values) if self.head is None else self.head.browser_again()

    def with_hints(self) -> Context:
        """Return the context with the browser's hints read, which several parts of an answer look at."""
        return self if self.hints else _new(Context, (*self[:6], self.browser, self.head))


class KnownHead(NamedTuple):
    """What was found in a head when it came before: a credential of ours, and how the browser asked.

    `authorization` is the application's own, and `referer` the one of this request.
    """

    ours: Credential | None
    browser: Browser
    authorization: bytes | None = None
    referer: bytes | None = None

    def browser_again(self) -> Browser:
        """Return how the browser asked this time."""
        browser, referer = self.browser, self.referer
        if referer is None:
            return browser
        return _new(Browser, (*browser[:5], referer.decode("ascii"), browser.languages))
