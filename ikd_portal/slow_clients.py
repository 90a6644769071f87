"""Protects the threads that render pages from clients that send or read slowly.

A thread that waits for the rest of a body, or for a client to read its answer, renders no pages. As many
connections as there are threads would stop the portal. Therefore bodies are read before a thread starts, and
answers are buffered for slow readers, both for a limited time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import IO, Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LARGEST_BODY = 10 * 2**20
"""Bytes of a body at most. The largest that pages accept are pictures."""

IN_MEMORY = 2**18
"""Bytes of a body that are kept in memory. A larger body is kept in an unnamed file."""

BODY_WITHIN = 60.0
"""Seconds within which the whole body has to arrive."""

READ_WITHIN = 60.0
"""Seconds within which a client has to read the next part of an answer."""

CHUNK = 2**16

WITHOUT_BODIES = ("/authgate/", "/oauth2/")
"""Paths that never read a body. A proxy may fail to remove the body from a check."""


_NOT_ASCII = re.compile(rb"[^\x21-\x7e]")


def plain_query(query: bytes) -> bytes:
    """Return a query with every byte outside printable ASCII percent-encoded, as WSGI needs it."""
    return _NOT_ASCII.sub(lambda match: b"%%%02X" % match[0][0], query)


class RefusedRequest(Exception):
    """A request that the portal refuses, with the status and the sentence of the answer.

    `retry_after` is the number of seconds after which the client may try again, or 0 if that is useless.
    """

    status: int
    sentence: str
    retry_after = 0


class TooLarge(RefusedRequest):
    status = 413
    sentence = "This is more than the portal takes: 10 MB. Go back and choose something smaller.\n"


class TooSlow(RefusedRequest):
    status = 408
    sentence = "The request did not arrive within a minute. Go back and send it again.\n"


class Busy(RefusedRequest):
    status, sentence = 503, "Too many requests are being answered. Try again in a few seconds.\n"
    retry_after = 5


class Gone(Exception):
    """The client disconnected before its body was complete."""


@asynccontextmanager
async def answering_refused(send: Send) -> AsyncIterator[None]:
    """Answer a RefusedRequest raised in the block with its sentence. If the client left, return quietly."""
    try:
        yield
    except Gone:
        return
    except RefusedRequest as refused:
        await send_refusal(refused, send)


@asynccontextmanager
async def whole_body(scope: Message, receive: Receive) -> AsyncIterator[IO[bytes] | None]:
    """Provide the body of a request and close it afterwards, or None if there is none or it is not needed.

    Raises as `body_of` does.
    """
    is_read = not scope["path"].startswith(WITHOUT_BODIES)
    body = await body_of(scope["headers"], receive) if is_read else None
    try:
        yield body
    finally:
        if body is not None:
            body.close()


async def body_of(headers: list[tuple[bytes, bytes]], receive: Receive) -> IO[bytes] | None:
    """Return a request's whole body, which the caller closes, or None without a body.

    Raises RefusedRequest if it is too large or too slow, and Gone if the client left.
    """
    declared = [value for name, value in headers if name == b"content-length"]
    if not declared and not any(name == b"transfer-encoding" for name, _ in headers):
        return None
    if declared and declared[0].isdigit() and int(declared[0]) > LARGEST_BODY:
        raise TooLarge
    body = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  # the caller closes it
    try:
        async with asyncio.timeout(BODY_WITHIN):
            await _read_into(body, receive)
    except TimeoutError:
        body.close()
        raise TooSlow from None
    except BaseException:
        body.close()
        raise
    body.seek(0)
    return body


async def _read_into(body: IO[bytes], receive: Receive) -> None:
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        body.write(message.get("body", b""))
        if body.tell() > LARGEST_BODY:
            raise TooLarge
        has_more = message.get("more_body", False)


def replay(body: IO[bytes] | None) -> Receive:
    """Return an ASGI `receive` that replays a body."""

    async def receive() -> Message:
        chunk = body.read(CHUNK) if body is not None else b""
        return {"type": "http.request", "body": chunk, "more_body": len(chunk) == CHUNK}

    return receive


def read_in_time(send: Send, abort: Callable[[], None]) -> Send:
    """Return an ASGI `send` that aborts the connection if the client does not read the answer."""

    async def send_in_time(message: Message) -> None:
        try:
            async with asyncio.timeout(READ_WITHIN):
                await send(message)
        except TimeoutError:
            abort()

    return send_in_time


async def send_refusal(refused: RefusedRequest, send: Send) -> None:
    """Answer with the reason, and close the connection, because the rest of the body is not read."""
    text = refused.sentence.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    if refused.retry_after:
        headers.append((b"retry-after", b"%d" % refused.retry_after))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
