"""gunicorn's worker: uvicorn's HTTP protocol without what would weaken a check.

Proxy headers are off: uvicorn would take the client's own X-Forwarded-For for the peer's address.
WebSockets are off: a proxy's check of a WebSocket is an ordinary request.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

import uvloop
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker
from uvicorn.config import Config
from uvicorn.server import Server

from ikd_portal.logs import handler as logs


class PortalServer(Server):
    """uvicorn's server. After `serve` the process ends by its signal: what comes before happens here."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        from authgate.front import Front
        from authgate.writer import writer

        Front.is_ending = True
        await super().shutdown(sockets)
        # Not in this thread: a database that hangs must not keep the worker from being told to hurry.
        await asyncio.get_running_loop().run_in_executor(None, writer.end)
        logs.flush()


class PortalWorker(Worker):  # type: ignore[misc]
    def init_signals(self) -> None:
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        signal.siginterrupt(signal.SIGUSR1, False)

    def run(self) -> None:
        # Django is set up by now, and this process has forked: threads may begin.
        from accounts.upstreams import rechecking
        from authgate import feed

        self.feed = feed.start()
        rechecking.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        from authgate import lookups

        server = PortalServer(config=self._server_config())
        lookups.start(self.feed, asyncio.get_running_loop())
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self.handle_exit, signal.SIGQUIT, None)
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _server_config(self) -> Config:
        from authgate.front import Front

        return Config(
            app=self.wsgi,
            http=Front,
            loop="uvloop",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            timeout_keep_alive=self.cfg.keepalive,
            timeout_notify=self.timeout,
            callback_notify=self._notify,
            timeout_graceful_shutdown=self.cfg.graceful_timeout,
        )

    async def _notify(self) -> None:
        self.notify()
