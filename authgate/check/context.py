"""The values that the steps of a check share."""

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
    """A check after it was read. `now` is Unix time.

    `hints` are None until an answer needs them. For a cached request head, `headers` are empty and `head`
    has what was found in them.
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
        return browser_of(self.headers.values) if self.head is None else self.head.current_browser()

    def with_hints(self) -> Context:
        """Return the context with the browser's hints, which several parts of an answer read."""
        return self if self.hints else _new(Context, (*self[:6], self.browser, self.head))


class KnownHead(NamedTuple):
    """The values from a cached request head: the portal's credential, and the browser's hints.

    `authorization` is the value for the application. `referer` is from the present request.
    """

    ours: Credential | None
    browser: Browser
    authorization: bytes | None = None
    referer: bytes | None = None

    def current_browser(self) -> Browser:
        """Return the browser's hints with the Referer of the present request."""
        browser, referer = self.browser, self.referer
        if referer is None:
            return browser
        return _new(Browser, (*browser[:5], referer.decode("ascii"), browser.languages))
