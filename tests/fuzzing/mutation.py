"""Random changes of bytes, as a fuzzer makes them. The same seed makes the same changes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

WORDS = (
    *(b"\r\n", b"\n", b"\x00", b"\t", b" ", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xef\xbc\x8f"),
    *(
        b"/",
        b"//",
        b"\\",
        b"..",
        b"/../",
        b"%",
        b"%2e",
        b"%2f",
        b"%00",
        b"%25",
        b"%c0%ae",
        b";",
        b":",
        b"@",
        b"#",
        b"?",
    ),
    *(
        b"=",
        b"&",
        b",",
        b'"',
        b"'",
        b"{",
        b"}",
        b"[",
        b"]",
        b"[" * 3_000,
        b'{"a":' * 1_500,
        b"{}",
        b"[]",
        b"null",
        b"true",
    ),
    *(b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"-Infinity", b"9" * 30, b"9" * 5_000, b"0.1"),
    *(b"none", b"HS256", b"RS256", b"ES256", b"jwk", b"crit", b"b64", b"kid", b"zip"),
    *(b"<!DOCTYPE a>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<a>", b"</a>", b"&amp;", b"&a;", b"xmlns=''"),
    *(
        b"Bearer ",
        b"Basic ",
        b"ikd_",
        b"__Host-ikd_gate=",
        b"ikdcode=",
        b"transfer-encoding: chunked",
        b"host: a",
    ),
)
LONGEST = 20_000


def mutated(source: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds after one to four changes."""
    data = source.choice(seeds)
    for _ in range(source.randint(1, 4)):
        data = source.choice(CHANGES)(source, data, seeds)[:LONGEST]
    return data


def _spot(source: random.Random, data: bytes) -> tuple[int, int]:
    start = source.randint(0, len(data))
    return start, min(len(data), start + source.choice((0, 1, 1, 2, 4, 16, 64)))


def _insert(source: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = _spot(source, data)
    return data[:start] + source.choice(WORDS) + data[end if source.random() < 0.5 else start :]


def _noise(source: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = _spot(source, data)
    return data[:start] + source.randbytes(end - start) + data[end:]


def _delete(source: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = _spot(source, data)
    return data[:start] + data[end:]


def _repeat(source: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = _spot(source, data)
    return data[:start] + data[start:end] * source.choice((2, 2, 3, 200)) + data[end:]


def _double_a_line(source: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    lines.insert(source.randint(0, len(lines)), source.choice(lines))
    return b"\n".join(lines)


def _other_case(source: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start, end = _spot(source, data)
    return data[:start] + data[start:end].swapcase() + data[end:]


def _splice(source: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = source.choice(seeds)
    return data[: source.randint(0, len(data))] + other[source.randint(0, len(other)) :]


CHANGES: tuple[Callable[[random.Random, bytes, Sequence[bytes]], bytes], ...] = (
    *(_insert, _insert, _noise, _delete, _repeat, _double_a_line, _other_case, _splice),
)
