"""Worker classes for gunicorn that only the measurements use."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ikd_portal.worker import PortalWorker

CONSTANT = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Empty(HttpToolsProtocol):
    """The minimum cost of an answer from this server: constant bytes when the head is complete."""

    def on_headers_complete(self) -> None:
        self.transport.write(CONSTANT)
        self.server_state.total_requests += 1

    def on_message_complete(self) -> None:
        pass


class EmptyWorker(PortalWorker):
    """The portal's own worker, except that it sends constant answers."""

    def _server_config(self) -> Config:
        config = super()._server_config()
        config.http = Empty
        return config


class FilledWorker(PortalWorker):
    """The portal's own worker, with IKD_BENCH_SESSIONS sessions in memory."""

    async def _serve(self) -> None:
        if not self.is_for_pages:
            await asyncio.to_thread(_fill, int(os.environ["IKD_BENCH_SESSIONS"]))
        await super()._serve()


def _fill(count: int) -> None:
    from authgate.worker import feed, loader
    from benchmarks.tokens import digest_of

    current: Any = feed.current
    current.ensure_fresh()
    for start in range(0, count, 1000):
        digests = [digest_of(number) for number in range(start, min(start + 1000, count))]
        generation = current.memory.generation
        for digest, session in loader.load_sessions(digests).items():
            current.memory.hold(digest, session, generation)
    if len(current.memory) != count:
        raise RuntimeError(f"{len(current.memory)} sessions are held instead of {count}")
