"""The outbox: log lines and mails about a change wait in it until the change is final."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Act = Callable[[], object]

_held: ContextVar[list[Act] | None] = ContextVar("held", default=None)


def send(act: Act) -> None:
    """Call a function now; inside `hold`, hold it back."""
    held = _held.get()
    if held is None:
        act()
    else:
        held.append(act)


@contextmanager
def hold() -> Iterator[list[Act]]:
    """Hold back all calls inside the `with` block, and yield their list. The caller releases or drops it."""
    held: list[Act] = []
    token = _held.set(held)
    try:
        yield held
    finally:
        _held.reset(token)


def release(held: list[Act]) -> None:
    """Make the calls that `hold` held back, in order. Inside another `hold`, that one holds them back."""
    for act in held:
        send(act)
