"""`ikd-portal healthcheck`: tests whether the portal on this machine answers, for container runtimes."""

from __future__ import annotations

import http.client
import os
import socket
import sys

TIMEOUT = 4.0
"""Seconds. Less than the timeout of the image's HEALTHCHECK, which is five."""
EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}  # noqa: S104


class _Connection(http.client.HTTPConnection):
    """A connection to IKD_BIND, which is a Unix socket or a port."""

    def __init__(self, bind: str) -> None:
        host, _, port = bind.rpartition(":")
        host = host.removeprefix("tcp://").strip("[]")
        super().__init__(EVERY_ADDRESS.get(host, host), int(port) if port.isdigit() else 8000, TIMEOUT)
        self._path = bind.removeprefix("unix:") if bind.startswith("unix:") else ""

    def connect(self) -> None:
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self._path)


def main() -> None:
    """Exit with 0 if `/healthz` answers 200, otherwise with 1 and the reason."""
    default = f"127.0.0.1:{os.environ.get('PORT') or '8000'}"
    bind = (os.environ.get("IKD_BIND") or default).partition(",")[0]
    try:
        connection = _Connection(bind)
        connection.request("GET", "/healthz", headers={"Host": "healthcheck"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"{bind} does not answer: {error}")
    if status != 200:
        sys.exit(f"{bind} answers {status}")
