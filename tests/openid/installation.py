"""A real portal as the provider of other projects' clients. Users sign in at the clients with a browser."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.cache import caches
from playwright.sync_api import Page, expect

from accounts.models import User
from openid.models import Token
from tests.factories import PASSWORD, ApplicationFactory, UserFactory
from tests.front.serving import Database
from tests.openid.relying_party import RelyingParty, register
from tests.own_database import url_in
from tests.proxies.portal import Portal, start_portal

PATIENCE = 60_000
"""Milliseconds to wait in a browser. Hashing a password takes long on a busy machine."""


@dataclass
class Provider:
    """A running portal. Models can use its database inside `rows` only."""

    portal: Portal
    folder: Path
    host: str = "localhost"

    @classmethod
    def start(cls, folder: Path, host: str = "localhost") -> Provider:
        portal = start_portal(folder, scheme="http", without_proxy=True, own_host=host)
        return cls(portal, folder, host)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.portal.bind.rpartition(':')[2]}"

    @contextmanager
    def rows(self) -> Iterator[None]:
        """Make models read and write the portal's database."""
        with Database(url_in(self.folder)).connected():
            for cache in caches.all():
                cache.clear()
            yield

    def stop(self) -> None:
        self.portal.server.stop()


def register_client(name: str, **fields: Any) -> RelyingParty:
    """Add an application for the group staff over plain http, and its client."""
    application = ApplicationFactory(
        name=f"{name} {uuid.uuid4().hex[:6]}", groups=["staff"], without_https=True
    )
    return register(application, **{"allow_private": True, **fields})


def new_user(*groups: str) -> User:
    """Add a new user that no other test uses."""
    name = f"robin{uuid.uuid4().hex[:8]}"
    person: User = UserFactory(username=name, email=f"{name}@example.com", verified=True, groups=list(groups))
    # The portal hashes it: it refuses the cheap hash of the tests' own process.
    person.password = User.objects.get(username="alice").password
    person.save(update_fields=["password"])
    return person


def sign_in(page: Page, person: User) -> None:
    """Fill in the portal's form, to which the browser was sent."""
    page.fill("[name=login]", person.username)
    page.fill("[name=password]", PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_load_state()


def ask_at_once(page: Page, count: int = 8) -> list[int]:
    """Let the page send requests to its own site at once, and return their statuses."""
    statuses: list[int] = page.evaluate(
        "count => Promise.all([...Array(count)].map((_, n) => fetch(`/data?${n}`, {redirect: 'manual'})"
        ".then(answer => answer.status)))",
        count,
    )
    return statuses


def have_raced(person: User) -> bool:
    """Return whether two requests of a client refreshed with one token of a user."""
    refreshed = Token.objects.filter(kind=Token.Kind.REFRESH, grant__sign_in__user=person)
    counts = Counter(refreshed.values_list("grant", "sequence"))
    return max(counts.values(), default=0) > 1


def sign_out_at(provider: Provider, page: Page) -> None:
    """Sign out on the portal's own page, in another tab."""
    tab = page.context.new_page()
    tab.goto(f"{provider.url}/accounts/logout/")
    tab.get_by_role("button", name="Sign out").click()
    expect(tab.locator("h1")).to_have_text("You are signed out")
    tab.close()
