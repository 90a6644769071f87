"""What a machine's credential stands for, asked of the database where memory does not know it."""

from __future__ import annotations

from authgate import loading
from authgate.contracts import RequestHeaders
from authgate.memory import Machine, Memory


def machine_of(key: bytes, headers: RequestHeaders, memory: Memory) -> tuple[Machine | None, bool]:
    """Give what the credential of that key stands for, and whether memory may keep that."""
    return loading.load_tokens([key[1:]]).get(key[1:]), True
