"""A check enters each of its files once or twice, so that readers can follow it from top to bottom."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from authgate import cookies
from authgate.check import pipeline
from authgate.check.memory import Session
from authgate.check.pipeline import check
from authgate.check.request import Facts
from authgate.decision import evaluation
from authgate.decision.rules import Rule, Subject, Who
from authgate.worker import loader
from authgate.worker.memory import WorkerMemory
from authgate.worker.rule_compiler import application_of
from tests.authgate.asking import NAVIGATION, WIKI, Headers, facts

FOLDER = Path(pipeline.__file__).parent
FILES = frozenset(
    (*FOLDER.glob("*.py"), *Path(evaluation.__file__).parent.glob("*.py"), Path(cookies.__file__))
)
VALUES = frozenset(("context", "target", "memory", "request"))
"""Files that define the values of the steps. The other files are steps."""

COOKIE = "__Host-ikd_gate=" + "t" * 43
OWN: Headers = [(b"authorization", b"Basic eDp5")]
WALKS = {
    "signed in": facts(f"{WIKI}/a", cookie=COOKIE, check="/authgate/nginx"),
    "own Authorization": facts(f"{WIKI}/a", OWN, cookie=COOKIE),
    "public": facts(f"{WIKI}/public/a"),
    "not signed in": facts(f"{WIKI}/a", NAVIGATION),
    "refused": facts(f"{WIKI}/closed", cookie=COOKIE, check="/authgate/nginx"),
    "refused with a page": facts(f"{WIKI}/closed", NAVIGATION, cookie=COOKIE),
    "a wrong credential": facts(f"{WIKI}/a", [(b"authorization", b"Bearer ikd_x")]),
    "a mistake in the query": facts(f"{WIKI}/a", query="x=1"),
}


def memory() -> WorkerMemory:
    known = WorkerMemory(loader.gate_settings(), clock=lambda: 0.0)
    rules = [("/", Who.SIGNED_IN), ("/public", Who.EVERYONE), ("/closed", Who.CHOSEN)]
    compiled = [(path, False, Rule(number, who)) for number, (path, who) in enumerate(rules)]
    known.hold_applications([(application_of(id=1, name="Wiki", rules=compiled), (WIKI,))])
    known.issuers = frozenset()
    alice = Subject(1, "uuid", "alice")
    known.hold(hashlib.sha256(b"t" * 43).digest(), Session(WIKI, 1, alice, 2e10, 2e10), known.generation)
    return known


@pytest.mark.parametrize("asked", WALKS.values(), ids=WALKS)
def test_each_step_is_entered_once_or_twice(asked: Facts) -> None:
    known = memory()
    check(asked, known)  # creates the answer that is cached with the session
    entered: list[str] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path in FILES and path.stem not in VALUES:
            entered.append(path.stem)

    sys.setprofile(note)
    try:
        check(asked, known)
    finally:
        sys.setprofile(None)
    stays = Counter(name for name, _ in groupby(entered))

    assert stays["pipeline"] >= 1
    assert max(stays.values()) <= 2, stays
