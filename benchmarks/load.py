"""The load: wrk on its own core, sending requests that differ like those of a real page."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import machine
from benchmarks.servers import Server

CONNECTIONS = 16

SCRIPT = """
local requests, count, sent = {}, 0, 0
function init(args)
  local file = io.open("%s", "rb")
  for request in file:read("*a"):gmatch("[^\\1]+") do count = count + 1; requests[count] = request end
  file:close()
end
function request() sent = sent + 1; return requests[sent %% count + 1] end
function done(summary, latency)
  local e = summary.errors
  local form = '{"requests": %%d, "us": %%d, "above_399": %%d, "broken": %%d, "p50": %%f, "p99": %%f}'
  io.write(string.format(form,
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class Unexpected(Exception):
    """A server's answer differs from what the measurement needs, so its figures would be meaningless."""


@dataclass(frozen=True, slots=True)
class Figures:
    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Load:
    """Requests to send repeatedly, the expected status, and the number of connections."""

    path: Path
    first: bytes
    status: int
    connections: int = CONNECTIONS


def prepare(
    folder: Path, name: str, requests: Iterable[bytes], status: int = 200, connections: int = CONNECTIONS
) -> Load:
    """Write requests to a file that wrk reads."""
    every = list(requests)
    path = folder / f"{name}.requests"
    path.write_bytes(b"\1".join(every))
    path.with_suffix(".lua").write_text(SCRIPT % path)
    return Load(path, every[0], status, connections)


def wrk(address: tuple[str, int], load: Load, seconds: int) -> list[str]:
    url = f"http://{address[0]}:{address[1]}/"
    script = str(load.path.with_suffix(".lua"))
    return ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", script, url]


def measure(server: Server, load: Load, seconds: int, others: Iterable[Server] = ()) -> Figures:
    """Send the load for some seconds. Return what it cost the server and the servers behind it."""
    expect(server, load)
    pids = [pid for each in (server, *others) for pid in machine.family(each.pid)]
    before = machine.cpu_seconds(pids)
    command = machine.pinned(wrk(server.address, load, seconds), machine.LOAD_CORE)
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = machine.cpu_seconds(pids) - before
    summary = json.loads(output[output.index("{") :])
    wrong = summary["above_399"] if load.status < 400 else summary["requests"] - summary["above_399"]
    if wrong or summary["broken"] or not summary["requests"]:
        raise Unexpected(
            f"{server.name}: {wrong} of {summary['requests']} answers were not {load.status}, "
            f"{summary['broken']} connections failed"
        )
    return Figures(
        cpu_us=spent * 1e6 / summary["requests"],
        per_second=summary["requests"] * 1e6 / summary["us"],
        p50_ms=summary["p50"] / 1000,
        p99_ms=summary["p99"] / 1000,
    )


def wait_ms(server: Server, load: Load, times: int = 300) -> float:
    """Return the median wait of one client in ms, which sends requests one after the other."""
    waits = []
    with machine.on_core(machine.LOAD_CORE), socket.create_connection(server.address, timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(times):
            began = time.perf_counter()
            client.sendall(load.first)
            _read_answer(client)
            waits.append(time.perf_counter() - began)
    return median(waits) * 1000


def _read_answer(client: socket.socket) -> None:
    """Read a whole answer with a Content-Length. Raises Unexpected if it ends early."""
    received = b""
    while part := client.recv(65536):
        received += part
        head, separator, body = received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if separator and len(body) >= int(length):
            return
    raise Unexpected(f"an answer ended after {received[:100]!r}")


def expect(server: Server, load: Load) -> None:
    """Send one of the requests and check the status of its answer. Raises Unexpected."""
    status = status_of(server, load.first)
    if status != load.status:
        raise Unexpected(f"{server.name} answered {status} instead of {load.status}")


def status_of(server: Server, request: bytes) -> int:
    """Send a request byte for byte, and return the status of its answer."""
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    connection.connect()
    connection.sock.sendall(request)
    response = http.client.HTTPResponse(connection.sock)
    response.begin()
    response.read()
    connection.close()
    return response.status
