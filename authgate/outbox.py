"""Log lines and mails about a change, held back until it is known whether the change stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Act = Callable[[], object]

_held: ContextVar[list[Act] | None] = ContextVar("held", default=None)


def send(act: Act) -> None:
    """Call a function now, or hold it back inside `hold`."""
    held = _held.get()
    if held is None:
        act()
    else:
        held.append(act)


@contextmanager
def hold() -> Iterator[list[Act]]:
    """Hold back what is sent inside, and yield it as a list. The caller releases or drops it."""
    held: list[Act] = []
    token = _held.set(held)
    try:
        yield held
    finally:
        _held.reset(token)


def release(held: list[Act]) -> None:
    """Send what `hold` held back, in order. Inside another `hold`, that one holds it back."""
    for act in held:
        send(act)
