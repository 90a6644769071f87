"""The effect of a change: make the change, and compare who can open what before and after."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Q

from authgate import outbox
from authgate.effect.differences import State, compare
from authgate.effect.values import Effect
from authgate.explain.access import FEW, load_directory
from authgate.factor_policy import in_strict_group, is_factor_missing
from authgate.models import Origin
from authgate.worker import loader

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The users and applications, by id, that a change can affect. None means all."""

    users: Collection[int] | None = None
    applications: Collection[int] | None = None


EVERYTHING = Bounds()


def rehearse(change: Callable[[], Result], bounds: Bounds = EVERYTHING) -> tuple[Result, Effect]:
    """Make a change, roll it back, and return its result and its effect.

    The change runs in a transaction, or in a savepoint of the caller's transaction, that is always rolled
    back. Its log lines, its mails and its `on_commit` functions are dropped. Errors of the change are raised.
    States are compared after the rollback, because SQLite has one lock for all writers.
    """
    before = load_state(bounds)
    with outbox.hold(), transaction.atomic():
        result = change()
        after = load_state(bounds)
        transaction.set_rollback(True)
    return result, compare(before, after, time.time())


def measured(change: Callable[[], Result], bounds: Bounds = EVERYTHING) -> tuple[Result, Effect]:
    """Make a change, and return its result and its effect. It stays if the caller's transaction commits.

    States are loaded only if the change writes: a refused form writes nothing. With READ COMMITTED, the
    effect may include another transaction that commits meanwhile.
    """
    before: State | None = None

    def load_before_write(execute: Callable[..., Any], sql: Any, *arguments: Any) -> Any:
        nonlocal before
        if before is None and not (isinstance(sql, str) and _WRITES_NOTHING.match(sql)):
            before = load_state(bounds)
        return execute(sql, *arguments)

    with connection.execute_wrapper(load_before_write):
        result = change()
    if before is None:
        return result, Effect()
    return result, compare(before, load_state(bounds), time.time())


_WRITES_NOTHING = re.compile(r"\(*SELECT |SAVEPOINT |RELEASE SAVEPOINT |ROLLBACK TO SAVEPOINT ")
"""The beginnings of Django's statements that change no rows. PostgreSQL's unions are in parentheses."""


def load_state(bounds: Bounds = EVERYTHING) -> State:
    """Return the current state of access. At most nine queries."""
    origins = dict(Origin.objects.values_list("value", "application_id"))
    which = None
    if bounds.applications is not None:
        which = {*bounds.applications, *_wildcards_of(origins)}
    applications = {application.id: application for application, _origins in loader.load_compiled(which)}
    superusers, owing = _superusers_and_owing(bounds.users)
    return State(applications, origins, load_directory(bounds.users), superusers, owing)


def _superusers_and_owing(only: Collection[int] | None) -> tuple[set[int], set[int]]:
    """Return the active superusers, and the active users who need a second factor for every application."""
    users = get_user_model()._default_manager.filter(is_active=True).annotate(strict=in_strict_group("pk"))
    if only is not None and len(only) < FEW:
        users = users.filter(pk__in=only)
    found = users.filter(Q(strict=True) | Q(is_staff=True) | Q(is_superuser=True))
    rows = list(found.values_list("pk", "is_staff", "is_superuser", "strict"))
    owing = {key for key, *flags in rows if is_factor_missing(None, False, *flags)}
    return {key for key, _is_staff, is_superuser, _strict in rows if is_superuser}, owing


def _wildcards_of(origins: dict[str, int]) -> set[int]:
    """Return the applications with wildcards. They may answer at an origin that another application loses."""
    return {application for origin, application in origins.items() if "://*." in origin}
