"""An origin that moves between applications never belongs to a wildcard in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from authgate.decision.rules import Application, Rule, Who
from authgate.worker import loader
from authgate.worker.memory import WorkerMemory
from authgate.worker.rule_compiler import application_of

SITE = "https://site.example.com"
WILD = "https://*.example.com"


def application(id: int, who: Who) -> Application:
    return application_of(id=id, name=f"Application {id}", rules=[("/", False, Rule(id=id, who=who))])


class Watched(dict[str, Any]):
    """A dictionary that calls a function after each change."""

    when_changed: Callable[[], None] = staticmethod(lambda: None)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.when_changed()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.when_changed()


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["loser first", "winner first"])
def test_a_moving_origin_never_falls_under_a_wildcard(order: tuple[int, int]) -> None:
    memory = WorkerMemory(loader.gate_settings(), clock=lambda: 0.0)
    watched = Watched()
    memory.applications = watched
    loser, winner = application(1, Who.SIGNED_IN), application(2, Who.SIGNED_IN)
    memory.hold_applications([(loser, (SITE,)), (winner, ()), (application(3, Who.EVERYONE), (WILD,))])
    seen: list[int] = []
    watched.when_changed = lambda: seen.append(memory.application(SITE).id)  # type: ignore[method-assign, union-attr]

    moved = {1: (loser, ()), 2: (winner, (SITE,))}
    memory.hold_applications([moved[id] for id in order])

    assert seen and 3 not in seen
    assert memory.application(SITE) is winner
