"""Tallies of answers: each answer is counted once, even if the counts are collected meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from authgate.check.tally import ALLOWED, NOBODY, REFUSED
from authgate.decision.rules import ALLOW, REFUSE, Decision
from authgate.worker.feed import Feed
from authgate.worker.tallies import OTHER, Tallies
from authgate.worker.usage import tallies as of_the_process
from tests.front.serving import check_bytes
from tests.front.test_heads import API, COOKIE, Connection, fill, wiki, worker  # noqa: F401

ADMITTED = Decision(ALLOW, "admitted", 4)


@pytest.fixture
def counting(worker: Feed) -> Feed:  # noqa: F811
    worker.memory.tallies = of_the_process
    return worker


def ask_all(connection: Connection, *asked: bytes) -> None:
    for octets in asked:
        connection.ask(octets)


def test_each_kind_of_answer_is_counted_on_the_warm_path(counting: Feed) -> None:
    connection = Connection()
    known, post = check_bytes(COOKIE), check_bytes(COOKIE, X_Forwarded_Method="POST")
    read, wrong = check_bytes(COOKIE, path="/read/a"), check_bytes(COOKIE, path="/Capital/a")
    stranger, public = check_bytes(path="/a"), check_bytes(path="/public/a.css")
    ask_all(connection, *[known] * 20, *[post, known] * 5, *[read, known] * 5, *[wrong] * 3)
    ask_all(connection, *[stranger] * 4, *[public] * 6, *[check_bytes(**API)] * 7)

    assert of_the_process.collect() == {
        (1, 1, 1, "GET", "allowed"): 37,
        (1, 1, 1, "POST", "allowed"): 5,
        (1, 1, 4, "GET", "allowed"): 5,
        (1, 1, 3, "GET", "refused"): 3,
        (1, NOBODY, 1, "GET", "asked"): 4,
        (1, NOBODY, 2, "GET", "allowed"): 6,
    }
    connection.close()


def test_counting_continues_after_collections_without_a_check(counting: Feed) -> None:
    connection, known = Connection(), check_bytes(COOKIE)
    for _ in range(3):
        ask_all(connection, known, known)
        assert of_the_process.collect() == {(1, 1, 1, "GET", "allowed"): 2}
        assert of_the_process.collect() == {}
        assert of_the_process.collect() == {}
    assert len(of_the_process) == 0
    connection.close()


def test_a_recompiled_rule_keeps_its_count(counting: Feed) -> None:
    connection, known = Connection(), check_bytes(COOKIE)
    ask_all(connection, known, known)
    fill(counting.memory)
    ask_all(connection, known)

    assert of_the_process.collect() == {(1, 1, 1, "GET", "allowed"): 3}
    connection.close()


def test_a_wrong_credential_is_a_refusal_without_a_user(counting: Feed) -> None:
    counting.memory.session = lambda key, now: None  # type: ignore[method-assign]
    connection = Connection()
    ask_all(connection, check_bytes(**API))

    assert of_the_process.collect() == {(1, NOBODY, 0, "GET", "refused"): 1}
    connection.close()


@pytest.mark.parametrize(("method", "counted"), [("MKCOL", OTHER), ("get", OTHER), ("", ""), (None, "")])
def test_unusual_methods_are_counted_together(method: str | None, counted: str) -> None:
    tallies = Tallies()

    tallies.once(1, NOBODY, Decision(REFUSE, "x"), method, REFUSED).count += 1
    tallies.kept(1, 2, ADMITTED, method).count += 1

    assert {key[3] for key in tallies.collect()} == {counted}


def test_strangers_create_few_tallies_whatever_they_send() -> None:
    tallies = Tallies()

    for number in range(1_000):
        tallies.once(1, NOBODY, Decision(REFUSE, f"{number}"), f"M{number}", REFUSED).count += 1

    assert len(tallies) == 1
    assert tallies.collect().total() == 1_000


def test_no_count_is_lost_while_another_thread_collects() -> None:
    tallies, answer, found, is_over = Tallies(), _Answer(), Counter[Any](), threading.Event()

    def collect() -> None:
        while not is_over.is_set():
            found.update(tallies.collect())

    collector = threading.Thread(target=collect)
    collector.start()
    for number in range(200_000):
        if number % 50 == 0 or answer.tally.decision is not ADMITTED:
            answer.tally = tallies.kept(1, number % 7, ADMITTED, "GET")
        answer.tally.count += 1
    is_over.set()
    collector.join()
    found.update(tallies.collect())

    assert sum(found.values()) == 200_000
    assert {key[4] for key in found} == {ALLOWED}


class _Answer:
    """The part of a kept answer that its tally needs."""

    def __init__(self) -> None:
        self.tally = Tallies().kept(1, 1, Decision(ALLOW, "other"), "GET")
