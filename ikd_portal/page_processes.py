"""Separate processes answer pages, so that no page and no password hash slows a check.

A process that answers checks forwards every other request through a Unix socket. Each request has its own
connection. It forwards the head unchanged, after reading the whole body. The page process is the same server
with `Pages` as its protocol.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import Counter
from typing import IO, Any

import httptools
from django.conf import settings

from authgate.check.contracts import check_url
from authgate.check.missing import Missing
from authgate.check.pipeline import check
from authgate.check.request import Facts, headers_from
from authgate.check.responses import Answer
from authgate.doctor import tokens
from authgate.endpoints.protocol import Front
from authgate.peer import ABORT, SENT_TARGET, client_network, peer_from
from authgate.worker import feed, lookups, metrics, readiness, readiness_report
from authgate.worker.check_counts import WAITED, count
from authgate.worker.failures import overloaded
from authgate.worker.write_behind import writer
from ikd_portal import page_socket, slow_clients
from ikd_portal.slow_clients import CHUNK, Receive, Send, plain_query

Headers = list[tuple[bytes, bytes]]

PEER = b"x-ikd-peer"
"""The header with the client's socket address, as `address port`. It is empty for a Unix socket."""

NOT_PASSED_ON = frozenset(
    (
        PEER,
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"),
        *(b"transfer-encoding", b"content-length", b"expect"),
    )
)
"""Hop-by-hop headers (RFC 9110, section 7.6.1), and headers that the forwarder sets itself."""

READY_PATH = "/readyz"
"""If this process is not ready, it answers this path itself; otherwise a page process does."""

HEAD_WITHIN = 120.0
"""Seconds in which a page has to begin. Longer than a user may wait for a provider."""

WHOLE = CHUNK
"""Bytes of an answer to read before its head is sent. A proxy asks another portal only after a 503."""


class Broken(slow_clients.RefusedRequest):
    status, sentence = 503, "The portal could not answer. Try again in a few seconds.\n"
    retry_after = 5


class NotReady(slow_clients.RefusedRequest):
    status = 503

    def __init__(self, trouble: str) -> None:
        super().__init__(trouble)
        self.sentence = f"{trouble}\n"


# ---- the side that passes on ------------------------------------------------------------------------------


class Forwarder:
    """The application of a process that answers checks. It forwards requests to the page processes."""

    def __init__(self, folder: int) -> None:
        self._under_way: Counter[str] = Counter()
        self._asked: asyncio.Future[str | None] | None = None
        self._address = page_socket.address(folder)
        self._limit = min(4_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            return
        async with slow_clients.answering_refused(send), slow_clients.whole_body(scope, receive) as body:
            in_time = slow_clients.read_in_time(send, scope["state"][ABORT])
            if (answered := await _answer_check(scope)) is not None:
                await _send_answer(answered, scope["method"], in_time)
                return
            if scope["path"] == READY_PATH and (trouble := await self._trouble()):
                raise NotReady(f"{trouble}\n{await _report(scope)}".rstrip())
            await self._pass_on(scope, body, in_time)

    async def _trouble(self) -> str | None:
        """Return why this process cannot answer checks, or None. Concurrent requests share one test."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(asyncio.to_thread(readiness.trouble))
        return await asyncio.shield(self._asked)

    async def _pass_on(self, scope: Any, body: IO[bytes] | None, send: Send) -> None:
        network = client_network(scope)
        if self._under_way.total() >= self._limit or self._under_way[network] >= self._limit // 4:
            raise slow_clients.Busy
        self._under_way[network] += 1
        try:
            reader, stream = await asyncio.open_unix_connection(self._address)
            try:
                await _write(stream, scope, body)
                await _relay(reader, scope, send)
            finally:
                stream.close()
        except (OSError, TimeoutError, httptools.HttpParserError):
            raise Broken from None
        finally:
            self._under_way[network] -= 1
            if not self._under_way[network]:
                del self._under_way[network]


async def _report(scope: Any) -> str:
    """Return the state of each part of this process, for operators only; "" for everyone else."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
    is_operator = len(given) == 1 and metrics.has_token(given[0])
    return await asyncio.to_thread(readiness_report.report) if is_operator else ""


async def _answer_check(scope: Any) -> Answer | None:
    """Return the answer to a check that the protocol did not answer, such as one with a body, or None.

    Only this process can answer it from memory, which is required while the database is down.
    """
    worker, waiting = feed.current, lookups.current
    url = check_url(scope["path"], settings.IKD_OAUTH2_CONTRACT)
    if url is None or worker is None or waiting is None:
        return None
    facts = _facts(scope, url)
    if tokens.token_in(facts.headers.values, worker.memory.settings.state_keys) is not None:
        return None  # the view notes requests of the doctor
    try:
        found = check(facts, worker.memory)
    except Exception:
        return None  # the page process meets the same error and logs it
    if isinstance(found, Missing) and not lookups.can_wait_for(found):
        return None
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    if waiting.submit(facts, found, answered.set_result) is None:
        return overloaded()
    final = await answered
    count(worker.memory.settings.checks[url], facts, final, WAITED, facts.now)
    writer.note_answer(final, facts.now)
    return final


def _facts(scope: Any, url: str) -> Facts:
    peer = peer_from(scope["client"][0]) if scope.get("client") else None
    query = plain_query(scope["query_string"]).decode("ascii")
    headers, now = headers_from(scope["headers"]), time.time()
    return Facts(url, query, headers, peer, now, scope["method"], scope["state"][SENT_TARGET])


async def _send_answer(found: Answer, method: str, send: Send) -> None:
    headers = [*found.headers, (b"content-length", b"%d" % len(found.body))]
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else found.body})


async def _write(stream: asyncio.StreamWriter, scope: Any, body: IO[bytes] | None) -> None:
    length = 0 if body is None else body.seek(0, os.SEEK_END)
    stream.write(_head(scope, length))
    if body is not None:
        body.seek(0)
        while chunk := body.read(CHUNK):
            stream.write(chunk)
            await stream.drain()


def _head(scope: Any, length: int) -> bytes:
    """Return a request's head for the page process, without hop-by-hop headers."""
    client = scope.get("client")
    peer = f"{client[0]} {client[1]}".encode() if client else b""
    lines = [b"%s %s HTTP/1.1" % (scope["method"].encode(), scope["state"][SENT_TARGET])]
    lines += [b"%s: %s" % header for header in scope["headers"] if header[0] not in NOT_PASSED_ON]
    lines += [b"%s: %s" % (PEER, peer), b"content-length: %d" % length, b"connection: close", b"", b""]
    return b"\r\n".join(lines)


class _Reply:
    """The parts of an answer that its parser has read."""

    def __init__(self) -> None:
        self.headers: Headers = []
        self.chunks: list[bytes] = []
        self.length = 0
        self.has_head = self.is_complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)
        self.length += len(body)

    def on_message_complete(self) -> None:
        self.is_complete = True


async def _relay(reader: asyncio.StreamReader, scope: Any, send: Send) -> None:
    """Relay an answer: a small one once it is complete, a large one as it arrives.

    Raises Broken if it ends before anything was sent.
    """
    reply = _Reply()
    parser = httptools.HttpResponseParser(reply)
    has_body = scope["method"] != "HEAD"
    async with asyncio.timeout(HEAD_WITHIN):
        while not reply.has_head or (has_body and not reply.is_complete and reply.length < WHOLE):
            parser.feed_data(await _read(reader))
    headers = [header for header in reply.headers if header[0] not in (b"connection", b"transfer-encoding")]
    await send({"type": "http.response.start", "status": parser.get_status_code(), "headers": headers})
    try:
        while has_body and not reply.is_complete:
            await _send_chunks(reply, send)
            parser.feed_data(await _read(reader))
    except (Broken, httptools.HttpParserError):
        scope["state"][ABORT]()  # shows the client that the answer is incomplete
        return
    await _send_chunks(reply, send)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(CHUNK)
    if not data:
        raise Broken
    return data


async def _send_chunks(reply: _Reply, send: Send) -> None:
    chunks, reply.chunks = reply.chunks, []
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


# ---- the side that answers --------------------------------------------------------------------------------


class Pages(Front):
    """The protocol of a page process. It learns the client's address from the forwarding process."""

    def on_headers_complete(self) -> None:
        peers = [value.decode("latin-1") for name, value in self.headers if name == PEER]
        if len(peers) != 1:
            self.transport.abort()
            return
        self.headers = [header for header in self.headers if header[0] != PEER]
        address, _, port = peers[0].partition(" ")
        self.client = (address, int(port)) if address else None
        self.peer = peer_from(address) if address else None
        super().on_headers_complete()
