"""The kinds of proxies for which the portal can write a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from authgate.proxy_configuration.facts import Facts
from authgate.proxy_configuration.gateway_api import envoy_gateway, gateway_api
from authgate.proxy_configuration.ingress_nginx import ingress_nginx
from authgate.proxy_configuration.servers import caddy, envoy, haproxy, nginx
from authgate.proxy_configuration.shipped import File
from authgate.proxy_configuration.traefik import custom_resources, labels, traefik

_SERVER = ("127.0.0.1:9001", "127.0.0.1:8000")
_CLUSTER = ("app.apps:80", "portal.ikd:8000")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of proxy: its name, its page in docs/, and example addresses of application and portal."""

    name: str
    page: str
    examples: tuple[str, str]
    files: Callable[[Facts], tuple[File, ...]]
    """Returns the files, the main one first. Raises BadFact and ShippedFileChanged."""


KINDS = {
    "nginx": Kind("nginx", "nginx.md", _SERVER, nginx),
    "traefik": Kind("Traefik", "traefik.md", _SERVER, traefik),
    "traefik-docker": Kind("Traefik (Docker)", "traefik.md", _SERVER, labels),
    "traefik-kubernetes": Kind("Traefik (Kubernetes)", "kubernetes.md", _CLUSTER, custom_resources),
    "ingress-nginx": Kind("ingress-nginx", "ingress-nginx.md", _CLUSTER, ingress_nginx),
    "gateway-api": Kind("Gateway API (ExternalAuth)", "kubernetes.md", _CLUSTER, gateway_api),
    "envoy-gateway": Kind("Gateway API (Envoy Gateway)", "kubernetes.md", _CLUSTER, envoy_gateway),
    "caddy": Kind("Caddy", "caddy.md", _SERVER, caddy),
    "haproxy": Kind("HAProxy", "haproxy.md", _SERVER, haproxy),
    "envoy": Kind("Envoy", "envoy.md", _SERVER, envoy),
}
