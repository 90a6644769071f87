"""Caddy, with the files of deploy/caddy."""

from __future__ import annotations

from demo.cast import HOSTS, PORTAL_HOST
from demo.proxies.shipped import DEPLOY, Kind, Place, substitute
from ikd_portal.installation import DEMO_PACKAGES

# deploy/ uses https on port 443; the demo uses neither.
WITHOUT_TLS = r"(?m)^\ttls .*\n"


def write(program: str, place: Place) -> list[str]:
    file = place.folder / "Caddyfile"
    values = {
        "\tadmin off\n": "\tadmin off\n\tpersist_config off\n\tdefault_bind 127.0.0.1\n",
        "https:// {": f"http://:{place.port} {{",
        "https://sso.example.com {": f"http://{PORTAL_HOST}:{place.port} {{",
        "https://app.example.com {": f"{', '.join(f'http://{host}:{place.port}' for host in HOSTS)} {{",
        "Host {host}": f"Host {{host}}:{place.port}",
        "X-Forwarded-Proto https": "X-Forwarded-Proto http",
    }
    text = (DEPLOY / "caddy" / "minimal.Caddyfile").read_text()
    file.write_text(substitute(text, values | place.addresses, {WITHOUT_TLS: ""}))
    # Caddy stores data of its own, by default in the home folder.
    own = [f"{name}={place.folder / 'own'}" for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME")]
    return ["/usr/bin/env", *own, program, "run", "--config", str(file), "--adapter", "caddyfile"]


CADDY = Kind("caddy", "caddy", DEMO_PACKAGES, write)
