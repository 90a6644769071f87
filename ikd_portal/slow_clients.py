"""Keeps clients that send or read slowly away from the threads that make pages.

A thread that waited for the rest of a body, or for a client to read its answer, would make no pages: as many
connections as there are threads would stop the portal. So bodies are read before a thread is asked, answers
are kept for clients that read slowly, and both for a limited time.
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
"""Bytes of a body. The largest that a page takes are pictures."""

IN_MEMORY = 2**18
"""Bytes of a body that are kept in memory. A larger body waits in an unnamed file."""

BODY_WITHIN = 60.0
"""Seconds within which a body has to arrive whole."""

READ_WITHIN = 60.0
"""Seconds within which a client has to read on."""

CHUNK = 2**16

WITHOUT_BODIES = ("/authgate/", "/oauth2/")
"""Paths that read no body. A proxy may have forgotten to remove the body of a check."""


_NOT_ASCII = re.compile(rb"[^\x21-\x7e]")


def plain_query(query: bytes) -> bytes:
    """Return a query with every byte that is not printable ASCII percent-encoded, as WSGI needs it."""
    return _NOT_ASCII.sub(lambda match: b"%%%02X" % match[0][0], query)


class Unfit(Exception):
    """A request that is not answered as asked, with its status and sentence.

    `retry_after` is the number of seconds after which the client may try again, 0 if it makes no sense.
    """

    status: int
    sentence: str
    retry_after = 0


class TooLarge(Unfit):
    status = 413
    sentence = "This is more than the portal takes: 10 MB. Go back and choose something smaller.\n"


class TooSlow(Unfit):
    status = 408
    sentence = "The request did not arrive within a minute. Go back and send it again.\n"


class Busy(Unfit):
    status, sentence = 503, "Too many requests are being answered. Try again in a few seconds.\n"
    retry_after = 5


class Gone(Exception):
    """The client went away before its body was there."""


@asynccontextmanager
async def answering_unfit(send: Send) -> AsyncIterator[None]:
    """Answer an Unfit raised within with its sentence, and end quietly if the client left."""
    try:
        yield
    except Gone:
        return
    except Unfit as unfit:
        await say(unfit, send)


@asynccontextmanager
async def whole_body(scope: Message, receive: Receive) -> AsyncIterator[IO[bytes] | None]:
    """Provide the body of a request, and close it afterwards. None without one, or if nothing reads it.

    Raises as `body_of`.
    """
    is_read = not scope["path"].startswith(WITHOUT_BODIES)
    body = await body_of(scope["headers"], receive) if is_read else None
    try:
        yield body
    finally:
        if body is not None:
            body.close()


async def body_of(headers: list[tuple[bytes, bytes]], receive: Receive) -> IO[bytes] | None:
    """Return a request's whole body, which the caller closes; None without a body.

    Raises Unfit for one that is too large or too slow, Gone if the client left.
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


def given_again(body: IO[bytes] | None) -> Receive:
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


async def say(unfit: Unfit, send: Send) -> None:
    """Answer with the reason, and close the connection: the rest of the body is not read."""
    text = unfit.sentence.encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    if unfit.retry_after:
        headers.append((b"retry-after", b"%d" % unfit.retry_after))
    await send({"type": "http.response.start", "status": unfit.status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
