"""The formats of log lines: limited in length, without secrets, and escaped so that no text forges a line."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from authgate.logs.masking import masked
from authgate.logs.request_ids import current_request

LONGEST_MESSAGE, LONGEST_VALUE, LONGEST_EXCEPTION = 2_000, 500, 16_000
"""Characters, at most."""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a log line: limited in length and without secrets, but not escaped yet."""
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": masked(_shortened(message_of(record), LONGEST_MESSAGE)),
        "process": record.process,
    }
    ids = {"request": current_request.get(), "decision": getattr(record, "decision", "")}
    fields |= {name: value for name, value in ids.items() if value}
    fields |= getattr(record, "repetitions", {})
    if event := getattr(record, "event", None):
        fields["event"] = _presentable(event)
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = _shortened("".join(_explained(record.exc_info[1])), LONGEST_EXCEPTION)
    return fields


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = json.dumps(fields_of(record), ensure_ascii=True, default=str)
        return line.replace("\x7f", "\\u007f")


class TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = fields_of(record)
        begin = f"{fields.pop('time')} {fields.pop('level').upper()} {fields.pop('logger')}: "
        message, exception = fields.pop("message"), fields.pop("exception", "")
        fields.pop("process")
        event = fields.pop("event", {})
        said = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in (event | fields).items()]
        lines = [begin + printable(" ".join([message, *said]))]
        # Only the first line begins at the margin, so an exception's text cannot imitate another log line.
        lines += [
            f"    | {printable(line)}" for line in re.split(r"[\r\n]+", exception.rstrip()) if exception
        ]
        return "\n".join(lines)


def printable(text: str) -> str:
    """Return the text with all characters escaped that a terminal would execute or hide."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # the arguments do not fit the template, and may contain secrets
        return str(record.msg)


def _presentable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_shortened(str(key), 100): _presentable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_presentable(each) for each in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return masked(_shortened(str(value), LONGEST_VALUE))


def _shortened(text: str, length: int) -> str:
    """Return the text. If it is too long, return only its beginning and end."""
    if len(text) <= length:
        return text
    return f"{text[: length // 4]} … {text[-(length - length // 4) :]}"


def _explained(error: BaseException) -> Iterator[str]:
    """Yield the tracebacks of an exception and of its causes. They contain no values of variables."""
    if isinstance(error, BaseExceptionGroup):
        yield masked("".join(traceback.format_exception(error)))
        return
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain and len(chain) < 5:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    for each in reversed(chain):
        if each.__traceback__ is not None:
            yield "Traceback (most recent call last):\n"
            yield from traceback.format_tb(each.__traceback__, limit=-60)
        yield masked(_shortened("".join(traceback.format_exception_only(each)), LONGEST_MESSAGE))
        if each is not error:
            yield "\nThen, because of this or while it was handled:\n\n"


def cause_of(error: BaseException) -> str:
    """Return a description of an exception in one line."""
    said = masked(_shortened(" ".join(str(error).split()), LONGEST_VALUE))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
