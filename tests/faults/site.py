"""A protected site: a real nginx that asks the portal, and load that records every answer."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.front.serving import Connection, Portal, eventually, free_port, program

CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  upstream portal {{ server 127.0.0.1:{portal}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location = /auth {{
      internal;
      proxy_pass http://portal/authgate/nginx;
      proxy_http_version 1.1;
      proxy_pass_request_body off;
      proxy_connect_timeout 2s; proxy_read_timeout 4s;
      proxy_set_header Connection "";
      proxy_set_header Content-Length "";
      proxy_set_header X-Forwarded-Method $request_method;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Host wiki.example.com;
      proxy_set_header X-Forwarded-Uri $request_uri;
      proxy_set_header X-Forwarded-For $remote_addr;
    }}
    location / {{ auth_request /auth; try_files /nothing @page; }}
    location @page {{ return 200 "page"; }}
  }}
}}
"""


class Site:
    """nginx in front of the wiki's page, and the portal behind it."""

    def __init__(self, folder: Path, portal: Portal) -> None:
        nginx = program("nginx", "nginx-light")
        port = free_port()
        self.address = ("127.0.0.1", port)
        user = "user root;" if folder.owner() == "root" else ""
        text = CONFIGURATION.format(folder=folder, port=port, portal=portal.address[1], user=user)
        (folder / "nginx.conf").write_text(text)
        self.process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")])
        assert eventually(lambda: self.ask("") > 0)

    def ask(self, cookie: str) -> int:
        """Request the page, and return the status. Returns 0 if no server answers."""
        try:
            with Connection(self.address, timeout=8) as connection:
                return connection.get("/", Cookie=cookie or "a=b", Connection="close").status
        except OSError:
            return 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


class Load:
    """Requests in a loop with some cookies. It records the status, user and times of each answer."""

    def __init__(self, site: Site, cookies: dict[str, str]) -> None:
        self._site, self._cookies = site, cookies
        self._ended = threading.Event()
        self.answers: list[tuple[float, float, str, int]] = []
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in list(cookies) * 2]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(20)

    def _ask(self, name: str) -> None:
        while not self._ended.is_set():
            asked = time.monotonic()
            with suppress(OSError):
                status = self._site.ask(self._cookies[name])
                self.answers.append((asked, time.monotonic(), name, status))
            time.sleep(0.01)

    def statuses(self, name: str, since: float = 0.0, until: float = 1e12) -> list[int]:
        """Return the statuses of requests that began after `since` and were answered before `until`."""
        return [status for asked, answered, who, status in self.answers
                if who == name and asked >= since and answered <= until]  # fmt: skip
