"""Takes pictures of every page: light, dark, and on a phone, in English and Chinese.

`make screenshots` runs it. With DOCS=1 it also replaces the pictures of the docs. ONLY="admin sign-in"
selects pages by the beginnings of their names, VIEWS="light chinese-dark" selects views. It starts a demo in
a temporary folder and controls Debian's Chromium.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Error, Page, sync_playwright

from demo import notes
from demo.processes import free_port
from tools.screenshots import company, furniture
from tools.screenshots.shots import COMPANY, EMPTY, LISTS, SHOTS
from tools.screenshots.site import VIEWS, Shot, Site, View, fill_in

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "var" / "screenshots"
DOCS = ROOT / "docs" / "screenshots"
PATIENCE = 120.0
"""Seconds that the demo has to start."""

STEP_LIMIT = 15_000.0
"""Milliseconds that each step to a page may take."""


def main() -> int:
    wanted = options()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as var, running_demo(Path(var)) as facts:
        site = furniture.furnish(Path(var), facts)
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or sys.exit("chromium is missing: apt install chromium")
            arguments = [f"--host-resolver-rules=MAP *.localhost {site.connect.partition(':')[0]}"]
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *arguments]
            )
            take_all(browser, site, (*SHOTS, *EMPTY), wanted)
            company.create(site.keys)
            site.links.update(furniture.links())
            take_all(browser, site, (*LISTS, *COMPANY), wanted)
            browser.close()
    print(f"{len(list(FOLDER.glob('*.png')))} pictures are in {FOLDER}.")
    if wanted.docs:
        copy_into_docs()
    return 0


def options() -> Namespace:
    parser = ArgumentParser(prog="make screenshots")
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of the names of pages")
    parser.add_argument("--views", nargs="*", default=[view.name for view in VIEWS])
    return parser.parse_args()


@contextmanager
def running_demo(var: Path) -> Iterator[dict[str, Any]]:
    """Run a demo while the block runs, and yield its notes."""
    environment = {**os.environ, "IKD_VAR": str(var), "PORT": str(free_port())}
    command = [sys.executable, str(ROOT / "demo" / "run.py")]
    demo = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (var / notes.READY).exists():
            if demo.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"The demo did not start: see {var / 'log'}.")
            time.sleep(0.2)
        yield json.loads((var / notes.READY).read_text())
    finally:
        demo.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            demo.wait(30)


def take_all(browser: Browser, site: Site, shots: Iterable[Shot], wanted: Namespace) -> None:
    """Take the selected pages in the selected views."""
    chosen = [shot for shot in shots if shot.name.startswith(tuple(wanted.only))]
    for view in VIEWS:
        if view.name in wanted.views:
            furniture.forget_attempts()
            take(browser, view, site, chosen)


def take(browser: Browser, view: View, site: Site, shots: Iterable[Shot]) -> None:
    pages: dict[str, Page] = {}
    for shot in shots:
        page = pages.get(shot.who) if shot.who else None
        if page is None:
            context = browser.new_context(
                color_scheme=view.scheme,
                locale=view.locale,
                viewport={"width": view.width, "height": view.height},
            )
            context.set_default_timeout(STEP_LIMIT)
            page = pages[shot.who] = context.new_page()
            if shot.who:
                page.goto(f"{site.portal}/accounts/login/")
                fill_in(page, shot.who, site.passwords[shot.who])
        try:
            shot.come(page, site)
            page.wait_for_load_state("networkidle")
        except Error as problem:
            print(f"{shot.name} cannot be reached in the view {view.name}: {problem.message}")
            continue
        page.screenshot(path=FOLDER / f"{shot.name}-{view.name}.png", full_page=True)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > view.width:
            print(f"{shot.name} is {width} pixels wide in the view {view.name}.")
        if shot.in_docs and view.name == "light":
            page.screenshot(path=FOLDER / f"docs-{shot.name}.png")
    for page in pages.values():
        page.context.close()


def copy_into_docs() -> None:
    """Copy the pictures for the docs. 128 colours are enough for flat pages and keep the files small."""
    DOCS.mkdir(parents=True, exist_ok=True)
    for shot in (*SHOTS, *COMPANY):
        if shot.in_docs:
            with Image.open(FOLDER / f"docs-{shot.name}.png") as picture:
                picture.convert("RGB").quantize(128).save(DOCS / f"{shot.name}.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
