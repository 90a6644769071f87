"""The proxies that the demo supports. To add another, write a file like nginx.py and add a line here."""

from __future__ import annotations

import shutil
from pathlib import Path

from demo.proxies.caddy import CADDY
from demo.proxies.envoy import ENVOY
from demo.proxies.haproxy import HAPROXY
from demo.proxies.nginx import NGINX
from demo.proxies.shipped import Kind, Place
from demo.proxies.traefik import TRAEFIK
from ikd_portal.run import NotReady

KINDS: dict[str, Kind] = {
    "traefik": TRAEFIK,
    "nginx": NGINX,
    "envoy": ENVOY,
    "haproxy": HAPROXY,
    "caddy": CADDY,
}


def kind_from(text: str) -> Kind:
    """Return the proxy that PROXY names. Raises NotReady."""
    if text not in KINDS:
        raise NotReady(f"PROXY must be one of {', '.join(KINDS)}, is {text!r}.")
    return KINDS[text]


def write_configuration(kind: Kind, var: Path, port: int, portal_port: int, backend_port: int) -> list[str]:
    """Write the proxy's files below `var` and return its command line. Raises NotReady."""
    program = kind.find()
    if program is None:
        raise NotReady(f"{kind.name} is missing: {kind.package}, or take another with PROXY=.")
    folder = var / "proxy" / kind.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    place = Place(folder, port, f"127.0.0.1:{portal_port}", f"127.0.0.1:{backend_port}")
    return kind.write(program, place)
