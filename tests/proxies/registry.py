"""The proxies of all tests. To add another, write a file like nginx.py and a line here."""

from __future__ import annotations

import os

from tests.proxies.caddy import start_caddy
from tests.proxies.envoy import start_envoy
from tests.proxies.haproxy import start_haproxy
from tests.proxies.ingress_nginx import start_ingress_nginx
from tests.proxies.nginx import start_nginx
from tests.proxies.proxy import StartProxy
from tests.proxies.traefik import start_traefik

STARTERS: dict[str, StartProxy] = {
    "nginx": start_nginx,
    "traefik": start_traefik,
    "envoy": start_envoy,
    "haproxy": start_haproxy,
    "caddy": start_caddy,
    "ingress_nginx": start_ingress_nginx,
}

REMOVE_COOKIES = ["nginx", "envoy", "haproxy", "caddy"]
"""Proxies that can remove the portal's cookies before the application."""

if os.environ.get("IKD_GATEWAY_TESTS"):  # `make gateway-test`
    from tests.proxies.envoy_gateway import start_envoy_gateway

    STARTERS["envoy_gateway"] = start_envoy_gateway
    REMOVE_COOKIES.append("envoy_gateway")

PUBLISH_NO_CHECK = ("nginx", "envoy", "haproxy", "caddy")
"""Proxies that answer 404 for a check's URL on a site. The others ask the portal about any path."""

SPEAK_HTTP2 = ("traefik", "envoy", "haproxy", "caddy")
"""Proxies that speak HTTP/2 with browsers as shipped. For nginx, the administrator decides."""
