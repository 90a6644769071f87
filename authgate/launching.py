"""What the launcher shows: the applications that one may open, and nothing of the others."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authgate import loading, models
from authgate.decision import Verdict, decide
from authgate.target import BadTarget, Target, origin_of, uri_from

if TYPE_CHECKING:
    from accounts.models import User


@dataclass(frozen=True, slots=True)
class Tile:
    name: str
    description: str
    url: str


def applications_for(user: User, client: str = "") -> list[Tile]:
    """Give the applications whose start page `user` may open from the address `client`. Seven queries."""
    subject, now = loading.subject_of(user), time.time()
    compiled = {application.id: application for application in loading.load_applications()}
    rows = models.Application.objects.filter(in_launcher=True, enabled=True).prefetch_related("origins")
    tiles = []
    for row in rows:
        target = _start_page(row, client)
        if target is None or row.pk not in compiled:
            continue
        if decide(compiled[row.pk], target, subject, now).verdict in (Verdict.ALLOW, Verdict.STEP_UP):
            tiles.append(Tile(row.name, row.description, target.url))
    return tiles


def applications_open_to(user: User) -> set[int]:
    """Give the ids of applications of which a rule is for `user`, whatever its path, method or network."""
    subject, now = loading.subject_of(user), time.time()
    return {
        application.id
        for application in loading.load_applications()
        if application.enabled
        and any(rule.is_for(subject, now) for scope in application.scopes.values() for rule in scope.rules)
    }


def _start_page(application: models.Application, client: str) -> Target | None:
    """Give where an application opens; None for one that has wildcards alone."""
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
