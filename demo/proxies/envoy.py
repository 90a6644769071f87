"""Envoy, with the files of deploy/envoy."""

from __future__ import annotations

import json

from demo.cast import HOSTS, PORTAL_HOST, url_of
from demo.proxies.shipped import DEPLOY, Kind, Place, substitute
from ikd_portal.installation import DEMO_PACKAGES

# deploy/ uses https; the demo does not.
ENCRYPTION = r"(?ms)^        - transport_socket:\n.*?^          filters:"


def write(program: str, place: Place) -> list[str]:
    file = place.folder / "envoy.yaml"
    replacements = {_endpoint(shown): _endpoint(used) for shown, used in place.addresses.items()}
    replacements |= {
        "{address: 0.0.0.0, port_value: 443}": f"{{address: 127.0.0.1, port_value: {place.port}}}",
        "domains: [sso.example.com]": f"domains: {_names(place.port, PORTAL_HOST)}",
        "domains: [app.example.com]": f"domains: {_names(place.port, *HOSTS)}",
    }
    text = (DEPLOY / "envoy" / "minimal.yaml").read_text()
    file.write_text(substitute(text, replacements, {ENCRYPTION: "        - filters:"}))
    # Without hot restarts several Envoys can run on one machine.
    return [program, "--disable-hot-restart", "--concurrency", "2", "-l", "warn", "-c", str(file)]


def _endpoint(address: str) -> str:
    host, _, port = address.partition(":")
    return f"{{address: {host}, port_value: {port}}}"


def _names(port: int, *hosts: str) -> str:
    """Return hosts as browsers send them, with any port other than http's default."""
    return json.dumps([url_of(host, port).removeprefix("http://") for host in hosts])


ENVOY = Kind("envoy", "envoy", DEMO_PACKAGES, write)
