"""The ASGI application: Django over WSGI in two thread pools, behind the server's own protocol.

Requests that wait for a provider use the second pool, so that they delay no other page. With the stock
middleware, Django's ASGI handler would cost several times as much.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ikd_portal.settings")

from a2wsgi import WSGIMiddleware
from django.conf import settings

from accounts.upstreams.provider_threads import limit_working_threads
from authgate.decision.target import SCHEMES
from authgate.peer import (
    ABORT,
    OVERLOADED,
    TURNED_AWAY,
    client_network,
    client_of,
    is_trusted_peer,
    peer_from,
)
from ikd_portal import slow_clients
from ikd_portal.slow_clients import Message, Receive, Send
from ikd_portal.thread_queue import ThreadQueue, line_of
from ikd_portal.wsgi import application as django_application

Scope = MutableMapping[str, Any]
ASGIApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

FORMS_WAIT = 15.0
"""Seconds that a form waits for a thread. Then the client is asked to try again."""


PAGES_WAIT, PAGES_OF_A_NETWORK = 10.0, 250
"""Seconds that a page waits for a thread, and the number of waiting pages of one client network."""


def with_forwarded(environ: Any, start_response: Any) -> Any:
    """Set the client's address and scheme from the headers of a trusted peer, and call Django."""
    headers, client = environ["asgi.scope"]["headers"], environ["asgi.scope"].get("client")
    peer = peer_from(client[0]) if client else None
    environ["REMOTE_ADDR"] = client_of(headers, peer) or ""
    protos = [value for name, value in headers if name == b"x-forwarded-proto"]
    if is_trusted_peer(peer) and len(protos) == 1:
        environ["wsgi.url_scheme"] = SCHEMES.get(protos[0].decode("latin-1").lower(), "http")
    return django_application(environ, start_response)


def in_threads(application: Any, threads: int) -> ASGIApplication:
    """Return an ASGI application that calls a WSGI application in threads. Answers queue without limit."""
    return WSGIMiddleware(application, workers=threads, send_queue_size=0)  # type: ignore[return-value]  # a2wsgi types each message


_in_threads = in_threads(with_forwarded, settings.IKD_THREADS)
_in_provider_threads = in_threads(limit_working_threads(with_forwarded), settings.IKD_PROVIDER_THREADS)
_queue = ThreadQueue(settings.IKD_PROVIDER_THREADS)
_pages = ThreadQueue(settings.IKD_THREADS, wait=PAGES_WAIT, longest_line=PAGES_OF_A_NETWORK)
# A form may hash a password. When many users sign in this takes long, so forms get only half of the threads.
_forms = ThreadQueue(max(1, settings.IKD_THREADS // 2), wait=FORMS_WAIT)


def numbers() -> dict[str, float]:
    """Return the metrics of this process's queues."""
    queues = {"pages": _pages, "forms": _forms, "providers": _queue}
    return {f'ikd_pages_waiting{{queue="{name}"}}': each.waiting for name, each in queues.items()}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve HTTP. Percent-encode bytes in the query that are not ASCII, because WSGI needs that."""
    if scope["type"] != "http":
        return
    scope["query_string"] = slow_clients.plain_query(scope["query_string"])
    async with slow_clients.answering_refused(send), slow_clients.whole_body(scope, receive) as body:
        await _answer(scope, slow_clients.replay(body), send)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in a thread. A request that may take long waits in a queue."""
    in_time = slow_clients.read_in_time(send, scope["state"][ABORT])
    line, queue, threads = line_of(scope["path"], scope["query_string"]), _queue, _in_provider_threads
    if line is None and scope["method"] == "POST":
        line, queue, threads = client_network(scope), _forms, _in_threads
    if line is None:
        await _answer_page(scope, receive, in_time)
        return
    async with queue.turn(line) as is_admitted:
        if is_admitted:
            await threads(scope, receive, in_time)
            return
    scope["state"][TURNED_AWAY if queue is _queue else OVERLOADED] = True
    await _in_threads(scope, receive, in_time)


async def _answer_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in a thread. Free the thread for the next page before a slow client has read the answer.

    Raises Busy if too many requests wait.
    """
    messages: asyncio.Queue[Message | None] = asyncio.Queue()
    sending = asyncio.create_task(_send_all(messages, send))
    try:
        async with _pages.turn(client_network(scope)) as is_admitted:
            if not is_admitted:
                raise slow_clients.Busy
            await _in_threads(scope, receive, messages.put)
        messages.put_nowait(None)
        await sending
    finally:
        sending.cancel()


async def _send_all(messages: asyncio.Queue[Message | None], send: Send) -> None:
    while (message := await messages.get()) is not None:
        await send(message)
