"""Notes about the doctor's requests that arrive at the portal. The answer is always a refusal.

A token is valid only while its run waits for it. The notes are in the cache of one-time codes, which all
processes share. They stay for a minute at most.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from django.core.cache import caches

from authgate.check.request import Facts, RequestHeaders
from authgate.check.responses import NO_STORE, Answer
from authgate.doctor.tokens import token_in

LASTS = 60
"""Seconds for which a token is valid and an arrival is kept."""

MOST = 6
"""Arrivals of one token that are noted, at most: a check, and the pages that a proxy shows after it."""

LARGEST = 16_384
"""Bytes of headers that are noted for one arrival, at most."""

CHECK = "check"
"""The `place` of an arrival that was a check. Other places are names of endpoints."""

REFUSAL = b"This request was a test by the administrator.\n"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request of the doctor as the portal received it."""

    place: str
    facts: Facts


def expect(token: str, run: str) -> None:
    """Make a token valid for one run, for LASTS seconds."""
    caches["codes"].set(_key(token), {"run": run}, LASTS)


def forget(token: str) -> None:
    """Make a token invalid, and delete its notes."""
    caches["codes"].delete_many([_key(token), *_places(token)])


def refuse_probe(place: str, facts: Facts, keys: tuple[bytes, ...]) -> Answer | None:
    """Note a request of the doctor and return its refusal, or None for every other request."""
    token = token_in(facts.headers.values, keys)
    if token is None or caches["codes"].get(_key(token)) is None:
        return None
    note = _as_note(place, facts)
    for key in _places(token):
        if caches["codes"].add(key, note, LASTS):
            break
    headers = ((b"content-type", b"text/plain; charset=utf-8"), *NO_STORE)
    return Answer(403, headers, REFUSAL)


def arrivals_of(token: str) -> list[Arrival]:
    """Return the arrivals of a token in their order."""
    found = caches["codes"].get_many(list(_places(token)))
    return [_from_note(found[key]) for key in _places(token) if key in found]


def _as_note(place: str, facts: Facts) -> dict[str, Any]:
    headers, size = [], 0
    for name, value in facts.headers.values.items():
        size += len(name) + len(value)
        if size > LARGEST:
            break
        headers.append([name.decode("latin-1"), value.decode("latin-1"), name in facts.headers.doubled])
    return {
        "place": place,
        "path": facts.path,
        "query": facts.query,
        "headers": headers,
        "peer": facts.peer,
        "now": facts.now,
        "method": facts.method,
        "sent": None if facts.sent_target is None else facts.sent_target.decode("latin-1"),
    }


def _from_note(note: dict[str, Any]) -> Arrival:
    values = {name.encode("latin-1"): value.encode("latin-1") for name, value, _ in note["headers"]}
    doubled = frozenset(name.encode("latin-1") for name, _, twice in note["headers"] if twice)
    facts = Facts(
        note["path"],
        note["query"],
        RequestHeaders(values, doubled),
        note["peer"],
        note["now"],
        note["method"],
        None if note["sent"] is None else note["sent"].encode("latin-1"),
    )
    return Arrival(note["place"], facts)


def _key(token: str) -> str:
    return hashlib.sha256(f"doctor:{token}".encode()).hexdigest()


def _places(token: str) -> list[str]:
    return [f"{_key(token)}:{number}" for number in range(MOST)]
