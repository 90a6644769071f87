"""Fuzzing for a limited time: each file of the corpus first, and then random changes of it.

A failure is a 2xx without a session, an exception, or two readings of the same bytes. It prints the bytes.
Fix the fault, and put them into corpus/<subject>/. `IKD_FUZZ_SECONDS=600` runs for longer, and
`IKD_FUZZ_SEED` repeats a run.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.fuzzing.mutation import mutated
from tests.fuzzing.subjects import SUBJECTS, digest

CORPUS = Path(__file__).parent / "corpus"
SECONDS = float(os.environ.get("IKD_FUZZ_SECONDS", "22"))
"""Seconds for all subjects together."""

SEED = os.environ.get("IKD_FUZZ_SEED") or os.urandom(4).hex()


def seeds_of(subject: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / subject).iterdir())]


def fed(subject: str, data: bytes) -> None:
    try:
        SUBJECTS[subject](data)
    except Exception as error:
        shown = data if len(data) < 2_000 else data[:1_000] + b" ... " + data[-500:]
        error.add_note(f"{subject} {digest(data)}, IKD_FUZZ_SEED={SEED}: {shown!r}")
        raise


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_corpus_finds_no_fault(subject: str) -> None:
    seeds = seeds_of(subject)

    assert len(seeds) >= 2
    for data in seeds:
        fed(subject, data)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_random_bytes_find_no_fault(subject: str) -> None:
    source, seeds = random.Random(f"{SEED} {subject}"), seeds_of(subject)
    until, count = time.monotonic() + SECONDS / len(SUBJECTS), 0
    while time.monotonic() < until:
        fed(subject, mutated(source, seeds))
        count += 1

    assert count > 50


def test_a_fault_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(data: bytes) -> None:
        assert b"%2e" not in data

    monkeypatch.setitem(SUBJECTS, "target", faulty)

    source, seeds = random.Random("a seed"), seeds_of("redirect")
    with pytest.raises(AssertionError):
        for _ in range(20_000):
            fed("target", mutated(source, seeds))
