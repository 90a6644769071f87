"""The subjects of a picture: the running demo, a browser's view, and a page with how to open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from playwright.sync_api import Page

Scheme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class View:
    name: str
    scheme: Scheme
    width: int
    height: int
    locale: str = "en-GB"


SCHEMES: tuple[Scheme, ...] = ("light", "dark")
LANGUAGES = (("", "en-GB"), ("chinese-", "zh-CN"))
SIZES = (("", 1280, 800), ("narrow-", 400, 740))
VIEWS = tuple(
    View(f"{language}{size}{scheme}", scheme, width, height, locale)
    for language, locale in LANGUAGES
    for size, width, height in SIZES
    for scheme in SCHEMES
)


@dataclass(frozen=True, slots=True)
class Shot:
    """A page: which user looks at it, and how to open it."""

    name: str
    who: str
    come: Callable[[Page, Site], object]
    in_docs: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """The running demo."""

    portal: str
    applications: dict[str, str]
    passwords: dict[str, str]
    connect: str
    no_cookies: str
    keys: dict[str, int]
    links: dict[str, str] = field(default_factory=dict)


def fill_in(page: Page, username: str, password: str) -> None:
    page.locator("input[name=login]").fill(username)
    page.locator("input[name=password]").fill(password)
    page.locator("main form:has(input[name=password]) button[type=submit]").first.click()
