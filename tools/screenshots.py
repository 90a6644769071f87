"""Take pictures of every page: light, dark, and on a phone.

`make screenshots` runs it; with DOCS=1 it also replaces the pictures of the README. It starts a demo of its
own in a temporary folder and drives Debian's Chromium.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from demo import notes
from demo.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "var" / "screenshots"
DOCS = ROOT / "docs" / "screenshots"
PATIENCE = 120.0
"""Seconds that the demo has to start."""

FURNITURE = (
    ("Calendar", "Rooms, holidays and who is where.", "Every day", "#2d6cdf"),
    ("Chat", "Channels of all teams.", "Every day", ""),
    ("Files", "Shared folders, with every old version.", "Every day", "#e08a1e"),
    ("Expenses", "Receipts in, money back.", "Finance", ""),
    ("Invoices", "What customers owe.", "Finance", "#3f8f5b"),
    ("Builds", "Every commit, built and tested.", "Engineering", ""),
    ("Dashboards", "How the machines are.", "Engineering", "#b5476c"),
    ("Tickets", "What is broken, and who repairs it.", "Engineering", ""),
)
"""More applications than the demo has: name, description, category, and the colour of an icon."""


@dataclass(frozen=True, slots=True)
class View:
    name: str
    scheme: Literal["light", "dark"]
    width: int
    height: int
    locale: str = "en-GB"


VIEWS = (
    View("light", "light", 1280, 800),
    View("dark", "dark", 1280, 800),
    View("narrow", "light", 360, 740),
    View("narrow-dark", "dark", 360, 740),
    View("chinese", "light", 1280, 800, "zh-CN"),
    View("chinese-narrow-dark", "dark", 360, 740, "zh-CN"),
)


WIDE = View("wide", "light", 1440, 900)


@dataclass(frozen=True, slots=True)
class Shot:
    """A page: who looks at it, and how they come there."""

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


def at(path: str) -> Callable[[Page, Site], object]:
    return lambda page, site: page.goto(site.portal + path)


def of_row(path: str, kind: str) -> Callable[[Page, Site], object]:
    return lambda page, site: page.goto(f"{site.portal}/admin/{path}/{site.keys[kind]}/change/")


def to_application(name: str) -> Callable[[Page, Site], object]:
    return lambda page, site: page.goto(f"{site.applications[name]}/")


def wrong_password(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/accounts/login/")
    fill_in(page, "bob", "not the password")


def too_many_attempts(page: Page, site: Site) -> None:
    for _ in range(7):
        page.goto(f"{site.portal}/accounts/login/")
        fill_in(page, "dave", "not the password")


def stale_form(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/accounts/login/")
    page.context.clear_cookies()
    fill_in(page, "bob", "whatever")


def searching(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/")
    page.locator("input[type=search]").fill("engin")


def signing_out(page: Page, site: Site) -> None:
    page.goto(f"{site.portal}/accounts/logout/")
    page.locator("main button[type=submit]").first.click()


def confirmed(path: str) -> Callable[[Page, Site], object]:
    """Come to a page that asks alice for her password once more."""

    def come(page: Page, site: Site) -> None:
        page.goto(f"{site.portal}/accounts/reauthenticate/?next={path}")
        page.locator("input[name=password]").fill(site.passwords["alice"])
        page.locator("main form:has(input[name=password]) button").first.click()
        page.wait_for_url(f"{site.portal}{path}")

    return come


def tested_provider(page: Page, site: Site) -> None:
    of_row("accounts/upstream", "provider")(page, site)
    page.locator("form[action$='/test/'] [type=submit], [formaction$='/test/']").first.click()


def framed(page: Page, site: Site) -> None:
    """Show a protected site inside another page, where browsers send it no cookie."""
    page.goto(f"{site.portal}/healthz")
    page.set_content(
        f'<h1>Intranet</h1><iframe src="{site.applications["wiki"]}/" width="90%" height="500"></iframe>'
    )
    page.wait_for_timeout(1000)


def new_token(page: Page, site: Site) -> None:
    confirmed("/accounts/tokens/new/")(page, site)
    page.locator("input[name=name]").fill("backup")
    page.locator("input[name=applications]").first.check()
    page.locator("main button[type=submit]").first.click()


SHOTS = (
    Shot("sign-in", "", at("/accounts/login/")),
    Shot("sign-in-for-an-application", "", to_application("wiki"), in_docs=True),
    Shot("sign-in-wrong-password", "", wrong_password),
    Shot("sign-in-too-many-attempts", "", too_many_attempts),
    Shot("form-too-old", "", stale_form),
    Shot("inactive", "", at("/accounts/inactive/")),
    Shot("not-found", "", at("/no-such-page")),
    Shot("broken-link", "", at("/continue?state=x")),
    Shot("first-administrator-too-late", "", at("/first-administrator/x")),
    Shot("no-cookies", "", lambda page, site: page.goto(site.no_cookies)),
    Shot("launcher", "alice", at("/"), in_docs=True),
    Shot("launcher-searched", "alice", searching),
    Shot("launcher-empty", "erin", at("/")),
    Shot("account", "alice", at("/accounts/")),
    Shot("profile", "alice", at("/accounts/profile/")),
    Shot("addresses", "alice", confirmed("/accounts/addresses/")),
    Shot("sessions", "alice", at("/accounts/sessions/")),
    Shot("events", "alice", at("/accounts/events/")),
    Shot("tokens", "alice", confirmed("/accounts/tokens/")),
    Shot("token-new", "alice", confirmed("/accounts/tokens/new/")),
    Shot("token-shown-once", "alice", new_token),
    Shot("providers", "alice", confirmed("/accounts/providers/")),
    Shot("second-factors", "alice", confirmed("/accounts/second-factor/")),
    Shot("second-factor-app", "alice", confirmed("/accounts/second-factor/app/")),
    Shot("password-reset", "", at("/accounts/password/reset/")),
    Shot("invitation-over", "", at("/invitation/x/")),
    Shot("password-change", "alice", at("/accounts/password/change/")),
    Shot("confirm", "alice", at("/accounts/reauthenticate/")),
    Shot("switch-account", "alice", at("/switch-account")),
    Shot("sign-out", "alice", at("/accounts/logout/")),
    Shot("refused", "bob", to_application("ops")),
    Shot("framed", "", framed),
    Shot("not-staff", "bob", at("/admin/")),
    Shot("signed-out", "bob", signing_out),
    Shot("admin", "carol", at("/admin/"), in_docs=True),
    Shot("admin-application", "carol", of_row("authgate/application", "application")),
    Shot("admin-application-new", "carol", at("/admin/authgate/application/add/")),
    Shot("admin-user", "carol", of_row("accounts/user", "user")),
    Shot("admin-sign-in", "carol", of_row("authgate/signin", "sign-in")),
    Shot("admin-group", "carol", of_row("accounts/group", "group")),
    Shot("admin-provider", "carol", of_row("accounts/upstream", "provider")),
    Shot("admin-provider-tested", "carol", tested_provider),
    Shot("admin-invitation", "carol", at("/admin/accounts/invitation/add/")),
    Shot("admin-brand", "carol", at("/admin/accounts/brand/1/change/")),
)

LISTS = tuple(
    Shot(f"admin-{name}", "carol", at(f"/admin/{path}/"))
    for name, path in (
        ("applications", "authgate/application"),
        ("users", "accounts/user"),
        ("groups", "accounts/group"),
        ("sign-ins", "authgate/signin"),
        ("gate-sessions", "authgate/gatesession"),
        ("events", "authgate/auditevent"),
        ("mistakes", "authgate/configurationevent"),
        ("providers", "accounts/upstream"),
        ("identities", "accounts/identity"),
        ("tokens", "accounts/apitoken"),
        ("invitations", "accounts/invitation"),
    )
)
"""The admin's lists, taken once a whole company is in the database."""


def main() -> int:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as var, running_demo(Path(var)) as facts:
        site = furnish(Path(var), facts)
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or sys.exit("chromium is missing: apt install chromium")
            arguments = [f"--host-resolver-rules=MAP *.localhost {site.connect.partition(':')[0]}"]
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *arguments]
            )
            for view in VIEWS:
                forget_attempts()
                take_all(browser, view, site, SHOTS)
            settle_a_company()
            for view in (*VIEWS, WIDE):
                take_all(browser, view, site, LISTS)
            browser.close()
    print(f"{len(list(FOLDER.glob('*.png')))} pictures are in {FOLDER}.")
    if "--docs" in sys.argv:
        copy_into_docs()
    return 0


@contextmanager
def running_demo(var: Path) -> Iterator[dict[str, Any]]:
    """Run a demo for as long as the block lasts, and yield its notes."""
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


def furnish(var: Path, facts: dict[str, Any]) -> Site:
    """Add users, groups and applications to the demo, so that pages are as full as in real life."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "ikd_portal.settings",
        "IKD_VAR": str(var),
        "IKD_PORTAL_URL": facts["portal"],
        "DJANGO_ALLOW_ASYNC_UNSAFE": "true",  # Playwright runs an event loop in this thread
    }
    import django

    django.setup()
    from django.contrib.auth.models import Group
    from django.db import connection, transaction
    from django.utils import timezone

    from accounts.models import Upstream, User
    from authgate.models import Application, ConfigurationEvent, Favourite, Origin, Rule

    with transaction.atomic():
        everyone = Group.objects.create(name="company")
        people = {user.username: user for user in User.objects.all()}
        people["alice"].groups.add(everyone)
        people["carol"].groups.add(everyone)
        erin = User(username="erin", display_name="Erin Brook")
        erin.set_password(facts["users"]["bob"])
        erin.save()
        for name, description, category, colour in FURNITURE:
            made = Application.objects.create(name=name, description=description, category=category)
            Origin.objects.create(application=made, value=f"https://{name.lower()}.example.com")
            Rule.objects.create(application=made, path="/").groups.add(everyone)
            if colour:
                give_icon(made, colour)
        Application.objects.create(name="Archive", description="Old documents.")
        # So that a user has no application: the demo's rule admits any signed-in user.
        company_only = Rule.objects.filter(application__name__in=("App", "Wiki"), path="/")
        for rule in company_only:
            rule.groups.set([everyone, *Group.objects.filter(name__in=("guests", "staff"))])
        company_only.update(who=Rule.Who.CHOSEN)
        for name in ("Calendar", "Wiki"):
            Favourite.objects.create(user=people["alice"], application=Application.objects.get(name=name))
        provider = Upstream.objects.create(
            kind=Upstream.Kind.OIDC,
            name="Keycloak",
            slug="keycloak",
            issuer="https://id.example.com/realms/company",
            client_id="portal",
        )
        now = timezone.now()
        ConfigurationEvent.objects.create(
            contract="nginx",
            origin="https://reports.example.com",
            reason="unknown origin",
            count=42,
            first_at=now,
            last_at=now,
        )
    site = Site(
        facts["portal"],
        {name: each["url"] for name, each in facts["applications"].items()},
        {**facts["users"], "erin": facts["users"]["bob"]},
        facts["connect"],
        facts["portal"] + link_without_cookies(facts["applications"]["wiki"]["url"]),
        {
            "application": Application.objects.get(name="Wiki").pk,
            "user": people["alice"].pk,
            "sign-in": 1,
            "group": everyone.pk,
            "provider": provider.pk,
        },
    )
    connection.close()
    return site


def forget_attempts() -> None:
    """Reset the limits on passwords: every view shows wrong ones and ends with a right one."""
    from django.core.cache import cache
    from django.db import connection

    cache.clear()
    connection.close()


def settle_a_company() -> None:
    from django.db import connection

    from demo import crowd

    crowd.settle()
    connection.close()


def give_icon(application: Any, colour: str) -> None:
    from authgate.models import Icon

    drawn, content = Image.new("RGBA", (96, 96)), io.BytesIO()
    from PIL import ImageDraw

    pen = ImageDraw.Draw(drawn)
    pen.rounded_rectangle((0, 0, 95, 95), 22, fill=colour)
    pen.rounded_rectangle((24, 28, 71, 36), 4, fill="#ffffff")
    pen.rounded_rectangle((24, 44, 71, 52), 4, fill="#ffffffcc")
    pen.rounded_rectangle((24, 60, 55, 68), 4, fill="#ffffff99")
    drawn.save(content, "WEBP")
    Icon.objects.create(application=application, content=content.getvalue())


def link_without_cookies(origin: str) -> str:
    """Return the address of a browser that was redirected too often without a cookie."""
    from authgate.check.state import State, seal
    from authgate.handover import ROUNDS_LIMIT
    from authgate.worker.loader import gate_settings

    state = State(origin, "/", "0" * 32, "", int(time.time()), ROUNDS_LIMIT)
    return f"/continue?state={seal(state, gate_settings().state_keys[0])}"


def take_all(browser: Browser, view: View, site: Site, shots: Iterable[Shot]) -> None:
    pages: dict[str, Page] = {}
    for shot in shots:
        page = pages.get(shot.who) if shot.who else None
        if page is None:
            context = browser.new_context(
                color_scheme=view.scheme,
                locale=view.locale,
                viewport={"width": view.width, "height": view.height},
            )
            page = pages[shot.who] = context.new_page()
            if shot.who:
                page.goto(f"{site.portal}/accounts/login/")
                fill_in(page, shot.who, site.passwords[shot.who])
        shot.come(page, site)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=FOLDER / f"{shot.name}-{view.name}.png", full_page=True)
        if shot.in_docs and view.name == "light":
            page.screenshot(path=FOLDER / f"docs-{shot.name}.png")
    for page in pages.values():
        page.context.close()


def fill_in(page: Page, username: str, password: str) -> None:
    page.locator("input[name=login]").fill(username)
    page.locator("input[name=password]").fill(password)
    page.locator("main form:has(input[name=password]) button[type=submit]").first.click()


def copy_into_docs() -> None:
    """Keep the README's pictures small: 128 colours are enough for flat pages."""
    DOCS.mkdir(parents=True, exist_ok=True)
    for shot in SHOTS:
        if shot.in_docs:
            with Image.open(FOLDER / f"docs-{shot.name}.png") as picture:
                picture.convert("RGB").quantize(128).save(DOCS / f"{shot.name}.png", optimize=True)


if __name__ == "__main__":
    sys.exit(main())
