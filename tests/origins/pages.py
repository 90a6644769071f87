"""Applications with the pages of a test. They record the requests."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Pages

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        path = self.path.partition("?")[0]
        if path != "/favicon.ico":
            user = self.headers.get("X-Auth-Request-User", "")
            self.server.asked.append((self.command, self.path, user, body))
        status, headers, content = self.server.answers.get((self.command, path), (200, {}, f"page {path}"))
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    do_GET = do_POST = do_OPTIONS = do_PUT = answer

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


class Pages(ThreadingHTTPServer):
    """`answers` are by method and path. `asked` has method, path, user and body of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[tuple[str, str], tuple[int, dict[str, str], str]] = {}
        self.asked: list[tuple[str, str, str, str]] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"
