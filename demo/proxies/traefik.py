"""Traefik, with the files of deploy/traefik."""

from __future__ import annotations

import json

from demo.cast import HOSTS, PORTAL_HOST
from demo.proxies.shipped import DEPLOY, Kind, Place, substitute
from ikd_portal.installation import DEMO_PACKAGES

# deploy/ uses https on ports 80 and 443; the demo uses neither.
CERTIFICATES = r"(?ms)^tls:\n.*?\n\n"
REDIRECT = r"(?ms)^  web:\n.*?(?=^  websecure:)"


def write(program: str, place: Place) -> list[str]:
    dynamic, static = place.folder / "dynamic.yaml", place.folder / "traefik.yaml"
    names = {
        "Host(`sso.example.com`)": f"Host(`{PORTAL_HOST}`)",
        "Host(`app.example.com`)": f"({' || '.join(f'Host(`{host}`)' for host in HOSTS)})",
    }
    text = (DEPLOY / "traefik" / "minimal.yaml").read_text()
    dynamic.write_text(substitute(text, place.addresses | names, {CERTIFICATES: ""}))
    places = {
        '":443"': f'"127.0.0.1:{place.port}"',
        "      tls: {}\n": "",
        "/etc/traefik/dynamic.yaml": json.dumps(str(dynamic)),
    }
    text = (DEPLOY / "traefik" / "traefik.yaml").read_text()
    static.write_text(substitute(text, places, {REDIRECT: ""}))
    return [program, f"--configFile={static}"]


TRAEFIK = Kind("traefik", "traefik", DEMO_PACKAGES, write)
