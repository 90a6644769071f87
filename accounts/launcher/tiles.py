"""The launcher's tiles: one for each application that the user may open."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from django.db.models import Exists, F, OuterRef

from authgate import models
from authgate.decision.evaluation import decide
from authgate.decision.rules import Rule, Subject, Verdict, Who, without_maintenance
from authgate.decision.target import BadTarget, Target, origin_of, uri_from
from authgate.worker import loader

if TYPE_CHECKING:
    from accounts.models import User


@dataclass(frozen=True, slots=True)
class Tile:
    id: int
    name: str
    description: str
    url: str
    host: str
    category: str
    icon: str
    """The key of its icon, or "" without one."""
    favourite: bool
    is_under_maintenance: bool = False
    """Whether the application is closed to this user until its maintenance is over."""

    @property
    def hue(self) -> int:
        """Return the number of a background for a tile without an icon. The style sheet has six."""
        return sum(self.name.encode()) % 6


@dataclass(frozen=True, slots=True)
class Shelf:
    """Tiles under one heading: the favourites, or a category. The category may be ""."""

    category: str
    tiles: list[Tile]
    favourites: bool = False


def applications_for(user: User, client: str = "") -> list[Tile]:
    """Return a tile for each start page that `user` may open from the address `client`. Seven queries."""
    subject, now = loader.subject_of(user), time.time()
    compiled = {application.id: application for application in loader.load_applications()}
    chosen = models.Favourite.objects.filter(user=user, application=OuterRef("pk"))
    rows = (
        models.Application.objects.filter(in_launcher=True, enabled=True)
        .annotate(icon_key=F("icon__key"), is_favourite=Exists(chosen))
        .prefetch_related("origins")
    )
    tiles = []
    for row in rows:
        target = _start_page(row, client)
        if target is None or row.pk not in compiled:
            continue
        application = compiled[row.pk]
        verdict = decide(without_maintenance(application), target, subject, now).verdict
        if verdict in (Verdict.ALLOW, Verdict.STEP_UP):
            host = target.origin.partition("://")[2]
            shown = (row.name, row.description, target.url, host, row.category)
            closed = application.maintenance is not None and not application.maintenance.exempts(subject)
            tiles.append(Tile(row.pk, *shown, row.icon_key or "", row.is_favourite, closed))
    return tiles


def applications_open_to(user: User) -> set[int]:
    """Return the ids of applications with a rule for `user`, for any path, method or network."""
    subject, now = loader.subject_of(user), time.time()
    return {
        application.id
        for application in loader.load_applications()
        if application.enabled
        and any(_is_for(rule, subject, now) for scope in application.scopes.values() for rule in scope.rules)
    }


def _is_for(rule: Rule, subject: Subject, now: float) -> bool:
    """Return whether the rule admits a user if method, network and other conditions are right."""
    if not rule.readable or (rule.expires_at is not None and now >= rule.expires_at):
        return False
    is_chosen = subject.user_id in rule.users or not rule.groups.isdisjoint(subject.group_ids)
    return rule.who is not Who.CHOSEN or is_chosen


def shelves_of(tiles: list[Tile]) -> list[Shelf]:
    """Return the tiles in the launcher's order: favourites, categories, then tiles without a category."""
    favourites = [tile for tile in tiles if tile.favourite]
    others = [tile for tile in tiles if not tile.favourite]
    others.sort(key=lambda tile: (not tile.category, tile.category.casefold(), tile.name.casefold()))
    shelves = [Shelf("", favourites, favourites=True)] if favourites else []
    for _, shelf in groupby(others, key=lambda tile: tile.category.casefold()):
        tiles_there = list(shelf)
        shelves.append(Shelf(tiles_there[0].category, tiles_there))
    return shelves


def set_favourite(user: User, application: int, wanted: bool) -> None:
    """Add an application to a user's favourites, or remove it. A repeated call changes nothing."""
    if wanted:
        models.Favourite.objects.get_or_create(user=user, application_id=application)
    else:
        models.Favourite.objects.filter(user=user, application_id=application).delete()


def _start_page(application: models.Application, client: str) -> Target | None:
    """Return the page that opens an application, or None if all its origins are wildcards."""
    if application.launch_url:
        scheme, _, rest = application.launch_url.partition("://")
        authority, _, path = rest.partition("/")
        try:
            return Target(origin_of(f"{scheme}://{authority}"), "GET", uri_from(f"/{path}".encode()), client)
        except BadTarget:
            return None
    for origin in application.origins.all():
        if "*" not in origin.value:
            return Target(origin.value, "GET", "/", client)
    return None
