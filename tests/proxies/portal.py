"""A portal in its real server, with its own database."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from authgate.cookies import cookie_name
from authgate.decision.target import origin_of
from tests.behaviour import PORTAL, SITES
from tests.forks import printed_by
from tests.own_database import create_database_in, environment_in
from tests.pattern import CHEAPEST_HASHES, ROOT
from tests.proxies.processes import Server, free_port
from tests.proxies.wire import exchange, request_bytes


@dataclass
class Portal:
    """A running portal. `names` are the hosts of the portal and the sites. All proxies listen on `port`."""

    scheme: str
    names: dict[str, str]
    port: int
    plain_port: int
    bind: str
    tokens: dict[str, dict[str, str]]
    server: Server
    api_tokens: dict[str, str]

    def host(self, site: str) -> str:
        return self.names[site] if self.port in (80, 443) else f"{self.names[site]}:{self.port}"

    def origin(self, site: str) -> str:
        return f"{self.scheme}://{self.host(site)}"

    def cookie(self, who: str, site: str) -> str:
        """Return the Cookie header of a browser that is signed in at a site."""
        return f"{self.cookie_name(site)}={self.tokens[who][site]}"

    def cookie_name(self, site: str, kind: str = "gate") -> str:
        return cookie_name(origin_of(self.origin(site)), kind)


def start_portal(
    folder: Path,
    *,
    scheme: str,
    domains: dict[str, str] | None = None,
    port: int = 0,
    without_proxy: bool = False,
    own_host: str = "localhost",
    **settings: str,
) -> Portal:
    """Start a portal in `folder`. `domains` are the hosts for plain http.

    `port` is the proxies' port, or any free one. `without_proxy` gives the portal an address that no proxy
    serves; `own_host` is its name.
    """
    names = {"portal": PORTAL, **SITES} | (domains or {})
    port, plain_port, own_port = port or free_port(), free_port(), free_port()
    shown = "" if port in (80, 443) else f":{port}"
    url = f"http://{own_host}:{own_port}" if without_proxy else f"{scheme}://{names['portal']}{shown}"
    environment = environment_in(folder, url) | {
        "IKD_BIND": f"127.0.0.1:{own_port}",
        "IKD_WORKERS": "1",
        "IKD_PAGE_WORKERS": "1",
        "IKD_EVENTS_AT_ONCE": "1000000",
        **CHEAPEST_HASHES,
        **settings,
    }
    sites = {name: host for name, host in names.items() if name != "portal"} if domains else {}
    create_database_in(folder)
    tokens = json.loads(printed_by(["-m", "tests.proxies.cast", shown, json.dumps(sites)], environment))
    server = Server(
        [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "ikd_portal/gunicorn_conf.py",
            "ikd_portal.asgi:application",
        ],
        log=folder / "portal.log",
        cwd=ROOT,
        env=environment,
    )
    bind = environment["IKD_BIND"]
    host, _, listens_on = bind.rpartition(":")
    server.wait_for(bind.removeprefix("unix:") if host == "unix" else (host, int(listens_on)))
    if host != "unix":
        # It listens before its processes are ready. A proxy would give up on the first check.
        exchange((host, int(listens_on)), request_bytes("GET", "/healthz", "portal"), tls_name=None)
    return Portal(scheme, names, port, plain_port, bind, tokens["gates"], server, tokens["api"])
