"""The proxies that every test runs against: another one joins by a file like nginx.py and a line here."""

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

CUT_COOKIES = ["nginx", "envoy", "haproxy", "caddy"]
"""Those that can keep the portal's cookies from the application."""

if os.environ.get("IKD_GATEWAY_TESTS"):  # `make gateway-test`
    from tests.proxies.envoy_gateway import start_envoy_gateway

    STARTERS["envoy_gateway"] = start_envoy_gateway
    CUT_COOKIES.append("envoy_gateway")

PUBLISH_NO_CHECK = ("nginx", "envoy", "haproxy", "caddy")
"""Those that answer 404 for a check's URL on a site too; the others ask the portal about any path."""

SPEAK_HTTP2 = ("traefik", "envoy", "haproxy", "caddy")
"""Those whose shipped configuration speaks HTTP/2 with browsers; nginx's leaves it to the administrator."""
