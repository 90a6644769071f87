"""For each proxy: mistakes in its shipped configuration, and which of them the doctor cannot see."""

from __future__ import annotations

from tests.doctor.tables import caddy, envoy, haproxy, ingress_nginx, nginx, traefik

TABLE = {
    "nginx": nginx.MISTAKES,
    "traefik": traefik.MISTAKES,
    "caddy": caddy.MISTAKES,
    "haproxy": haproxy.MISTAKES,
    "envoy": envoy.MISTAKES,
    "ingress_nginx": ingress_nginx.MISTAKES,
}
FILES = {
    "nginx": "minimal.conf",
    "traefik": "minimal.yaml",
    "envoy": "minimal.yaml",
    "haproxy": "minimal.cfg",
    "caddy": "minimal.Caddyfile",
    "ingress_nginx": "minimal.yaml",
}
PATHS = ("/open/page",)
"""A path that some of the mistakes are about. It is tested besides the first page."""
