"""A real nginx with the configuration of deploy/nginx."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.behaviour import PORTAL, SITES
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary
from tests.proxies.proxy import DEPLOY, Proxy, make_certificate
from tests.proxies.substitution import substituted

AROUND = """
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include {file};
}}
"""


def start_nginx(
    portal: Portal,
    backend: Backend,
    folder: Path,
    *,
    file: str = "complete.conf",
    portal_at: str = "",
    loopback: str = "127.0.0.2",
    shipped: Path = DEPLOY,
    second_at: str = "",
) -> Proxy:
    """Start nginx with one of the shipped files. Names, ports and addresses are replaced, and nothing else.

    `second_at` is the address of a second portal.
    """
    program = binary("nginx", "nginx-light")
    address = (loopback, portal.port)
    shutil.copytree(shipped / "nginx" / "ikd", folder / "ikd")
    addresses = {"server 127.0.0.1:8000": f"server {portal_at or portal.bind}"}
    if second_at:
        shutil.copytree(shipped / "nginx" / "several", folder / "ikd", dirs_exist_ok=True)
        addresses["server 127.0.0.1:8001"] = f"server {second_at}"
    upstream = folder / "ikd" / "upstream.conf"
    upstream.write_text(substituted(upstream.read_text(), addresses))
    text = (shipped / "nginx" / file).read_text()
    (folder / file).write_text(substituted(text, _replacements(text, portal, backend, folder, loopback)))
    (folder / "nginx.conf").write_text(AROUND.format(file=file))
    server = Server(
        [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")],
        log=folder / "nginx.log",
    )
    server.wait_for(address)
    return Proxy("nginx", "status", True, address, portal, backend, server, patience=5)


def _replacements(text: str, portal: Portal, backend: Backend, folder: Path, loopback: str) -> dict[str, str]:
    is_complete = "wiki.example.org" in text
    secure = " ssl" if portal.scheme == "https" else ""
    sites = SITES if is_complete else {"app": SITES["app"]}
    replacements = {"listen 443 ssl": f"listen {loopback}:{portal.port}{secure}"}
    replacements |= {host: portal.names[site] for site, host in sites.items()} | {
        PORTAL: portal.names["portal"]
    }
    ports = zip((9001, 9002, 9003), sites, strict=False)
    replacements |= {f"127.0.0.1:{port}": backend.addresses[site] for port, site in ports}
    if is_complete:
        replacements["listen 80"] = f"listen {loopback}:{portal.plain_port}"
    return replacements | _certificates(is_complete, portal, folder)


def _certificates(is_complete: bool, portal: Portal, folder: Path) -> dict[str, str]:
    domains = ("example.com", "example.org") if is_complete else ("example.com",)
    lines = {
        "pem": "ssl_certificate /etc/nginx/tls/{}.pem;",
        "key": "ssl_certificate_key /etc/nginx/tls/{}.key;",
    }
    if portal.scheme == "http":
        return {line.format(domain): "" for domain in domains for line in lines.values()}
    made = make_certificate(folder)
    used = {"pem": f"ssl_certificate {made.certificate};", "key": f"ssl_certificate_key {made.key};"}
    return {line.format(domain): used[kind] for domain in domains for kind, line in lines.items()}
