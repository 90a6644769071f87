"""nginx, with the files of deploy/nginx."""

from __future__ import annotations

import os
import shutil

from demo.cast import HOSTS, PORTAL_HOST
from demo.proxies.shipped import DEPLOY, Kind, Place, substitute

# deploy/ uses https on ports 80 and 443; the demo uses neither.
WITHOUT_TLS = r"(?m)^ +ssl_\w+ .*\n"

# Relative paths are below the folder of -p.
MAIN = """\
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


def write(program: str, place: Place) -> list[str]:
    folder = place.folder
    shutil.copytree(DEPLOY / "nginx" / "ikd", folder / "ikd")
    portal, site = ([pair] for pair in place.addresses.items())
    upstream = folder / "ikd" / "upstream.conf"
    upstream.write_text(substitute(upstream.read_text(), dict(portal), {}))
    names = {
        "sso.example.com;": f"{PORTAL_HOST};",
        "app.example.com;": f"{' '.join(HOSTS)};",
        "listen 443 ssl": f"listen 127.0.0.1:{place.port}",
    }
    text = (DEPLOY / "nginx" / "minimal.conf").read_text()
    (folder / "minimal.conf").write_text(substitute(text, names | dict(site), {WITHOUT_TLS: ""}))
    # As root, nginx would switch to a user who may not enter var/.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(user=user))
    return [program, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]


NGINX = Kind("nginx", "nginx", "apt install nginx-light (Debian)", write)
