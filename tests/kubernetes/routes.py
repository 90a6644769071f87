"""The objects with which Traefik finds the portal and the three sites, in each form of writing them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from authgate.proxy_configuration.facts import Address, Facts
from authgate.proxy_configuration.proxies import KINDS
from tests.behaviour import PORTAL, SITES
from tests.kubernetes.rendering import Manifest, found, render
from tests.proxies.proxy import DEPLOY, make_certificate

PORTAL_AT = Address("portal.ikd", 8000)
APPS, IKD = "apps", "ikd"
MIDDLEWARES = "traefik.ingress.kubernetes.io/router.middlewares"


def generated(folder: Path) -> list[Manifest]:
    """Return the objects that the administration generates for each application."""
    objects: list[Manifest] = []
    for site, host in SITES.items():
        facts = Facts(PORTAL, (host,), 443, Address(f"{site}.{APPS}", 80), PORTAL_AT, "")
        [file] = KINDS["traefik-kubernetes"].files(facts)
        objects += yaml.safe_load_all(file.text)
    return objects


def shared(folder: Path) -> list[Manifest]:
    """Return routes that use the middleware in the portal's namespace, which the chart installs."""
    made = _chart(folder, traefik={"enabled": True, "applicationNamespaces": [IKD]})
    return [*made, *(ingress_route(site, {"name": "ikd", "namespace": IKD}) for site in SITES)]


def legacy_ingress(folder: Path) -> list[Manifest]:
    """Return plain Ingresses with the annotation for names without `safeNaming`."""
    made = _chart(folder, traefik={"enabled": True, "applicationNamespaces": [APPS]})
    return [*made, *_ingresses(f"{APPS}-ikd@kubernetescrd")]


def plain_ingress(folder: Path) -> list[Manifest]:
    """Return plain Ingresses with the annotation of the shipped file."""
    return [*_chart(folder, traefik={"enabled": True, "applicationNamespaces": [APPS]}), *_ingresses()]


def shared_ingress(folder: Path) -> list[Manifest]:
    """Return plain Ingresses that name the middleware in the portal's namespace in their annotation."""
    made = _chart(folder, traefik={"enabled": True, "applicationNamespaces": [IKD]})
    return [*made, *_ingresses(f"{IKD}_ikd@kubernetescrd")]


def _ingresses(middleware: str = "") -> list[Manifest]:
    [shipped] = yaml.safe_load_all((DEPLOY / "kubernetes" / "traefik-ingress.yaml").read_text())
    if middleware:
        shipped["metadata"]["annotations"][MIDDLEWARES] = middleware
    return [_for_site(shipped, site) for site in SITES]


def gateway(folder: Path) -> list[Manifest]:
    """Return a Gateway and the HTTPRoutes of the shipped file, with the middleware as a filter."""
    made = _chart(
        folder,
        traefik={"enabled": True, "applicationNamespaces": [APPS]},
        gatewayApi={"enabled": True, "parentRefs": [{"name": "ikd"}]},
    )
    shipped = [*yaml.safe_load_all((DEPLOY / "kubernetes" / "traefik-gateway.yaml").read_text())]
    routes = [_for_site(found(shipped, "HTTPRoute", "app"), site) for site in SITES]
    middle = [each for each in made if each["kind"] != "IngressRoute"]
    return [*middle, found(shipped, "Gateway", "ikd"), *routes]


@dataclass(frozen=True, slots=True)
class Way:
    """A form of routes, and Traefik's options for it: `allowCrossNamespace` and `safeNaming`."""

    objects: Callable[[Path], list[Manifest]]
    crosses: bool = False
    is_safe: bool = True


WAYS = {
    "IngressRoute": Way(generated),
    "IngressRoute, legacy names": Way(generated, is_safe=False),
    "IngressRoute, shared": Way(shared, crosses=True),
    "Ingress": Way(plain_ingress),
    "Ingress, legacy names": Way(legacy_ingress, is_safe=False),
    "Ingress, shared": Way(shared_ingress),
    "HTTPRoute": Way(gateway),
}


def ingress_route(site: str, *middlewares: Manifest) -> Manifest:
    """Return an application's IngressRoute with these middlewares."""
    rule = {
        "kind": "Rule",
        "match": f"Host(`{SITES[site]}`)",
        "middlewares": list(middlewares),
        "services": [{"name": site, "port": 80}],
    }
    return {
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "IngressRoute",
        "metadata": {"name": site, "namespace": APPS},
        "spec": {"entryPoints": ["websecure"], "routes": [rule], "tls": {"secretName": f"{site}-tls"}},
    }


def _for_site(shipped: Manifest, site: str) -> Manifest:
    """Return an object of a shipped file for the application `app`, with the names of another site."""
    text = yaml.safe_dump(shipped).replace(SITES["app"], SITES[site])
    each: Any = yaml.safe_load(
        text.replace("name: app\n", f"name: {site}\n").replace("app-tls", f"{site}-tls")
    )
    return dict(each)


def _chart(folder: Path, **values: Any) -> list[Manifest]:
    objects = render(values, folder)
    proxied = ("traefik.io/", "gateway.networking.k8s.io/")
    return [each for each in objects if each["apiVersion"].startswith(proxied)]


# ---- what the routes lead to ------------------------------------------------------------------------------


def application(site: str, address: str) -> list[Manifest]:
    """Return the Service of an application and its pod's address, as a controller writes them."""
    host, _, port = address.rpartition(":")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": site, "namespace": APPS},
        "spec": {"selector": {"app": site}, "ports": [{"name": "http", "port": 80, "targetPort": int(port)}]},
    }
    return [service, endpoints(site, APPS, host, int(port))]


def endpoints(service: str, namespace: str, host: str, port: int) -> Manifest:
    """Return the addresses of a Service's pods."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [host], "conditions": {"ready": True, "serving": True}}],
    }


def certificates(folder: Path) -> list[Manifest]:
    """Return the Secrets with the certificates that the routes name."""
    made = make_certificate(folder)
    data = {
        name: base64.b64encode(path.read_bytes()).decode()
        for name, path in (("tls.crt", made.certificate), ("tls.key", made.key))
    }
    places = [("sso-tls", IKD), ("example-com", IKD), *((f"{site}-tls", APPS) for site in SITES)]
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": namespace},
            "data": data,
        }
        for name, namespace in places
    ]


CLASSES: list[Manifest] = [
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "traefik"},
        "spec": {"controller": "traefik.io/ingress-controller"},
    },
    {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": {"name": "traefik"},
        "spec": {"controllerName": "traefik.io/gateway-controller"},
    },
]
