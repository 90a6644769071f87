"""Proxies that serve one page twice: protected as in deploy/, and without protection on another port.

The shipped files are unchanged except that names are replaced, and http replaces https.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks import servers
from benchmarks.servers import ROOT
from tests.proxies.substitution import substituted

DEPLOY = ROOT / "deploy"
HOST, PORTAL = "app.example.com", "sso.example.com"


@dataclass(frozen=True, slots=True)
class Places:
    """The ports of the page with and without protection; the portal and the application as `address:port`."""

    protected: int
    bare: int
    portal: str
    application: str


Configure = Callable[[Path, Places], list[str]]
"""Writes a proxy's configuration into a folder. Returns the command that runs it on one core."""


def caddy(folder: Path, places: Places) -> list[str]:
    tls = "\ttls /etc/caddy/tls/example.pem /etc/caddy/tls/example.key\n"
    replacements = {
        "\tadmin off\n": "\tadmin off\n\tdefault_bind 127.0.0.1\n",
        tls: "",
        "X-Forwarded-Proto https": "X-Forwarded-Proto http",
        "https:// {": f"http://:{places.protected} {{",
        **{f"https://{name}": f"http://{name}:{places.protected}" for name in (PORTAL, HOST)},
        "127.0.0.1:8000": places.portal,
        "127.0.0.1:9001": places.application,
    }
    bare = f"\nhttp://:{places.bare} {{\n\treverse_proxy {places.application}\n}}\n"
    file = folder / "Caddyfile"
    file.write_text(substituted((DEPLOY / "caddy" / "minimal.Caddyfile").read_text(), replacements) + bare)
    return [servers.program("caddy") or "", "run", "--config", str(file), "--adapter", "caddyfile"]


def haproxy(folder: Path, places: Places) -> list[str]:
    replacements = {
        " ssl crt /etc/haproxy/tls/example.pem alpn h2,http/1.1": "",
        "bind :443": f"bind 127.0.0.1:{places.protected}",
        "bind :80": f"bind 127.0.0.1:{servers.free_port()}",
        "str(https)": "str(http)",
        "log /dev/log local0 notice": "log stderr format raw local0 notice",
        "    user haproxy\n    group haproxy\n    chroot /var/lib/haproxy\n": "",
        "/etc/haproxy/ikd.lua": str(DEPLOY / "haproxy" / "ikd.lua"),
        "127.0.0.1:8000": places.portal,
        "127.0.0.1:9001": places.application,
    }
    bare = f"\nfrontend bare\n    bind 127.0.0.1:{places.bare}\n    default_backend app\n"
    file = folder / "haproxy.cfg"
    file.write_text(substituted((DEPLOY / "haproxy" / "minimal.cfg").read_text(), replacements) + bare)
    return [servers.program("haproxy") or "", "-db", "-f", str(file)]


def envoy(folder: Path, places: Places) -> list[str]:
    text = (DEPLOY / "envoy" / "minimal.yaml").read_text()
    encryption = text[text.index("transport_socket:") : text.index("filters:", text.index("private_key:"))]
    replacements = {
        encryption: "",
        "{address: 0.0.0.0, port_value: 443}": f"{{address: 127.0.0.1, port_value: {places.protected}}}",
        "{address: 127.0.0.1, port_value: 8000}": _endpoint(places.portal),
        "{address: 127.0.0.1, port_value: 9001}": _endpoint(places.application),
    }
    configuration = yaml.safe_load(substituted(text, replacements))
    configuration["static_resources"]["listeners"].append(_bare_listener(places.bare))
    file = folder / "envoy.json"
    file.write_text(json.dumps(configuration))
    command = [servers.program("envoy") or "", "--disable-hot-restart", "--concurrency", "1"]
    return [*command, "-l", "warn", "-c", str(file)]


def _endpoint(place: str) -> str:
    address, _, port = place.partition(":")
    return f"{{address: {address}, port_value: {port}}}"


def _bare_listener(port: int) -> dict[str, Any]:
    extensions = "type.googleapis.com/envoy.extensions.filters"
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{extensions}.http.router.v3.Router"},
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "bare", "domains": ["*"], "routes": routes}]},
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": "bare",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": filters}],
    }


CONFIGURE: dict[str, tuple[str, Configure]] = {
    "Caddy": ("caddy", caddy),
    "HAProxy": ("haproxy", haproxy),
    "Envoy": ("envoy", envoy),
}
"""Each proxy's program and configuration by the name to show."""
