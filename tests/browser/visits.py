"""Visits to pages: a browser opens each page once, and tests check the recorded visit.

A visit shows a page in English in light mode, dark mode and on a phone, and in Chinese. All visits of a
process share the browser's context. Copies of the database restore the portal's rows and each user's sign-in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from django.utils import timezone
from playwright.sync_api import Browser, ConsoleMessage, Page

from accounts.branding import brand
from authgate.models import GateSession, SignIn
from authgate.sampling import sample
from tests.browser.chromium import FOCUSED_ALREADY
from tests.browser.signing_in import sign_in_and_wait
from tests.database_copy import DatabaseCopy

Way = str | Callable[[Page, str], object]
"""A way to open a page of the portal: a path, or a function that uses the browser."""

WIKI = "https://wiki.example.net"
DESK = {"width": 1280, "height": 720}
PHONE = {"width": 360, "height": 740}
NARROW_CELLS = "cells => cells.filter(e => e.offsetWidth && e.offsetWidth < 200).map(e => e.textContent)"
"""On a phone, the row of a table must take the whole width. Otherwise words break into single letters."""

WEIGHT = """[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .reduce((sum, each) => sum + each.decodedBodySize, 0)"""

TEXTS = """() => {
  for (const each of document.querySelectorAll("code, pre, script, style, textarea")) each.hidden = true;
  const texts = [document.title, document.body.innerText];
  for (const each of document.body.querySelectorAll("*")) {
    if (!each.checkVisibility() && each.tagName !== "OPTION") continue;
    for (const name of ["placeholder", "aria-label", "title", "alt"])
      if (each.hasAttribute(name)) texts.push(each.getAttribute(name));
    if (each.tagName === "INPUT" && ["submit", "button"].includes(each.type)) texts.push(each.value);
    if (each.tagName === "OPTION") texts.push(each.textContent);
    for (const [name, value] of Object.entries(each.dataset)) if (/^words/.test(name)) texts.push(value);
  }
  return texts;
}"""

FAILING_RESPONSE = "Failed to load resource: the server responded with a status of"
FORGET = "() => { try { localStorage.clear(); sessionStorage.clear() } catch {} }"
"""The browser's own error page has no storage."""

AXE = f"window.loadAxe = () => {{ {AXE_SCRIPT}; axe.configure({{noHtml: true}}) }}"
"""A script for all pages of a browser, compiled once. `noHtml` omits the source of elements."""

AXE_FINDINGS = """() => {
  "axe" in window || loadAxe();
  const slight = axe._audit.rules.filter(rule => ["minor", "moderate"].includes(rule.impact));
  const rules = Object.fromEntries(slight.map(rule => [rule.id, {enabled: false}]));
  return axe.run({rules, resultTypes: ["violations"], elementRef: true}).then(({violations}) => violations
    .filter(each => ["serious", "critical"].includes(each.impact))
    .flatMap(each => each.nodes.slice(0, 3).map(
      ({element, failureSummary}) => `${each.id}: ${element.outerHTML.slice(0, 300)} ${failureSummary}`)));
}"""
"""A finding has the impact of its rule, so rules with a minor impact are skipped."""


@dataclass(frozen=True)
class Visit:
    """The record of a visit. `weight` is in uncompressed bytes, `width` in CSS pixels on a phone."""

    weight: int
    complaints: list[str]
    problems: list[str]
    problems_in_the_dark: list[str]
    width: int
    squeezed: list[str]
    language: str | None
    texts: list[str]


@dataclass(frozen=True)
class SignedIn:
    """The database and the browser's cookies after a person has signed in."""

    rows: DatabaseCopy
    cookies: list[Any]


class Visitor:
    """A browser that visits pages of a portal. `empty` is the database without rows of tests."""

    def __init__(
        self, chromium: Browser, portal: str, empty: DatabaseCopy, create_rows: Callable[[], object]
    ) -> None:
        self.portal, self.empty = portal, empty
        self.page = chromium.new_page(viewport=DESK, reduced_motion="reduce")
        self.console: list[str] = []
        self.page.add_init_script(AXE)
        listen(self.page, self.console)
        create_rows()
        self.signed_in = {"": SignedIn(DatabaseCopy(), [])}
        empty.restore()

    def close(self) -> None:
        self.page.context.close()
        for each in self.signed_in.values():
            each.rows.close()

    @contextmanager
    def at(self, who: str, way: Way) -> Iterator[Page]:
        """Open a page as a user or as a visitor. The database is reset at the end of the block."""
        try:
            self._become(who)
            if isinstance(way, str):
                self.page.goto(self.portal + way)
            else:
                way(self.page, self.portal)
            self.page.wait_for_load_state()
            yield self.page
        finally:
            self._leave()

    def visit(self, who: str, way: Way) -> Visit:
        with self.at(who, way) as page:
            weight, complaints = int(page.evaluate(WEIGHT)), list(self.console)
            problems = accessibility_problems(page)
            page.emulate_media(color_scheme="dark")
            in_the_dark = accessibility_problems(page)
            page.set_viewport_size(PHONE)
            width = page.evaluate("document.documentElement.scrollWidth")
            squeezed = page.eval_on_selector_all("main .rows :is(th, td)", NARROW_CELLS)
            page.set_viewport_size(DESK)
            page.emulate_media(color_scheme="light")
            self._speak("zh-hans")
            page.reload()
            language = page.locator("html").get_attribute("lang")
            texts = page.evaluate(TEXTS)
        return Visit(weight, complaints, problems, in_the_dark, width, squeezed, language, texts)

    def _speak(self, language: str) -> None:
        self.page.context.add_cookies([{"name": "ikd_language", "value": language, "url": self.portal}])

    def _become(self, who: str) -> None:
        brand.forget()
        sample.clear()
        if who not in self.signed_in:
            self.signed_in[who] = self._sign_in(who)
        now = self.signed_in[who]
        now.rows.restore()
        self.page.context.add_cookies(now.cookies)
        self.console.clear()

    def _sign_in(self, who: str) -> SignedIn:
        self.signed_in[""].rows.restore()
        self.page.goto(self.portal)
        sign_in_and_wait(self.page, who)
        GateSession.objects.create(
            sign_in=SignIn.objects.latest("pk"),
            origin=WIKI,
            token_digest=bytes(32),
            created_at=timezone.now(),
        )
        return SignedIn(DatabaseCopy(), self.page.context.cookies())

    def _leave(self) -> None:
        """Remove the page, cookies, browser storage and rows."""
        self.page.evaluate(FORGET)
        self.page.goto("about:blank")
        self.page.set_viewport_size(DESK)
        self.page.emulate_media(color_scheme="light")
        self.page.context.clear_cookies()
        self.empty.restore()


def listen(page: Page, console: list[str]) -> None:
    """Collect the browser's warnings and errors, except for error responses of the page itself."""
    documents: set[str] = set()
    page.on("request", lambda request: request.is_navigation_request() and documents.add(request.url))

    def heard(message: ConsoleMessage) -> None:
        if message.text.startswith(FOCUSED_ALREADY):
            return
        if message.location.get("url") not in documents or not message.text.startswith(FAILING_RESPONSE):
            console.append(f"{message.text} at {message.location.get('url')}")

    page.on("console", heard)
    page.on("pageerror", lambda error: console.append(str(error)))


def accessibility_problems(page: Page) -> list[str]:
    """Return the serious and critical findings of axe-core for a page opened with the script AXE."""
    findings: list[str] = page.evaluate(AXE_FINDINGS)
    return findings
