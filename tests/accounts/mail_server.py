"""A real SMTP server for tests. It keeps accepted mails and refuses certain recipients."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

REFUSED = b"550-5.1.1 <%s>: Recipient address rejected\r\n550 5.1.1 User unknown\x1b[2K in local table\r\n"


@dataclass
class MailServer:
    """A server that refuses addresses beginning with `refused`. `hellos` lists the names of its clients."""

    port: int = 0
    hellos: list[str] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(each, policy=policy.default) for each in self.raw]


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        kept = self.server.kept
        self.wfile.write(b"220 mail.example.com ESMTP\r\n")
        for line in self.rfile:
            command, _, argument = line.strip().partition(b" ")
            if command.upper() in (b"EHLO", b"HELO"):
                kept.hellos.append(argument.decode())
                self.wfile.write(b"250-mail.example.com\r\n250 8BITMIME\r\n")
            elif command.upper() == b"RCPT" and b"<refused" in argument:
                self.wfile.write(REFUSED % argument.partition(b"<")[2].partition(b">")[0])
            elif command.upper() == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                kept.raw.append(b"".join(iter(self._line, b".\r\n")))
                self.wfile.write(b"250 taken\r\n")
            elif command.upper() == b"QUIT":
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 yes\r\n")

    def _line(self) -> bytes:
        line = self.rfile.readline()
        return line[1:] if line.startswith(b"..") else line


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    kept: MailServer


@contextmanager
def mail_server() -> Iterator[MailServer]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.kept = MailServer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.kept
        finally:
            server.shutdown()
            thread.join()
