"""Counts of checks by contract, answer and reason, and the time that their answers take."""

from __future__ import annotations

import time

from authgate import counters
from authgate.check.contracts import Contract
from authgate.check.request import Facts
from authgate.check.responses import Answer
from authgate.worker import access_log
from authgate.worker.answer_classes import class_of
from authgate.worker.head_cache import Head

ONE_IN = 64
"""Of the checks answered from a known head, one in ONE_IN is measured, and counts ONE_IN times."""

PROTOCOL, WAITED, VIEW = "protocol", "waited", "view"
"""How a check was answered: at once, after it waited for the database with others, or by Django."""


def cell_of(contract: str, found: Answer) -> list[float]:
    """Return the counter's cell for checks of a contract with such an answer."""
    return counters.checks.cell(contract, *class_of(found))


def count(contract: Contract, facts: Facts, found: Answer, way: str, began: float) -> None:
    """Count a check that began at `began` (Unix time) and is answered now, and measure its time."""
    now = time.time()
    counters.checks.add(contract.name, *class_of(found))
    counters.check_seconds.observe(now - began, way)
    access_log.note_check(contract, facts, found, began, now)


def measure_known(head: Head, uri: bytes, found: Answer, began: float) -> None:
    """Measure one of ONE_IN checks that were answered from a known head."""
    now = time.time()
    counters.check_seconds.observe(now - began, PROTOCOL, ONE_IN)
    access_log.note_known_check(head, uri, found, began, now)
