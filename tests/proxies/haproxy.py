"""A real HAProxy with the configuration of deploy/haproxy."""

from __future__ import annotations

from pathlib import Path

from tests.behaviour import PORTAL, SITES
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary
from tests.proxies.proxy import DEPLOY, Proxy, make_certificate
from tests.proxies.substitution import substituted


def start_haproxy(
    portal: Portal,
    backend: Backend,
    folder: Path,
    *,
    file: str = "complete.cfg",
    portal_at: str = "",
    loopback: str = "127.0.0.8",
    shipped: Path = DEPLOY,
) -> Proxy:
    """Start HAProxy with one of the shipped files, in which only names, ports and addresses are replaced."""
    program = binary("haproxy", "haproxy")
    address = (loopback, portal.port)
    text = (shipped / "haproxy" / file).read_text()
    replacements = _replacements(text, portal, backend, folder, loopback)
    replacements["127.0.0.1:8000"] = _haproxys_name(portal_at or portal.bind)
    replacements["/etc/haproxy/ikd.lua"] = str(shipped / "haproxy" / "ikd.lua")
    (folder / "haproxy.cfg").write_text(substituted(text, replacements))
    server = Server([program, "-db", "-f", str(folder / "haproxy.cfg")], log=folder / "haproxy.log")
    server.wait_for(address)
    return Proxy("haproxy", "redirect", True, address, portal, backend, server, patience=8)


def _replacements(text: str, portal: Portal, backend: Backend, folder: Path, loopback: str) -> dict[str, str]:
    is_complete = "wiki.example.org" in text
    sites = SITES if is_complete else {"app": SITES["app"]}
    replacements = {
        "bind :443": f"bind {loopback}:{portal.port}",
        "bind :80": f"bind {loopback}:{portal.plain_port}",
        "set-var-fmt(txn.ikd_host) %[var(txn.ikd_name)]": (
            f"set-var-fmt(txn.ikd_host) %[var(txn.ikd_name)]:{portal.port}"
        ),
        "log /dev/log local0 notice": "log stderr format raw local0 notice",
        "    user haproxy\n    group haproxy\n    chroot /var/lib/haproxy\n": "",
    }
    replacements |= {host: portal.names[site] for site, host in sites.items()} | {
        PORTAL: portal.names["portal"]
    }
    ports = zip((9001, 9002, 9003), sites, strict=False)
    replacements |= {f"127.0.0.1:{port}": backend.addresses[site] for port, site in ports}
    return replacements | _certificates(is_complete, portal, folder)


def _certificates(is_complete: bool, portal: Portal, folder: Path) -> dict[str, str]:
    place = "/etc/haproxy/tls/" if is_complete else "/etc/haproxy/tls/example.pem"
    if portal.scheme == "http":
        return {f" ssl crt {place} alpn h2,http/1.1": "", "str(https)": "str(http)"}
    made, both = make_certificate(folder), folder / "both.pem"
    both.write_text(made.certificate.read_text() + made.key.read_text())
    return {place: str(both)}


def _haproxys_name(bind: str) -> str:
    """Return an address of the portal (IKD_BIND) in HAProxy's form."""
    return bind.replace("unix:", "unix@", 1)
