"""Annotations and ConfigMaps for ingress-nginx."""

from __future__ import annotations

import re

from authgate.proxy_configuration.facts import Facts, service_of
from authgate.proxy_configuration.shipped import File, ShippedFileChanged, between, changed, shipped

_RULE = re.compile(r"    - host: app\.example\.com\n(?:      .*\n)+")


def ingress_nginx(facts: Facts) -> tuple[File, ...]:
    """Return manifests for ingress-nginx. Raises BadFact unless both addresses are Services."""
    portal, app = service_of(facts.portal_at, "portal_at"), service_of(facts.backend, "backend")
    text = shipped("ingress-nginx/minimal.yaml")
    if facts.api:
        comment = "# The URLs of the portal on the applications' hosts"
        text = changed(text, {comment: _api(facts.api) + comment})
    text = _for_each_host(text, facts.hosts)
    in_cluster = f"{portal.name}.{portal.namespace}.svc.cluster.local"
    changes = {
        "sso.example.com": facts.portal,
        "hosts: [app.example.com]": f"hosts: [{', '.join(facts.hosts)}]",
        "portal.ikd.svc.cluster.local": in_cluster,
        "portal.ikd.svc.cluster.local:8000": f"{in_cluster}:{portal.port}",
        "{name: portal, port: {number: 8000}}": f"{{name: {portal.name}, port: {{number: {portal.port}}}}}",
        "{name: ikd-portal, port: {number: 8000}}": f"{{name: ikd-portal, port: {{number: {portal.port}}}}}",
        "{name: app, port: {number: 80}}": f"{{name: {app.name}, port: {{number: {app.port}}}}}",
        "namespace: ikd}": f"namespace: {portal.namespace}}}",
        "namespace: ikd\n": f"namespace: {portal.namespace}\n",
        "ikd/clear-headers": f"{portal.namespace}/clear-headers",
        "namespace: apps}": f"namespace: {app.namespace}}}",
        "namespace: apps\n": f"namespace: {app.namespace}\n",
        "apps/ikd-ask": f"{app.namespace}/ikd-ask",
        "  name: app\n": f"  name: {app.name}\n",
        "{name: app-ikd,": f"{{name: {app.name}-ikd,",
        "app-tls": f"{app.name}-tls",
    }
    if facts.api:
        changes["  name: app-api\n"] = f"  name: {app.name}-api\n"
    if port := facts.shown_port:
        start = "https://$host/authgate/start"
        changes |= {"ingress-nginx?host=$host\n": f"ingress-nginx?host=$host{port}\n"}
        changes |= {start: start.replace("$host", f"$host{port}")}
    return (File("ingress-nginx.yaml", changed(text, changes)),)


def _api(path: str) -> str:
    block = between(shipped("ingress-nginx/complete.yaml"), "# An API: the answer", "# For one group only")
    return changed(block, {"path: /api,": f"path: {path.rstrip('/')},"})


def _for_each_host(text: str, hosts: tuple[str, ...]) -> str:
    """Repeat each rule of the example for all hosts of the application. Raises ShippedFileChanged."""
    text, count = _RULE.subn(
        lambda match: "".join(match[0].replace("app.example.com", host) for host in hosts), text
    )
    if count < 2:
        raise ShippedFileChanged("- host: app.example.com")
    return text
