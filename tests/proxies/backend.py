"""Applications that record each request byte for byte, and answer everything with 200."""

from __future__ import annotations

import base64
import hashlib
import socketserver
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Received:
    """A request that reached an application. `application` is its name; `head` is unchanged."""

    application: str
    head: bytes
    body_length: int

    @property
    def request_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]

    def all(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header.lower() == name.lower()]


class Connection(socketserver.StreamRequestHandler):
    server: Application

    def handle(self) -> None:
        while head := self._head():
            received = Received(self.server.name, head, self._body_length(head))
            if b" /favicon.ico " not in head:  # browsers request it at any time
                self.server.backend.received.append(received)
            if "websocket" in received.all("Upgrade"):
                self._echo(received)
                return
            body = b"" if head.startswith(b"HEAD ") else b"reached"
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: text/html\r\n"
                b"Set-Cookie: theme=dark; Path=/\r\n\r\n" + body
            )

    def _head(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            lines.append(line)
        return b"".join(lines).removesuffix(b"\r\n")

    def _body_length(self, head: bytes) -> int:
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if fields.get(b"transfer-encoding") == b"chunked":
            length = 0
            while size := int(self.rfile.readline(), 16):
                length += len(self.rfile.read(size + 2)) - 2
            self.rfile.readline()
            return length
        return len(self.rfile.read(int(fields.get(b"content-length", 0))))

    def _echo(self, received: Received) -> None:
        key = received.all("Sec-WebSocket-Key")[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        while data := self.connection.recv(4096):
            self.connection.sendall(data)


class Application(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, name: str, backend: Backend) -> None:
        super().__init__((backend.host, 0), Connection)
        self.name, self.backend = name, backend

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a proxy that closes the connection."""


@dataclass
class Backend:
    """The applications of a test session, by name, and the requests since the last `take`."""

    names: tuple[str, ...]
    host: str = "127.0.0.1"
    received: list[Received] = field(default_factory=list)
    addresses: dict[str, str] = field(default_factory=dict)
    _servers: list[Application] = field(default_factory=list)

    def start(self) -> None:
        for name in self.names:
            server = Application(name, self)
            self._servers.append(server)
            self.addresses[name] = f"{self.host}:{server.server_address[1]}"
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def take(self) -> list[Received]:
        """Return and remove the requests that arrived."""
        taken, self.received[:] = list(self.received), []
        return taken
