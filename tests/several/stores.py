"""Shared servers, reachable for a portal in its own network: Redis, its sentinels, and relays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from tests.front.serving import eventually, free_port, program

CHUNK = 65_536


class Redis:
    """A Redis in memory. If `primary` is the port of another Redis, this one is its replica."""

    def __init__(self, folder: Path, *hosts: str, primary: int = 0, sentinels_of: int = 0) -> None:
        self.port, self.hosts = free_port(), hosts
        self._program = program("redis-server", "redis-server")
        self._folder = folder / f"redis-{self.port}"
        self._folder.mkdir()
        self._lines = [
            f"bind {' '.join(dict.fromkeys(hosts))}",
            f"port {self.port}",
            "protected-mode no",
            f"dir {self._folder}",
        ]
        if sentinels_of:
            self._lines += [
                f"sentinel monitor mymaster {hosts[-1]} {sentinels_of} 1",
                "sentinel down-after-milliseconds mymaster 1000",
                "sentinel failover-timeout mymaster 3000",
            ]
        else:
            self._lines += ['save ""', "repl-diskless-sync-delay 0"]
        if primary:
            self._lines.append(f"replicaof {hosts[-1]} {primary}")
        self._options = ["--sentinel"] if sentinels_of else []
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Redis:
        file = self._folder / "redis.conf"
        if not file.exists():  # a sentinel writes to it
            file.write_text("\n".join([*self._lines, ""]))
        with (self._folder / "log").open("ab") as log:
            command = [self._program, str(file), *self._options]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        assert eventually(lambda: self.ask("PING") == "+PONG")
        return self

    def ask(self, *words: str) -> str:
        """Send a command, and return the answer."""
        with socket.create_connection((self.hosts[0], self.port), 5) as connection:
            parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            connection.sendall(f"*{len(words)}\r\n{parts}".encode())
            return connection.recv(CHUNK).decode().strip()

    def send(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(number)
            self.process.wait(20)


class Relay:
    """Passes connections at an address on to a port of 127.0.0.1."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self._to = host, port
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._to), 10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        threading.Thread(target=_pump, args=(client, server), daemon=True).start()
        _pump(server, client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while octets := source.recv(CHUNK):
            sink.sendall(octets)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
