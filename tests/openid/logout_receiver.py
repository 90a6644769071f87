"""A real server at which an application receives sign-outs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


class Receiver:
    """The received requests, and the answers: each of `statuses` once, then 200."""

    def __init__(self, port: int) -> None:
        self.uri = f"http://127.0.0.1:{port}/logout"
        self.tokens: list[str] = []
        self.paths: list[str] = []
        self.statuses: list[int] = []
        self.delay = 0.0
        """Seconds before each answer."""


@contextmanager
def listening() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            time.sleep(receiver.delay)
            receiver.paths.append(self.path)
            receiver.tokens += form.get("logout_token", [])
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
