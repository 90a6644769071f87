"""gunicorn's worker: uvicorn's HTTP protocol without the parts that would weaken a check.

Proxy headers are off, because uvicorn would take the client's own X-Forwarded-For for the peer's address.
WebSockets are off, because a proxy's check of a WebSocket is an ordinary request.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvloop
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker
from uvicorn.config import Config
from uvicorn.server import Server

from authgate.endpoints.connections import connections
from authgate.logs import handler
from authgate.worker import database_timeout
from ikd_portal.postgresql import turns
from ikd_portal.process_names import CHECKS_NAME, PAGES_NAME, STARTS_NAME, name_process

DATABASE_TIMEOUT = 10.0
"""Seconds that a page waits for one answer of the database."""

TICKS_A_SECOND = 10

PUBLISH_EVERY = 5
"""Seconds between two publications of a page process's metrics."""

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that reads the database yields to the thread that answers checks."""

COLLECT_EVERY = (5_000, 2, 100)
"""Thresholds of the garbage collector, as for `gc.set_threshold`.

It visits old objects once in about 1.5 million new ones, because visiting all sessions in memory takes a
tenth of a second. It stays on because closed connections need it.
"""

MOST_OPEN_FILES = 65_536
"""Files and connections that a process may have open, if the system allows it."""

PAGES_END_LATER = 1.5
"""Seconds that a page process goes on after the signal to end, while check processes still need it."""

HAND_OVER_WITHIN = 20.0
"""Seconds that a process goes on after the signal to end, while its replacements are starting."""

NICENESS = 5
"""How much the priority of page processes is below that of check processes (nice(2))."""


class PortalServer(Server):
    """uvicorn's server. After `serve` the signal kills the process, so shutdown work happens here."""

    is_for_pages = False

    def __init__(self, config: Config, each_second: Callable[[], None]) -> None:
        super().__init__(config)
        self._each_second = each_second
        self._end_requested = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        name_process(PAGES_NAME if self.is_for_pages else CHECKS_NAME)

    async def main_loop(self) -> None:
        """Tick once a second until a signal ends the server. uvicorn's loop would tick ten times a second."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._end_requested.wait(), 1)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal that ends the server. It runs in the thread that also runs the loop."""
        super().handle_exit(sig, frame)
        self._end_requested.set()

    async def on_tick(self, counter: int) -> bool:
        # uvicorn's own callback uses the system clock. If that is set back, the callback stops.
        if counter % TICKS_A_SECOND == 0:
            self._each_second()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        from authgate.endpoints.protocol import Front
        from authgate.traces import spans
        from authgate.worker import metrics
        from authgate.worker.write_behind import writer

        await self._serve_while(STARTS_NAME, HAND_OVER_WITHIN)
        if self.is_for_pages:
            await self._serve_while(CHECKS_NAME, PAGES_END_LATER)
        Front.is_ending = True
        await super().shutdown(sockets)
        metrics.publish()
        # In another thread, because a hanging database must not block the worker from receiving signals.
        await asyncio.get_running_loop().run_in_executor(None, writer.end)
        await asyncio.get_running_loop().run_in_executor(None, spans.end)
        handler.flush()

    async def _serve_while(self, name: str, seconds: float) -> None:
        """Serve on while a sibling process has this name, for `seconds` at most."""
        deadline, ticks = time.monotonic() + seconds, 0
        while time.monotonic() < deadline and name in _sibling_names():
            await asyncio.sleep(1 / TICKS_A_SECOND)
            ticks += 1
            await self.on_tick(ticks)


def _sibling_names() -> set[str]:
    """Return the names of all processes that this process's master started."""
    names = set()
    with suppress(OSError):
        for pid in Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text().split():
            with suppress(OSError):
                names.add(Path(f"/proc/{pid}/comm").read_text().strip())
    return names


def _raise_open_files() -> int:
    """Raise this process's limit of open files to the maximum and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, min(hard, MOST_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _protocol_of_checks() -> type[asyncio.Protocol]:
    from authgate.endpoints.protocol import Front
    from authgate.traces import spans

    if spans.exporting is None:
        return Front
    from authgate.endpoints.traced_protocol import TracedFront

    return TracedFront


class PortalWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """Answers checks or pages, or both if there are no page processes."""

    pages: tuple[int, int] | None = None
    """The page processes' socket and its folder. gunicorn_conf sets both attributes before the fork."""

    is_for_pages = False

    def init_process(self) -> None:
        name_process(STARTS_NAME)
        super().init_process()

    def init_signals(self) -> None:
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        signal.siginterrupt(signal.SIGUSR1, False)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a reloading master blocks signals until here

    def run(self) -> None:
        from authgate.traces import spans

        # Django is set up and this process has forked, so threads may start.
        database_timeout.limit_everywhere(DATABASE_TIMEOUT)
        connections.limit = _raise_open_files() // 2
        spans.start()
        if self.is_for_pages:
            os.nice(NICENESS)
            turns.take_turns()
        else:
            self._begin_checks()
        if self.is_for_pages or self.pages is None:
            from ikd_portal import background

            background.start()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    def _begin_checks(self) -> None:
        from authgate.worker import feed, metrics

        sys.setswitchinterval(SWITCH_INTERVAL)
        gc.set_threshold(*COLLECT_EVERY)
        self.feed = feed.start()
        metrics.sources.append(self.feed.numbers)

    async def _serve(self) -> None:
        from authgate.endpoints.check_view import answer_alone
        from authgate.worker import lookups, metrics

        metrics.sources.append(self._numbers)
        server = self._server = PortalServer(self._server_config(), self._send_heartbeat)
        sockets = self.sockets
        if self.is_for_pages and self.pages is not None:
            for each in self.sockets:
                each.close()
            sockets = [socket.socket(fileno=os.dup(self.pages[0]))]
            server.is_for_pages = True
        else:
            lookups.start(self.feed, asyncio.get_running_loop(), answer_alone)
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self.handle_exit, signal.SIGQUIT, None)
        await server.serve(sockets=sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _server_config(self) -> Config:
        from ikd_portal.page_processes import Forwarder, Pages

        passes_on = self.pages is not None and not self.is_for_pages
        return Config(
            app=Forwarder(self.pages[1]) if self.pages and passes_on else self.wsgi,
            http=Pages if self.is_for_pages else _protocol_of_checks(),
            loop="uvloop",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=not self.is_for_pages,
            access_log=False,
            log_config=None,
            timeout_keep_alive=self.cfg.keepalive,
            timeout_graceful_shutdown=self.cfg.graceful_timeout,
        )

    def _numbers(self) -> dict[str, float]:
        kind = "pages" if self.is_for_pages else "checks"
        return {
            f'ikd_processes{{kind="{kind}"}}': 1,
            "ikd_connections": len(self._server.server_state.connections),
            "ikd_connections_refused_total": connections.refused,
        }

    def _send_heartbeat(self) -> None:
        """Show the master that this worker lives. End if the master is gone."""
        self.notify()
        from authgate.endpoints.protocol import Front
        from authgate.worker import metrics
        from authgate.worker.write_behind import CONNECTIONS_SHED, writer

        if refused := connections.take_refused():
            writer.note_shed(CONNECTIONS_SHED, refused)
        connections.seconds += 1
        if self.is_for_pages and connections.seconds % PUBLISH_EVERY == 0:
            asyncio.get_running_loop().run_in_executor(None, metrics.publish)
        for each in list(self._server.server_state.connections):
            if isinstance(each, Front):
                each.close_if_slow()
        if os.getppid() != self.ppid and not self._server.should_exit:
            self._server.should_exit = True
            signal.alarm(self.cfg.graceful_timeout)  # in case threads hang
