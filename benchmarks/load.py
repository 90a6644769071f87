"""The load: wrk on a core of its own, sending requests that differ as a real page's do."""

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
    """A server did not answer as the measurement needs; its figures would mean something else."""


@dataclass(frozen=True, slots=True)
class Figures:
    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Load:
    """Requests to send repeatedly, the status that each has to get, and over how many connections."""

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
    """Send the load for some seconds, and give what it cost the server and those that work for it."""
    expect(server, load)
    pids = [pid for each in (server, *others) for pid in machine.family(each.pid)]
    before = machine.cpu_seconds(pids)
    command = machine.pinned(wrk(server.address, load, seconds), machine.LOAD_CORE)
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = machine.cpu_seconds(pids) - before
    told = json.loads(output[output.index("{") :])
    wrong = told["above_399"] if load.status < 400 else told["requests"] - told["above_399"]
    if wrong or told["broken"] or not told["requests"]:
        raise Unexpected(
            f"{server.name}: {wrong} of {told['requests']} answers were not {load.status}, "
            f"{told['broken']} connections failed"
        )
    return Figures(
        cpu_us=spent * 1e6 / told["requests"],
        per_second=told["requests"] * 1e6 / told["us"],
        p50_ms=told["p50"] / 1000,
        p99_ms=told["p99"] / 1000,
    )


def wait_ms(server: Server, load: Load, times: int = 300) -> float:
    """Return how long one client waits for an answer, p50, while it sends requests one after the other."""
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
    """Read an answer whole, which says how long it is. Raises Unexpected if it ends before."""
    received = b""
    while part := client.recv(65536):
        received += part
        head, separator, body = received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if separator and len(body) >= int(length):
            return
    raise Unexpected(f"an answer ended after {received[:100]!r}")


def expect(server: Server, load: Load) -> None:
    """Send one of the requests and look at the very answer. Raises Unexpected."""
    status = status_of(server, load.first)
    if status != load.status:
        raise Unexpected(f"{server.name} answered {status} instead of {load.status}")


def status_of(server: Server, request: bytes) -> int:
    """Send a request, octet for octet, and give the status of its answer."""
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    connection.connect()
    connection.sock.sendall(request)
    response = http.client.HTTPResponse(connection.sock)
    response.begin()
    response.read()
    connection.close()
    return response.status
