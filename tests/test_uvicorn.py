"""The parts of uvicorn that the protocol and the worker use. A version that changes them fails here."""

from __future__ import annotations

import asyncio
import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from authgate.endpoints.protocol import Front

ROOT = Path(__file__).resolve().parent.parent


class Wire(asyncio.Transport):
    """The other end of a connection. It records what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.is_closed


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def protocol(
    kind: type[HttpToolsProtocol], loop: asyncio.AbstractEventLoop
) -> tuple[HttpToolsProtocol, Wire]:
    config = Config(app=answer, http=kind, ws="none", lifespan="off", log_config=None, timeout_keep_alive=75)
    made, wire = kind(config, ServerState(), {}, loop), Wire()
    made.connection_made(wire)
    return made, wire


def test_the_installed_version_is_the_one_that_the_front_supports() -> None:
    assert f"uvicorn=={version('uvicorn')} " in (ROOT / "requirements.txt").read_text()
    assert uvicorn.__version__ == "0.54.0", (
        "compare uvicorn's httptools_impl.py with authgate/endpoints/protocol.py"
    )


@pytest.mark.parametrize(
    ("owner", "method", "parameters"),
    [
        (HttpToolsProtocol, "__init__", ["self", "config", "server_state", "app_state", "_loop"]),
        (HttpToolsProtocol, "connection_made", ["self", "transport"]),
        (HttpToolsProtocol, "connection_lost", ["self", "exc"]),
        (HttpToolsProtocol, "data_received", ["self", "data"]),
        (HttpToolsProtocol, "on_message_begin", ["self"]),
        (HttpToolsProtocol, "on_url", ["self", "url"]),
        (HttpToolsProtocol, "on_header", ["self", "name", "value"]),
        (HttpToolsProtocol, "on_headers_complete", ["self"]),
        (HttpToolsProtocol, "on_body", ["self", "body"]),
        (HttpToolsProtocol, "on_message_complete", ["self"]),
        (HttpToolsProtocol, "on_response_complete", ["self"]),
        (HttpToolsProtocol, "shutdown", ["self"]),
        (HttpToolsProtocol, "timeout_keep_alive_handler", ["self"]),
        (Server, "shutdown", ["self", "sockets"]),
        (Server, "serve", ["self", "sockets"]),
        (Server, "on_tick", ["self", "counter"]),
        (Server, "main_loop", ["self"]),
        (Server, "handle_exit", ["self", "sig", "frame"]),
    ],
)
def test_a_method_that_is_extended_or_called_has_its_parameters(
    owner: type, method: str, parameters: list[str]
) -> None:
    assert list(inspect.signature(getattr(owner, method)).parameters) == parameters


def test_no_callback_of_the_parser_is_left_out_by_the_front() -> None:
    """A callback that a new version adds would not know that the front answered the message."""
    callbacks = {name for name in vars(HttpToolsProtocol) if name.startswith("on_")}

    assert callbacks == {
        "on_message_begin",
        "on_url",
        "on_header",
        "on_headers_complete",
        "on_body",
        "on_message_complete",
        "on_response_complete",
    }


def test_a_connection_has_what_the_front_reads() -> None:
    loop = asyncio.new_event_loop()
    made, wire = protocol(HttpToolsProtocol, loop)
    loop.close()

    assert made.cycle is None
    assert made.client is None
    assert not made.pipeline
    assert made.timeout_keep_alive_task is None
    assert made.timeout_keep_alive == 75
    assert isinstance(made.flow, FlowControl) and made.flow.write_paused is False
    assert made.server_state.total_requests == 0 and made.server_state.default_headers == []
    assert {"get_http_version", "get_method", "should_keep_alive", "should_upgrade"} <= set(dir(made.parser))
    assert made.transport is wire
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n" and 503 in STATUS_LINE


def test_a_cycle_reports_that_its_answer_is_complete() -> None:
    assert "response_complete" in inspect.getsource(RequestResponseCycle.__init__)
    assert "response_complete" in inspect.getsource(HttpToolsProtocol.shutdown)


def test_received_data_ends_the_keep_alive_timer() -> None:
    loop = asyncio.new_event_loop()
    made, _ = protocol(HttpToolsProtocol, loop)
    made.timeout_keep_alive_task = loop.call_later(75, made.timeout_keep_alive_handler)

    made.data_received(b"G")

    assert made.timeout_keep_alive_task is None
    loop.close()


@pytest.mark.parametrize("kind", [HttpToolsProtocol, Front])
@pytest.mark.parametrize(
    "octets",
    [
        b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["plain", "chunked", "HTTP/1.0", "pipelined"],
)
def test_requests_that_the_front_leaves_are_handled_by_uvicorn(
    kind: type[HttpToolsProtocol], octets: bytes
) -> None:
    async def answered() -> tuple[Any, bytes, bool]:
        made, wire = protocol(kind, asyncio.get_running_loop())
        made.data_received(octets)
        for _ in range(5):
            await asyncio.sleep(0)
        return made.scope, wire.written, wire.is_closed

    scope, written, is_closed = asyncio.run(answered())

    assert scope["type"] == "http" and scope["headers"][0] == (b"host", b"x")
    assert written.count(b"HTTP/1.1 200 OK") == octets.count(b" HTTP/1.")
    assert is_closed is (b"HTTP/1.0" in octets)


def test_the_loop_that_the_server_replaces_only_ticks() -> None:
    """Upstream's loop ticks ten times a second. Only every tenth tick does more than look for the end."""
    source = inspect.getsource(Server.main_loop)

    assert source.count("await ") == source.count("await self.on_tick(counter)") + 1
    assert "await asyncio.sleep(0.1)" in source
    assert "if counter % 10 == 0:" in inspect.getsource(Server.on_tick)


def test_only_a_signal_ends_the_loop_between_two_ticks() -> None:
    source = inspect.getsource(Server)

    assert source.count("self.should_exit = True") == 1
    assert "self.should_exit = True" in inspect.getsource(Server.handle_exit)


def test_the_server_ends_by_the_signal_that_ended_it_after_shutdown() -> None:
    """This is why the worker writes pending data in `shutdown`: no code runs after `serve`."""
    source = inspect.getsource(Server.serve) + inspect.getsource(Server.capture_signals)

    assert "with self.capture_signals():" in source
    assert "signal.raise_signal(captured_signal)" in source
    assert "await self.shutdown(sockets=sockets)" in inspect.getsource(Server._serve)
