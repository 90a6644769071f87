"""A stub instead of the portal. It records requests, and sends the test's answer."""

from __future__ import annotations

import socketserver
import threading
import time
from dataclasses import dataclass

from tests.proxies.backend import Received


class Connection(socketserver.StreamRequestHandler):
    server: StubServer

    def handle(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            lines.append(line)
        if lines:
            asked = Received("portal", b"".join(lines).removesuffix(b"\r\n"), 0)
            self.server.stub.asked.append(asked)
            self._answer(self.server.stub, self.server.stub.answer_to(asked))

    def _answer(self, stub: Stub, answer: bytes) -> None:
        if not stub.seconds_an_octet:
            self.wfile.write(answer)
        for octet in answer if stub.seconds_an_octet else b"":
            self.wfile.write(bytes([octet]))
            time.sleep(stub.seconds_an_octet)


class StubServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, stub: Stub) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.stub = stub

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a proxy that closes the connection."""


@dataclass
class Stub:
    """Answers every request with the same bytes, at once or one by one, and closes the connection."""

    answer: bytes = b""
    seconds_an_octet: float = 0

    def __post_init__(self) -> None:
        self.asked: list[Received] = []
        self._server = StubServer(self)
        self.bind = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer_to(self, asked: Received) -> bytes:
        return self.answer

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
