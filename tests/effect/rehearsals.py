"""The effect of a change that is carried out and undone."""

from __future__ import annotations

from collections.abc import Callable

from authgate.effect.comparison import EVERYTHING, Bounds, rehearse
from authgate.effect.values import Effect


def effect_of(change: Callable[[], object], bounds: Bounds = EVERYTHING) -> Effect:
    _, effect = rehearse(change, bounds)
    return effect
