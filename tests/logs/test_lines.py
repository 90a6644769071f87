"""Log lines: each entry is one line with bounded length and without secrets, whatever is in it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError
from django.urls import URLPattern, URLResolver, get_resolver

from authgate.logs.configuration import configuration
from authgate.logs.handler import COUNT_EVERY, ERRORS_AT_ONCE, REMEMBERED_FOR, StandardError
from authgate.logs.lines import JsonLines, TextLines
from authgate.logs.masking import SECRET_PATHS, masked
from authgate.logs.request_ids import begin_request, current_request

ROOT = Path(__file__).resolve().parent.parent.parent
NASTY = "a\r\nb\x1b[2Kc\u2028d\u202ee\x85f\x7fg\x00h\ud800i\u200bj"


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("authgate.logs.handler.time", clock)
    monkeypatch.setattr(StandardError, "_ensure_timer", lambda self: None)
    return clock


@pytest.fixture
def handler() -> Iterator[StandardError]:
    handler = StandardError()
    handler.setFormatter(JsonLines())
    yield handler
    handler.forget()


@pytest.fixture
def log(handler: StandardError) -> Iterator[logging.Logger]:
    log = logging.getLogger("ikd.tests.lines")
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.DEBUG)
    yield log
    log.removeHandler(handler)
    log.propagate = True


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def record(message: str, *args: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("ikd.tests", logging.ERROR, "file.py", 7, message, args, None)
    made.__dict__.update(more)
    return made


def caught(error: BaseException) -> Any:
    try:
        raise error
    except BaseException:
        return sys.exc_info()


# ---- forging ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()], ids=["json", "text"])
@pytest.mark.parametrize("where", ["message", "argument", "event", "key of an event"])
def test_a_clients_text_breaks_no_line_and_controls_no_terminal(
    formatter: logging.Formatter, where: str
) -> None:
    made = {
        "message": record(NASTY),
        "argument": record("for %s", NASTY),
        "event": record("sign_in", event={"actor": NASTY, "deep": {"er": [NASTY]}}),
        "key of an event": record("sign_in", event={NASTY: "x"}),
    }[where]

    line = formatter.format(made)

    assert line.isprintable()
    assert "b" in line and "j" in line


def test_a_json_line_contains_the_original_text() -> None:
    line = JsonLines().format(record("for %s", NASTY))

    assert line.isascii()
    assert json.loads(line)["message"] == f"for {NASTY}"


def test_the_text_of_an_exception_starts_no_new_line() -> None:
    forged = "no\n2026-01-01T00:00:00.000Z INFO ikd.security: sign_in actor=carol"
    made = record("broken", exc_info=caught(ValueError(forged)))

    first, *others = TextLines().format(made).splitlines()

    assert "broken" in first
    assert others and all(line.startswith("    | ") for line in others)
    assert JsonLines().format(made).isprintable()


def test_a_line_has_time_level_logger_message_and_ids() -> None:
    begin_request()
    made = record("for %s", "x", decision="0123456789ab", event={"reason": "no rule"})
    made.created = 1_700_000_000.0125

    said = json.loads(JsonLines().format(made))

    assert said | {"process": 0} == {
        "time": "2023-11-14T22:13:20.012Z",
        "level": "error",
        "logger": "ikd.tests",
        "message": "for x",
        "process": 0,
        "request": current_request.get(),
        "decision": "0123456789ab",
        "event": {"reason": "no rule"},
    }


def test_a_huge_message_and_a_huge_traceback_are_shortened() -> None:
    def deeper(depth: int) -> None:
        if depth:
            deeper(depth - 1)
        raise ValueError("x" * 100_000)

    with pytest.raises(ValueError) as raised:
        deeper(300)
    made = record("%s", "y" * 100_000, exc_info=(ValueError, raised.value, raised.tb))

    assert len(JsonLines().format(made)) < 25_000


# ---- secrets ----------------------------------------------------------------------------------------------

RANDOM = "Zx81hPq0dF7wKLmN2tRvB5yJcGsA3eQuT9oXiWbD6nE"
SECRETS = [
    "GET /cas/serviceValidate?service=https%3A%2F%2Fa&ticket=SECRET HTTP/1.1",
    "Max retries exceeded with url: /token?code=SECRET&state=SECRET (Caused by …)",
    "https://wiki.example.com/page?ikdcode=SECRET",
    "<a href='/x?a=1&amp;state=SECRET'>",
    "Not Found: /accounts/password/reset/key/3-SECRET/",
    "Not Found: /invitation/SECRET/",
    "Not Found: /accounts/lock/SECRET/",
    "/accounts/addresses/confirm/SECRET/",
    "/first-administrator/SECRET",
    "postgres://ikd:SECRET@db.example.com/ikd",
    "connecting to redis://:SECRET@redis:6379/0",
    "Cookie: __Host-ikd_gate=SECRET; theme=dark; __Host-ikd_portal=SECRET",
    "wrong password: SECRET",
    "Authorization: Basic SECRETSECRET",
    "header 'Authorization': 'Bearer SECRETSECRET'",
    "{'password': 'SECRET', 'login': 'bob'}",
    "client_secret=SECRET&grant_type=x",
    "duplicate key\nDETAIL:  Key (token)=(SECRET) already exists.",
    "syntax error\nLINE 1: SELECT 'SECRET'\n               ^",
    "ticket ST-12-SECRET-cas01 is unknown",
    f"the value {RANDOM} does not fit",
    "the value 0c4f9a8b7d6e5f40312233445566778899aabbcc does not fit",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_masked(text: str) -> None:
    assert "SECRET" not in masked(text)
    assert RANDOM not in masked(text)
    assert "0c4f9a8b" not in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "attempts to sign in cannot be counted: is the cache reachable?",
        "the logout token was used already",
        "Not Found: /accounts/sessions/",
        "InvalidTokenError: Not enough segments",
        "SessionInterrupted: The request's session was deleted before the request completed.",
        "status code 503 of https://idp.example.com/token",
        "a_database_that_hangs_is_answered_for_from_memory",
        "triggers of the change feed are missing, run migrate: ['ikd_change_accounts_user_groups']",
    ],
)
def test_other_text_is_not_masked(text: str) -> None:
    assert masked(text) == text


def test_a_traceback_names_functions_and_no_values() -> None:
    def open_session(token: str) -> None:
        raise IntegrityError(f"duplicate key\nDETAIL:  Key (token)=({token}) already exists.")

    with pytest.raises(IntegrityError) as raised:
        open_session("-".join(("the", "token")))
    line = JsonLines().format(record("broken", exc_info=(IntegrityError, raised.value, raised.tb)))

    assert "open_session" in line and "duplicate key" in line
    assert "the-token" not in line


def test_every_page_with_a_secret_in_its_path_is_known() -> None:
    """If a new page has a text in its path, add it to SECRET_PATHS or here."""
    harmless = {"icon", "provider_icon", "upstream_start", "upstream_callback", "backchannel_logout"}
    harmless |= {"upstream_link"}
    secret = set()
    for pattern in _patterns(get_resolver().url_patterns):
        kinds = {type(each).__name__ for each in pattern.pattern.converters.values()}
        has_text = kinds - {"IntConverter", "UUIDConverter"} or "(?P<key>" in str(pattern.pattern)
        if has_text and pattern.name not in harmless:
            secret.add("/" + str(pattern.pattern).lstrip("^").partition("<")[0].partition("(")[0])

    assert secret == set(SECRET_PATHS)


def _patterns(patterns: Any, prefix: str = "") -> Iterator[URLPattern]:
    for each in patterns:
        if isinstance(each, URLResolver):
            if not str(each.pattern).startswith("admin"):
                yield from _patterns(each.url_patterns)
        else:
            yield each


# ---- repetitions ------------------------------------------------------------------------------------------


def test_an_error_is_written_once_and_then_counted(
    log: logging.Logger, handler: StandardError, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1000):
        log.error("no database: %s", f"cause {number}", extra={"decision": f"{number:012x}"})
    clock.now += COUNT_EVERY
    handler.flush()
    first, count = written(capsys)

    assert (first["message"], first["decision"]) == ("no database: cause 0", "000000000000")
    assert (count["message"], count["repeated"], count["seconds"]) == ("no database: cause 999", 999, 5.0)
    assert count["decisions"][0] == "000000000001"
    assert len(count["decisions"]) == 200


def test_repeated_failures_are_listed_with_their_request_numbers(
    log: logging.Logger, handler: StandardError, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = []
    for _ in range(2):
        begin_request()
        numbers.append(current_request.get())
        log.error("failed", exc_info=caught(ValueError("no such table")))
    handler.flush()
    first, count = written(capsys)

    assert first["request"] == numbers[0]
    assert count["requests"] == [numbers[1]]
    assert count["exception"] == "ValueError: no such table"
    assert "Traceback" in first["exception"]


def test_an_error_that_repeats_much_later_is_written_in_full(
    log: logging.Logger, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        log.error("failed")
        clock.now += REMEMBERED_FOR + 1

    assert [line["message"] for line in written(capsys)] == ["failed", "failed"]


def test_errors_with_changing_text_from_clients_are_counted_together(
    log: logging.Logger, handler: StandardError, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(500):
        log.warning(f"Invalid HTTP_HOST header: 'host{number}'")
    handler.flush()

    assert len(written(capsys)) == 2


def test_the_number_of_different_errors_is_bounded(
    log: logging.Logger, handler: StandardError, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(10 * ERRORS_AT_ONCE):
        handler.handle(logging.LogRecord("x", logging.ERROR, "file.py", number, "m", (), None))
    handler.flush()

    assert len(written(capsys)) <= ERRORS_AT_ONCE + 2


def test_events_are_never_combined(
    log: logging.Logger, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        log.warning("sign_in_failed", extra={"event": {"actor": number}})

    assert [line["event"]["actor"] for line in written(capsys)] == [0, 1, 2, 3, 4]


def test_a_message_with_wrong_arguments_is_still_written(
    handler: StandardError, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.handle(record("%d of %d", "the password"))

    assert [line["message"] for line in written(capsys)] == ["%d of %d"]


def test_an_entry_that_cannot_be_formatted_leaves_a_line(
    log: logging.Logger, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("SECRET")

    log.info("x", extra={"event": {"of": Broken()}})

    (line,) = written(capsys)
    assert line["message"] == "a log line could not be written"


# ---- the settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("IKD_LOG_FORMAT", "xml", "IKD_LOG_FORMAT must be json or text, is 'xml'"),
        (
            "IKD_LOG_LEVEL",
            "loud",
            "IKD_LOG_LEVEL must be one of debug, info, warning, error, critical, is 'loud'",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_cure(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValueError) as raised:
        configuration()

    assert str(raised.value) == said


def test_no_level_lets_libraries_write_sql_or_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IKD_LOG_LEVEL", "debug")
    levels = {name: each["level"] for name, each in configuration()["loggers"].items()}

    assert levels.pop("ikd") == logging.DEBUG
    assert min(levels.values()) == configuration()["root"]["level"] == logging.INFO
    assert levels["django.db.backends"] == logging.WARNING


def test_a_commands_output_and_log_lines_are_readable_text(tmp_path: Path) -> None:
    import os

    environment = os.environ | {"IKD_VAR": str(tmp_path), "IKD_LOG_LEVEL": "loud"}
    environment["DJANGO_SETTINGS_MODULE"] = "ikd_portal.settings"
    command = [sys.executable, "manage.py", "check"]

    wrong = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    del environment["IKD_LOG_LEVEL"]
    right = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    assert "IKD_LOG_LEVEL must be one of" in wrong.stderr.splitlines()[-1]
    assert right.returncode == 0
    assert right.stderr == ""


UNCAUGHT = """
import threading, warnings
from authgate.logs.configuration import configuration, configure, watch_uncaught_exceptions
configure(configuration())
watch_uncaught_exceptions()
def fail(): raise ValueError("in a thread\\nsecret=SECRET")
thread = threading.Thread(target=fail, name="mine"); thread.start(); thread.join()
class Fragile:
    def __del__(self): raise ValueError("in a finalizer")
Fragile()
warnings.warn("be warned")
raise ValueError("in the process")
"""


def test_uncaught_exceptions_are_log_lines_too() -> None:
    done = subprocess.run([sys.executable, "-c", UNCAUGHT], cwd=ROOT, capture_output=True, text=True)

    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["logger"] for line in said] == [
        "ikd.uncaught",
        "ikd.uncaught",
        "py.warnings",
        "ikd.uncaught",
    ]
    assert "ValueError: in a thread" in said[0]["exception"]
    assert "in a finalizer" in said[1]["exception"]
    assert "be warned" in said[2]["message"]
    assert (said[3]["level"], done.returncode) == ("critical", 1)
    assert "SECRET" not in "".join(line.get("exception", "").rpartition("ValueError:")[2] for line in said)
