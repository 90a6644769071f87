"""Requests that count as opening a page, by the headers that real clients send."""

from __future__ import annotations

import pytest

from tests.authgate.asking import WIKI, ask, facts

pytestmark = pytest.mark.usefixtures("wiki")

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}
FETCH = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}

PAGES = {
    "Chrome and Firefox over https": {"Accept": HTML, **NAVIGATION},
    "any browser over http": {"Accept": HTML},
    "Safari before 16.4": {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    "an Android WebView over http": {"Accept": HTML, "X-Requested-With": "com.example.app"},
    "an Android WebView over https": {"Accept": HTML, "X-Requested-With": "com.example.app", **NAVIGATION},
    "Facebook's browser": {"Accept": HTML, "X-Requested-With": "com.facebook.katana"},
    "an app that empties the header": {"Accept": HTML, "X-Requested-With": ""},
    "an app named like a script": {"Accept": HTML, "X-Requested-With": "com.example.xmlhttprequest"},
    "a service worker that forwards a navigation": {
        "Accept": HTML,
        **NAVIGATION,
        "Sec-Fetch-Dest": "empty",
        "Service-Worker-Navigation-Preload": "true",
    },
    "a frame of the same site": {
        "Accept": HTML,
        **NAVIGATION,
        "Sec-Fetch-Dest": "iframe",
        "Sec-Fetch-Site": "same-site",
    },
}
PROGRAMS = {
    "jQuery over http": {"Accept": "*/*", "X-Requested-With": "XMLHttpRequest"},
    "jQuery that loads HTML": {"Accept": "text/html, */*; q=0.01", "X-Requested-With": "XMLHttpRequest"},
    "a library that writes it in small letters": {"Accept": HTML, "X-Requested-With": "xmlhttprequest"},
    "a script in an Android WebView": {
        "Accept": "text/html, */*; q=0.01",
        "X-Requested-With": "com.example.app, XMLHttpRequest",
    },
    "htmx over http": {"Accept": "*/*", "HX-Request": "true", "HX-Current-URL": "http://wiki.example.com/"},
    "htmx over https": {"Accept": "*/*", "HX-Request": "true", **FETCH},
    "Turbo over https": {"Accept": "text/vnd.turbo-stream.html, text/html", **FETCH},
    "a service worker's own script": {
        "Accept": "*/*",
        "Service-Worker": "script",
        "Sec-Fetch-Mode": "same-origin",
        "Sec-Fetch-Dest": "serviceworker",
        "Sec-Fetch-Site": "same-origin",
    },
    "curl": {"Accept": "*/*"},
    "git": {"Accept": "*/*", "Accept-Encoding": "deflate, gzip, br, zstd", "Pragma": "no-cache"},
}


def status(headers: dict[str, str]) -> int:
    hints = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return ask(facts(f"{WIKI}/page", hints)).status


@pytest.mark.parametrize("headers", PAGES.values(), ids=PAGES)
def test_a_browser_that_opens_a_page_is_sent_to_the_portal(headers: dict[str, str]) -> None:
    assert status(headers) == 302


@pytest.mark.parametrize("headers", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_gets_401(headers: dict[str, str]) -> None:
    assert status(headers) == 401
