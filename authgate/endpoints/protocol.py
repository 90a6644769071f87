"""The server's HTTP protocol, which answers checks from memory as soon as a request head is complete.

Such an answer needs no task, no ASGI cycle, no Django and no database. All other requests, and checks that
memory cannot answer, go on to uvicorn unchanged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from authgate.check import responses
from authgate.check.context import Context
from authgate.check.contracts import BEFORE_A_PATH
from authgate.check.missing import Missing
from authgate.check.pipeline import answer, read
from authgate.check.request import Facts, RequestHeaders, headers_from
from authgate.check.responses import Answer
from authgate.doctor import tokens
from authgate.endpoints.connections import HEAD_WITHIN, LARGEST_HEAD, TOO_LARGE, connections
from authgate.endpoints.header_aliases import ALIASES, note_aliases
from authgate.peer import ABORT, SENT_TARGET, is_trusted_peer, peer_from
from authgate.worker import feed, lookups
from authgate.worker.check_counts import ONE_IN, PROTOCOL, WAITED, cell_of, count, measure_known
from authgate.worker.failures import overloaded
from authgate.worker.head_cache import check_known_head, head_of
from authgate.worker.head_parts import Lines, Parts, lines_in, split_head
from authgate.worker.write_behind import writer

log = logging.getLogger("ikd.gate")

LINGER = 1.0
"""Seconds for which a connection stays open after the process was asked to end."""

UNKNOWN_IN_A_ROW, NOT_COMPARED = 8, 32
"""After the first number of unknown heads in a row, the second number of heads is not compared at all.

Some proxies number their requests, so no head comes twice.
"""

ENVOY_URL = BEFORE_A_PATH.encode()
PASSED_ON = {b"transfer-encoding", b"expect", b"upgrade"}
HEALTH_URL = b"/healthz"
HEALTHY = Answer(200, ((b"content-type", b"text/plain; charset=utf-8"), *responses.NO_STORE), b"ok\n")
UNUSUAL = PASSED_ON | ALIASES | {b"connection", b"content-length", tokens.HEADER}


class _NullEvent:
    """An event that nothing waits for."""

    def set(self) -> None:
        pass


class Waiting:
    """A check that waits for the database. uvicorn sees it as the request that it is answering."""

    lookup: lookups.Lookup | None = None
    response_complete = False
    disconnected = False
    message_event = _NullEvent()

    def __init__(self, began: float, *, keep_alive: bool) -> None:
        self.began, self.keep_alive = began, keep_alive


class Front(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also answers checks. tests/test_uvicorn.py lists what it relies on."""

    peer: str | None = None
    is_trusted = False
    answered = False
    """Whether this class answered the current message. uvicorn must then not see the message's end."""

    began = answered_at = 0.0
    """Unix times: when the parser received the last part of a head, and when it last answered a check."""

    in_head = False
    in_message = False
    head_size = to_count = 0
    """Bytes of the current head, and bytes just received that count for the next head."""

    quiet_since = 0
    """When the connection was opened or a head began, in seconds of `connections`."""

    is_counted = False
    """Whether `connections` counts it: its peer is no trusted proxy."""

    answered_check: Facts | None = None
    """The check answered last, if nothing came after it and its head may be remembered."""

    was_let_in = False

    cut_lines = Lines()
    """The header lines that are left out when heads are compared, as this connection's proxy spells them."""

    heads_begun = 0
    unknown = 0
    """Unknown heads in a row."""

    idle_timer: asyncio.TimerHandle | None = None

    waiting: Waiting | None = None
    """The check that waits for the database, if any."""

    is_ending = False
    """Whether this process is about to end. The worker sets this for all connections."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.peer = peer_from(self.client[0]) if self.client else None
        self.quiet_since = connections.seconds
        self.is_trusted = is_trusted_peer(self.peer)
        self.is_counted = not self.is_trusted
        if self.is_counted and not connections.admit(self.peer or ""):
            self.is_counted = False
            transport.abort()
        elif self.is_ending:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        if self.waiting is not None and self.waiting.lookup is not None:
            self.waiting.lookup.given_up = True
        if self.is_counted:
            connections.leave(self.peer or "")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Answer a known head, whatever its path; pass everything else to the parser.

        A head is compared only after this connection has answered a check of a trusted peer. Then the parser
        is between two messages of a kept connection, and nothing of the first is left over.
        """
        worker = feed.current
        if self.answered_check is None or worker is None or self.is_ending:
            self._parse(data)
            return
        if self.unknown >= UNKNOWN_IN_A_ROW:
            self._count_skipped()
            self._parse(data)
            return
        now = time.time()
        parts = split_head(data, self.cut_lines)
        if parts is not None and self._answer_known_head(worker, parts, now):
            return
        if (lines := lines_in(data)) != self.cut_lines:
            self.cut_lines = lines
            parts = split_head(data, lines)
            if parts is not None and self._answer_known_head(worker, parts, now):
                return
        self.unknown += 1
        self.heads_begun = 0
        self._parse(data)
        if parts is not None and self.answered_check is not None and self.heads_begun == 1:
            self._remember(worker, parts, self.answered_check)

    def _parse(self, data: bytes) -> None:
        """Pass data to the parser, until a head is too large."""
        if len(data) > LARGEST_HEAD:
            for start in range(0, len(data), LARGEST_HEAD):
                if not self.transport.is_closing():
                    self._parse(data[start : start + LARGEST_HEAD])
            return
        # The first head that begins in this data counts all of it. A head after another, or after a body,
        # counts none of it.
        self.to_count = 0 if self.in_message else len(data)
        self.began = time.time()
        if self.in_head:
            self.head_size += len(data)
        super().data_received(data)
        if self.in_head and self.head_size > LARGEST_HEAD:
            self._refuse_head()

    def _refuse_head(self) -> None:
        if self._is_answering():
            self.transport.abort()
            return
        self.transport.write(TOO_LARGE)
        self.transport.close()

    def close_if_slow(self) -> None:
        """Close the connection if its head takes too long, or if it is idle and no timer watches it."""
        quiet_for = connections.seconds - self.quiet_since
        if self.in_head:
            if quiet_for > HEAD_WITHIN:
                self.transport.close()
            return
        if self._is_answering() or self.idle_timer is not None or self.timeout_keep_alive_task is not None:
            return
        if quiet_for > (HEAD_WITHIN if self.is_counted else self.timeout_keep_alive):
            self.transport.close()

    def _count_skipped(self) -> None:
        """Count a head that was not compared. After NOT_COMPARED of them, the next head is compared again."""
        self.unknown = (
            self.unknown + 1 if self.unknown < UNKNOWN_IN_A_ROW + NOT_COMPARED else UNKNOWN_IN_A_ROW - 1
        )

    def on_message_begin(self) -> None:
        # uvicorn builds the scope here. `_pass_on` builds it, only if uvicorn gets the request.
        self.heads_begun += 1
        self.answered_check = None
        self.in_head = True
        self.in_message = True
        self.head_size, self.to_count = self.to_count, 0
        self.quiet_since = connections.seconds
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self.transport.is_closing():  # the request before it was the last one
            self.answered = True
            return
        if self.is_ending:
            self._pass_on()
            self.cycle.keep_alive = False
            return
        worker = feed.current
        if self.url == HEALTH_URL and self._answer_health():
            return
        if worker is not None:
            path, _, query = self.url.partition(b"?")
            name = worker.check_urls.get(path)
            if name is None and path.startswith(ENVOY_URL):
                name = BEFORE_A_PATH
            if name is not None and self._answer(worker, name, query):
                self.answered = True
                return
        self._pass_on()

    def on_body(self, body: bytes) -> None:
        if not self.answered:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self.in_message = False
        if self.answered:
            self.answered = False
            return
        super().on_message_complete()

    def shutdown(self) -> None:
        """Close the connection after the current answer. If it is idle, close it after LINGER seconds.

        uvicorn would close an idle connection at once, and lose a request that it has not read yet.
        """
        if self._is_answering():
            super().shutdown()
            return
        self.loop.call_later(LINGER, self._close_unless_busy)

    def _close_unless_busy(self) -> None:
        if not (self.in_head or self._is_answering()):
            self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, unless the next request began to arrive before the last answer was sent."""
        if self.in_head:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            return
        super().timeout_keep_alive_handler()

    def _pass_on(self) -> None:
        """Pass the request to uvicorn, as if this class had not read it."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.scope["state"] |= {SENT_TARGET: url, ABORT: self.transport.abort}
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _answer_health(self) -> bool:
        """Answer `/healthz` if the request is a plain one. Return whether it was answered.

        A request with credentials goes to the view, which shows operators the version.
        """
        method = self.parser.get_method()
        headers = dict(self.headers)
        if b"authorization" in headers:
            return False
        if method not in (b"GET", b"HEAD") or not self._is_plain():
            return False
        if not headers.keys().isdisjoint(UNUSUAL) and not self._is_fit(headers):
            return False
        self._send(self._octets(HEALTHY, is_head=method == b"HEAD"), keep_alive=self._keeps_alive())
        self.answered = True
        self._note_answered(time.time())
        return True

    def _answer(self, worker: feed.Feed, path: str, query: bytes) -> bool:
        """Answer a check from memory, or let it wait for the database. Return whether either was possible."""
        headers = dict(self.headers)
        # uvicorn rewrites a query with a fragment or with bytes outside ASCII before the view sees it.
        if not self._is_plain() or (query and (not query.isascii() or b"#" in query)):
            return False
        if not headers.keys().isdisjoint(UNUSUAL):
            if not self._is_fit(headers):
                return False
            if tokens.token_in(headers, worker.memory.settings.state_keys) is not None:
                return False  # the view records requests of the doctor
            if not headers.keys().isdisjoint(ALIASES):
                note_aliases(path, self.peer)
        now = time.time()
        has_doubled = len(headers) != len(self.headers)
        named = headers_from(self.headers) if has_doubled else RequestHeaders(headers)
        facts = Facts(path, query.decode("latin-1"), named, self.peer, now)
        if path == BEFORE_A_PATH:  # here alone, the check's own method and target are the client's
            facts = facts._replace(method=self.parser.get_method().decode("latin-1"), sent_target=self.url)
        is_head = self.parser.get_method() == b"HEAD"
        try:
            is_fresh = worker.may_answer()
            context = read(facts, worker.memory)
            found = answer(context, worker.memory) if isinstance(context, Context) else context
            if not (is_fresh and isinstance(found, Answer)):
                if not worker.is_without_database():
                    return self._wait(facts, context, found, is_head=is_head)
                # In the view, each check would hold a thread until the database answers, until none is free.
                found = lookups.without_database(worker)
            octets = self._octets(found, is_head=is_head)
        except Exception:
            # The view meets the same error and returns 503. If it does not, the error is in this class.
            log.exception("the front could not answer a check")
            return False
        self._write(worker, facts, found, octets)
        if self.is_trusted and self._keeps_alive():
            self.answered_check, self.was_let_in = facts, found.status == 200
        return True

    def _wait(
        self, facts: Facts, context: Context | Answer | Missing, found: Answer | Missing, *, is_head: bool
    ) -> bool:
        """Let a check wait for the database together with others. Return False if the view must answer it.

        `context` is the check as read; `found` is its answer, or what memory lacks for one.
        """
        if lookups.current is None or (isinstance(found, Missing) and not lookups.can_wait_for(found)):
            return False
        waiting = Waiting(self.began, keep_alive=self._keeps_alive())
        deliver = partial(self._answer_late, waiting, facts, is_head=is_head)
        was_read = context if isinstance(context, Context) else None
        waiting.lookup = lookups.current.submit(facts, found, deliver, was_read)
        self.waiting = self.cycle = waiting  # type: ignore[assignment]  # has all that uvicorn reads of a cycle
        if waiting.lookup is None:
            deliver(overloaded())
        else:
            self.flow.pause_reading()
        return True

    def _answer_late(self, waiting: Waiting, facts: Facts, found: Answer, *, is_head: bool) -> None:
        """Answer a check that waited, and let uvicorn continue with the requests after it."""
        waiting.response_complete = True
        self.waiting = None
        worker = feed.current
        if worker is None or self.transport.is_closing():
            return
        self._write(worker, facts, found, self._octets(found, is_head=is_head), waiting)
        if self.pipeline or self.transport.is_closing():
            self.on_response_complete()
        else:  # the same without uvicorn's timer: `idle_timer` watches this connection
            self.server_state.total_requests += 1
            self.flow.resume_reading()

    def _answer_known_head(self, worker: feed.Feed, parts: Parts, now: float) -> bool:
        """Answer a check that has a known head, whatever its path. Return whether it was answered.

        `now` is the Unix time at which the check was received.
        """
        head = worker.heads.get(parts.known_by)
        if head is None or self.flow.write_paused or self.transport.is_closing():
            return False
        try:
            found = check_known_head(head, parts, now, worker.memory) if worker.may_answer() else None
            if found is None:
                return False
            octets = self._octets(found)
        except Exception:
            log.exception("the front could not answer a check")
            return False
        self.unknown = 0
        # A head becomes known only if it keeps the connection open, so no `connection: close` is needed.
        self.transport.write(octets)
        self.answered_at = now
        if self.idle_timer is None:
            self._watch_idleness(self.timeout_keep_alive)
        writer.note_answer(found, now)
        if found.sign_in_id is not None:
            counted = head.let_in
        else:
            worker.answered += 1
            counted = cell_of(head.contract.name, found)
        counted[0] += 1
        if not counted[0] % ONE_IN:
            measure_known(head, parts.path, found, now)
        return True

    def _remember(self, worker: feed.Feed, parts: Parts, facts: Facts) -> None:
        """Remember the head of the check that was just answered."""
        if self.parser.get_method() != b"HEAD":
            read = partial(head_of, facts, worker.memory, parts)
            worker.heads.note(parts.known_by, read, was_let_in=self.was_let_in)

    def _write(
        self, worker: feed.Feed, facts: Facts, found: Answer, octets: bytes, waiting: Waiting | None = None
    ) -> None:
        """Send an answer, count it, and queue its refusal or use for the writer."""
        self._send(octets, keep_alive=self._keeps_alive() if waiting is None else waiting.keep_alive)
        now = facts.now if waiting is None else time.time()
        worker.answered += 1
        way, began = (PROTOCOL, self.began) if waiting is None else (WAITED, waiting.began)
        count(worker.memory.settings.checks[facts.path], facts, found, way, began)
        self._note_answered(now)
        writer.note_answer(found, now)

    def _keeps_alive(self) -> bool:
        """Return whether the connection stays open after the request that the parser read last.

        Without a Connection header, only HTTP/1.1 keeps connections open (RFC 9112, section 9.3).
        """
        return bool(self.parser.should_keep_alive())

    def _send(self, octets: bytes, *, keep_alive: bool) -> None:
        if keep_alive:
            self.transport.write(octets)
            return
        status, end, rest = octets.partition(b"\r\n")
        self.transport.write(status + end + b"connection: close\r\n" + rest)
        self.transport.close()

    def _note_answered(self, now: float) -> None:
        self.answered_at = now
        if self.idle_timer is None:
            self._watch_idleness(self.timeout_keep_alive)

    def _unsupported_upgrade_warning(self) -> None:
        """Log no warning: a proxy may send the WebSocket's upgrade headers with its check."""

    def _is_plain(self) -> bool:
        """Return whether this connection is open, without an unfinished answer, pipeline or full buffer."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        return not (self.pipeline or self.flow.write_paused or self.transport.is_closing())

    def _is_fit(self, headers: dict[bytes, bytes]) -> bool:
        """Return whether this class can answer a request that has unusual headers."""
        if headers.get(b"content-length", b"0") != b"0" or not headers.keys().isdisjoint(PASSED_ON):
            return False
        if self.parser.should_upgrade():
            return False
        return b"connection" not in headers or bool(self.parser.get_http_version() == "1.1")

    def _watch_idleness(self, seconds: float) -> None:
        self.idle_timer = self.loop.call_later(seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """Close the connection if its last request was a check long ago. One timer serves many checks."""
        self.idle_timer = None
        if self.timeout_keep_alive_task is not None:
            return  # uvicorn answered last, so its own timer watches the connection
        left = self.timeout_keep_alive - (time.time() - self.answered_at)
        is_busy = self.in_head or self._is_answering()
        if is_busy or 0 < left <= self.timeout_keep_alive:
            self._watch_idleness(max(left, 1.0) if not is_busy else self.timeout_keep_alive)
        elif not self.transport.is_closing():
            self.transport.close()

    def _octets(self, found: Answer, *, is_head: bool = False) -> bytes:
        """Return the answer as bytes. The parts that do not change between requests are built once."""
        defaults = self.server_state.default_headers
        if defaults is not _Date.of:
            _Date.of, _Date.octets = defaults, b"".join([b"%s: %s\r\n" % header for header in defaults])
        if is_head:
            return STATUS_LINE[found.status] + _Date.octets + _tail(found, whole=True)
        wire, date = found.wire, _Date.octets
        if not wire:
            wire.extend((date, STATUS_LINE[found.status] + date + _tail(found) + found.body))
        elif wire[0] is not date:  # a kept answer is mostly sent again within the same second
            status = STATUS_LINE[found.status]
            wire[:] = date, status + date + wire[1][len(status) + len(wire[0]) :]
        if found.echo is None:
            return wire[1]
        end = len(STATUS_LINE[found.status]) + len(date)
        return b"%sauthorization: %s\r\n%s" % (wire[1][:end], found.echo, wire[1][end:])


class _Date:
    """The server's default headers as bytes. They change once a second."""

    of: object = None
    octets = b""


def _tail(found: Answer, *, whole: bool = False) -> bytes:
    """Return the headers of an answer as bytes; with `whole`, including the application's Authorization."""
    headers = found.headers if whole or found.echo is None else found.headers[:-1]
    octets = b"".join([b"%s: %s\r\n" % header for header in headers])
    return octets + b"content-length: %d\r\n\r\n" % len(found.body)
