"""A CAS server that hangs, with the portal's real server: it delays its own users and no check."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from authgate.cookies import cookie_name
from tests.forks import printed_by
from tests.own_database import environment_in
from tests.proxies.portal import Portal, start_portal
from tests.upstreams.cas_server import CasServer
from tests.upstreams.real import Visitor, url_of

AT_ONCE = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def portal(folder: Path, server: CasServer) -> Iterator[Portal]:
    portal = start_portal(folder, scheme="http", without_proxy=True)
    arguments = ["upstream", "add", "cas", "Campus", "--server", server.url, "--allow-private"]
    printed_by(["manage.py", *arguments], environment_in(folder, url_of(portal)))
    yield portal
    portal.server.stop()


def check(portal: Portal, who: str, site: str) -> tuple[int, float]:
    """Send nginx's check of a session that the worker does not have in memory. Return status and seconds."""
    headers = {
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": portal.host(site),
        "X-Forwarded-Uri": "/",
        "X-Forwarded-For": "198.51.100.7",
        "Cookie": f"{cookie_name(f'https://{portal.host(site)}', 'gate')}={portal.tokens[who][site]}",
    }
    began = time.monotonic()
    connection = http.client.HTTPConnection(urlsplit(url_of(portal)).netloc, timeout=30)
    connection.request("GET", "/authgate/nginx", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status, time.monotonic() - began


def test_checks_go_on_while_a_server_hangs(portal: Portal, server: CasServer) -> None:
    done = threading.Event()
    server.answer = lambda handler: done.wait(15) and None

    def arriving(number: int) -> tuple[Visitor, str]:
        # All must be sent there before the first returns: a server known to hang gets no more users.
        visitor = Visitor(url_of(portal))
        back, _ = server.issue(visitor.get("/auth/ssologin")[1], f"person-{number}")
        return visitor, back.removeprefix(url_of(portal))

    visits = [arriving(number) for number in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        hanging = [pool.submit(lambda visitor, path: visitor.get(path)[0], *visit) for visit in visits]
        time.sleep(2)
        found = [check(portal, who, site) for who in ("alice", "bob", "erin") for site in ("app", "wiki")]
        statuses = {future.result() for future in hanging}
        done.set()

    assert {status for status, _ in found} == {200}
    assert max(seconds for _, seconds in found) < 1
    assert statuses == {503}
