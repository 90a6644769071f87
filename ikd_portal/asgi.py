"""Django, as WSGI in two pools of threads, behind the server's own protocol.

Requests that wait for a provider have the second pool, so that they keep no other page waiting. Django's
ASGI handler costs several times as much with the stock middleware.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import MutableMapping
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ikd_portal.settings")

from a2wsgi import WSGIMiddleware
from django.conf import settings

from accounts.upstreams.provider_threads import few_at_once
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

FORMS_WAIT = 15.0
"""Seconds that a form waits for a thread before its sender is asked to try again."""


PAGES_WAIT, PAGES_OF_A_NETWORK = 10.0, 250
"""Seconds that a page waits for a thread, and how many of one client network may wait at once."""


def with_forwarded(environ: Any, start_response: Any) -> Any:
    """Set the client's address and scheme from a trusted peer's headers, and call Django."""
    headers, client = environ["asgi.scope"]["headers"], environ["asgi.scope"].get("client")
    peer = peer_from(client[0]) if client else None
    environ["REMOTE_ADDR"] = client_of(headers, peer) or ""
    protos = [value for name, value in headers if name == b"x-forwarded-proto"]
    if is_trusted_peer(peer) and len(protos) == 1:
        environ["wsgi.url_scheme"] = SCHEMES.get(protos[0].decode("latin-1").lower(), "http")
    return django_application(environ, start_response)


_in_threads = WSGIMiddleware(with_forwarded, workers=settings.IKD_THREADS, send_queue_size=0)  # 0: any number
_in_provider_threads = WSGIMiddleware(
    few_at_once(with_forwarded), workers=settings.IKD_PROVIDER_THREADS, send_queue_size=0
)
_queue = ThreadQueue(settings.IKD_PROVIDER_THREADS)
_pages = ThreadQueue(settings.IKD_THREADS, wait=PAGES_WAIT, longest_line=PAGES_OF_A_NETWORK)
# Forms may hash passwords, which takes long when many sign in: half of the threads are left to the others.
_forms = ThreadQueue(max(1, settings.IKD_THREADS // 2), wait=FORMS_WAIT)


def numbers() -> dict[str, float]:
    """Return what this process's metrics say of its queues."""
    queues = {"pages": _pages, "forms": _forms, "providers": _queue}
    return {f'ikd_pages_waiting{{queue="{name}"}}': each.waiting for name, each in queues.items()}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve HTTP; a query in other bytes than ASCII is percent-encoded, which WSGI needs."""
    if scope["type"] != "http":
        return
    scope["query_string"] = slow_clients.plain_query(scope["query_string"])
    async with slow_clients.answering_unfit(send), slow_clients.whole_body(scope, receive) as body:
        await _answer(scope, slow_clients.given_again(body), send)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in a thread. A request that may take long waits for its turn."""
    in_time = slow_clients.read_in_time(send, scope["state"][ABORT])
    line, queue, threads = line_of(scope["path"], scope["query_string"]), _queue, _in_provider_threads
    if line is None and scope["method"] == "POST":
        line, queue, threads = client_network(scope), _forms, _in_threads
    if line is None:
        await _answer_page(scope, receive, in_time)
        return
    async with queue.turn(line) as is_admitted:
        if is_admitted:
            await threads(scope, receive, in_time)  # type: ignore[arg-type]
            return
    scope["state"][TURNED_AWAY if queue is _queue else OVERLOADED] = True
    await _in_threads(scope, receive, in_time)  # type: ignore[arg-type]


async def _answer_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in a thread, and let the next page have its turn before a slow client has read this one.

    Raise Busy if too many wait.
    """
    messages: asyncio.Queue[Message | None] = asyncio.Queue()
    sending = asyncio.create_task(_send_all(messages, send))
    try:
        async with _pages.turn(client_network(scope)) as is_admitted:
            if not is_admitted:
                raise slow_clients.Busy
            await _in_threads(scope, receive, messages.put)  # type: ignore[arg-type]
        messages.put_nowait(None)
        await sending
    finally:
        sending.cancel()


async def _send_all(messages: asyncio.Queue[Message | None], send: Send) -> None:
    while (message := await messages.get()) is not None:
        await send(message)
