"""Threads that open their database connections in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from ikd_portal.postgresql import turns


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(turns, "_lock", None)
    turns.take_turns()
    yield


def most_at_once(threads: int) -> int:
    """Return how many threads connected at once."""
    connecting, most, lock = 0, 0, threading.Lock()

    def connect() -> None:
        nonlocal connecting, most
        with turns.turn():
            with lock:
                connecting += 1
                most = max(most, connecting)
            time.sleep(0.01)
            with lock:
                connecting -= 1

    started = [threading.Thread(target=connect) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return most


def test_one_thread_connects_at_a_time(in_turn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MAX_WAIT", 60)

    assert most_at_once(8) == 1


def test_threads_outside_the_queue_connect_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_lock", None)

    assert most_at_once(8) > 1


def test_a_thread_gives_up_its_turn_if_another_one_hangs(
    in_turn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MAX_WAIT", 0.01)

    with turns.turn():
        assert most_at_once(2) >= 1

    assert most_at_once(1) == 1
