"""Manifests for the Kubernetes Gateway API, with its ExternalAuth filter or Envoy Gateway's policies."""

from __future__ import annotations

import re

from authgate.proxy_configuration.facts import BadFact, Facts, Fault, Service, service_of
from authgate.proxy_configuration.shipped import END, File, between, changed, shipped

MOST_HOSTS = 16
"""Hostnames that an HTTPRoute may have."""

_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOSTNAME = re.compile(rf"(?:{_LABEL}\.)*[a-z](?:[a-z0-9-]*[a-z0-9])?")
"""A host name for the Gateway API. Its last label begins with a letter, so it is no IP address or number."""

_FILTER = "kubernetes/gateway-api.yaml"
_POLICY = "kubernetes/envoy-gateway.yaml"
_TARGET = (
    "    - {group: gateway.networking.k8s.io, kind: Gateway, name: ikd, sectionName: protected.example.com}\n"
)

_SAID = """\
# An API: the answer is always a plain 401 or 403. Without Accept and Sec-Fetch-Mode, the portal treats every
# client as a script."""
_COMMENT = re.compile(r"(?m)^ +#.*\n")


def _services(facts: Facts) -> tuple[Service, Service]:
    """Return the Services of the portal and the application. Raises BadFact, also for unsuitable hosts."""
    portal, app = service_of(facts.portal_at, "portal_at"), service_of(facts.backend, "backend")
    if not _HOSTNAME.fullmatch(facts.portal):
        raise BadFact("portal", Fault.HOSTNAMES)
    if len(facts.hosts) > MOST_HOSTS or not all(map(_HOSTNAME.fullmatch, facts.hosts)):
        raise BadFact("origins", Fault.HOSTNAMES)
    return portal, app


def _shared_changes(facts: Facts, portal: Service, app: Service) -> dict[str, str]:
    """Return the changes that both files need."""
    return {
        "https://sso.example.com": f"https://{facts.portal}{facts.shown_port}",
        "hostnames: [sso.example.com]": f"hostnames: [{_quoted(facts.portal)}]",
        "hostnames: [app.example.com]": f"hostnames: [{', '.join(map(_quoted, facts.hosts))}]",
        "`portal` in the namespace `ikd`": f"`{portal.name}` in the namespace `{portal.namespace}`",
        "namespace: ikd": f"namespace: {portal.namespace}",
        "namespace: apps": f"namespace: {app.namespace}",
        "metadata: {name: app,": f"metadata: {{name: {app.name},",
        "{name: portal, port: 8000}": f"{{name: {portal.name}, port: {portal.port}}}",
        "{name: app, port: 80}": f"{{name: {app.name}, port: {app.port}}}",
    }


def _quoted(host: str) -> str:
    """Return a host that YAML reads as text. YAML may read a host that begins with a digit as a number."""
    return f'"{host}"' if host[0].isdigit() else host


def _grant_changes(portal: Service, app: Service) -> dict[str, str]:
    """Return the changes to a ReferenceGrant. Its name contains the application's namespace."""
    return {
        "name: from-apps": f"name: from-{app.namespace}",
        "namespace: ikd": f"namespace: {portal.namespace}",
        "namespace: apps": f"namespace: {app.namespace}",
        "name: portal}": f"name: {portal.name}}}",
    }


def _in_namespace(service: Service) -> str:
    return f"{{name: {service.name}, namespace: {service.namespace}, port: {service.port}}}"


def _matches(path: str) -> str:
    return f"    - matches: [{{path: {{type: PathPrefix, value: {path.rstrip('/')}}}}}]\n      "


# ---- the ExternalAuth filter ------------------------------------------------------------------------------


def gateway_api(facts: Facts) -> tuple[File, ...]:
    """Return HTTPRoutes with the ExternalAuth filter. Raises BadFact unless both addresses are Services."""
    portal, app = _services(facts)
    text = shipped(_FILTER)
    changes = _shared_changes(facts, portal, app) | _grant_changes(portal, app)
    changes["{name: portal, namespace: ikd, port: 8000}"] = _in_namespace(portal)
    if facts.api:
        rule = between(text, "    - filters:\n", "---\n")
        changes[rule] = _rule_of_the_api(rule, facts.api, changes) + changed(rule, _within(rule, changes))
    return (File("gateway-api.yaml", changed(text, changes)),)


def _within(text: str, changes: dict[str, str]) -> dict[str, str]:
    """Return the changes that a part of a file needs."""
    return {old: new for old, new in changes.items() if old in text}


def _rule_of_the_api(rule: str, path: str, changes: dict[str, str]) -> str:
    """Return the rule for an API's path, below which the portal redirects no client."""
    rule = _COMMENT.sub("", rule)
    narrowed = {
        "    - filters:\n": f"{_matches(path)}filters:\n",
        f"{' ' * 16}- Accept\n": "",
        f"{' ' * 16}- Sec-Fetch-Mode\n": "",
    }
    said = _SAID.replace("# ", "    # ")
    return f"{said}\n" + changed(rule, _within(rule, changes) | narrowed)


# ---- Envoy Gateway ----------------------------------------------------------------------------------------


def envoy_gateway(facts: Facts) -> tuple[File, ...]:
    """Return a Gateway, its policies and routes. Raises BadFact unless both addresses are Services."""
    portal, app = _services(facts)
    text = shipped(_POLICY)
    listener = between(text, "    # Every route that attaches", "---\n")
    parent = "{name: ikd, namespace: ikd, sectionName: protected.example.com}"
    sections = _sections(facts.hosts)
    changes = _shared_changes(facts, portal, app) | {
        "hostname: sso.example.com": f"hostname: {_quoted(facts.portal)}",
        "port: 443": f"port: {facts.port}",
        listener: "".join(_listener(listener, name, host, facts) for name, host in sections.items()),
        _TARGET: "".join(_TARGET.replace(": protected.example.com}", f": {name}}}") for name in sections),
        parent: ", ".join(
            f"{{name: ikd, namespace: {portal.namespace}, sectionName: {name}}}" for name in sections
        ),
    }
    api = _api(text, facts.api, changes, portal, app) if facts.api else ""
    return (File("envoy-gateway.yaml", changed(text, changes) + api),)


def _sections(hosts: tuple[str, ...]) -> dict[str, str]:
    """Return the listeners by name: one for each parent domain, and one for each host without one.

    Listeners are named after the domains, so that the files for several applications use the same names.
    """
    sections = {}
    for host in hosts:
        parent = host.partition(".")[2]
        if "." in parent:
            sections[f"protected.{parent}"] = f"*.{parent}"
        else:
            sections[f"protected-host.{host}"] = host
    return sections


def _listener(text: str, name: str, host: str, facts: Facts) -> str:
    changes = {
        "name: protected.example.com\n": f"name: {name}\n",
        '"*.example.com"': f'"{host}"',
        "443": str(facts.port),
    }
    return changed(text, changes)


def _api(text: str, path: str, changes: dict[str, str], portal: Service, app: Service) -> str:
    """Return a route with its own policy, which replaces the listener's, and the ReferenceGrant for it."""
    site = between(text + END, "# A site. It only needs", END)
    route = site[site.index("apiVersion:") :]
    of_route = _within(route, changes) | {
        "metadata: {name: app,": f"metadata: {{name: {app.name}-api,",
        "    - backendRefs": f"{_matches(path)}backendRefs",
    }
    grant = between(shipped(_FILTER), "apiVersion: gateway.networking.k8s.io/v1beta1", "---\n")
    of_grant = _grant_changes(portal, app) | {
        "{group: gateway.networking.k8s.io, kind: HTTPRoute,": (
            "{group: gateway.envoyproxy.io, kind: SecurityPolicy,"
        )
    }
    said = f"{_SAID} The policy of a route replaces the one of its listener.\n"
    return (
        f"---\n{said}{changed(route, of_route)}---\n{_policy_of_the_api(text, portal, app)}"
        f"---\n# Allows that policy to use the portal's Service.\n{changed(grant, of_grant)}"
    )


def _policy_of_the_api(text: str, portal: Service, app: Service) -> str:
    policy = between(text, "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy", "---\n")
    changes = {
        "{name: ikd-check, namespace: ikd}": f"{{name: {app.name}-api, namespace: {app.namespace}}}",
        _TARGET: f"    - {{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {app.name}-api}}\n",
        "{name: portal, port: 8000}": _in_namespace(portal),
        "      - accept\n": "",
        "      - sec-fetch-mode\n": "",
    }
    return changed(_COMMENT.sub("", policy), changes)
