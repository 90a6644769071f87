"""Configurations for Traefik: its file provider, container labels, and Kubernetes custom resources."""

from __future__ import annotations

from authgate.proxy_configuration.facts import Facts, service_of
from authgate.proxy_configuration.shipped import END, File, between, changed, shipped

SITE = "Host(`app.example.com`)"


def matched(facts: Facts) -> str:
    """Return Traefik's rule that matches all hosts of an application."""
    each = [f"Host(`{host}`)" for host in facts.hosts]
    return each[0] if len(each) == 1 else f"({' || '.join(each)})"


# ---- files ------------------------------------------------------------------------------------------------


def traefik(facts: Facts) -> tuple[File, ...]:
    text = shipped("traefik/minimal.yaml")
    routers = _router_of_the_api(facts) if facts.api else ""
    changes = _shared_changes(facts) | {
        SITE: matched(facts),
        "127.0.0.1:9001": str(facts.backend),
        "\n  services:\n": f"{routers}\n  services:\n",
    }
    return File("dynamic.yaml", changed(text, changes)), _static(facts)


def _shared_changes(facts: Facts) -> dict[str, str]:
    """Return the changes to the middlewares and to the portal's router and service."""
    changes = {"sso.example.com": facts.portal, "127.0.0.1:8000": str(facts.portal_at)}
    if not facts.api:
        return changes
    complete = shipped("traefik/complete.yaml")
    chain = "        middlewares: [ikd-clean, ikd-check]\n"
    plain = "    # No browser sends %2F and the like"
    check = between(complete, "    # This check never redirects.", "    # One middleware for each")
    return changes | {
        "forwardAuth:\n": "forwardAuth: &check\n",
        chain: chain + between(complete, "    ikd-api:\n", "    ikd-staff:\n"),
        plain: changed(check, {"127.0.0.1:8000": str(facts.portal_at)}) + plain,
    }


def _router_of_the_api(facts: Facts) -> str:
    router = between(shipped("traefik/complete.yaml"), "    app-api:\n", "    app-staff:\n")
    return changed(router, {SITE: matched(facts), "/api/": facts.api})


def _static(facts: Facts, docker: bool = False) -> File:
    changes = {'":443"': f'":{facts.port}"'}
    if docker:
        providers = "providers:\n"
        changes[providers] = f"{providers}  docker:\n    exposedByDefault: false\n"
    return File("traefik.yaml", changed(shipped("traefik/traefik.yaml"), changes))


# ---- labels -----------------------------------------------------------------------------------------------


def labels(facts: Facts) -> tuple[File, ...]:
    """Return the labels for an application's container, and the files with the portal and the middlewares."""
    shared, text = shipped("traefik/minimal.yaml"), shipped("traefik/labels.yaml")
    routers = between(shared, "    # /authgate/userinfo returns the user", "\n  services:\n")
    service = between(shared + END, "    app:\n      loadBalancer:\n", END)
    dynamic = changed(shared, _shared_changes(facts) | {routers: "", service: ""})
    changes = {SITE: matched(facts), '"9001"': f'"{facts.backend.port}"'}
    api = between(text, "      # An API:", "      traefik.http.services.")
    if facts.api:
        changes["/api/"] = facts.api
    else:
        changes[api] = ""
    return (
        File("labels.yaml", changed(text, changes)),
        File("dynamic.yaml", dynamic),
        _static(facts, docker=True),
    )


# ---- custom resources of Kubernetes -----------------------------------------------------------------------


def custom_resources(facts: Facts) -> tuple[File, ...]:
    """Return IngressRoutes and Middlewares. Raises BadFact unless both addresses are Services."""
    portal = service_of(facts.portal_at, "portal_at")
    app = service_of(facts.backend, "backend")
    text = shipped("kubernetes/traefik.yaml")
    in_cluster = f"{portal.name}.{portal.namespace}.svc.cluster.local:{portal.port}"
    changes = {
        "sso.example.com": facts.portal,
        SITE: matched(facts),
        "portal.ikd.svc.cluster.local:8000": in_cluster,
        "{name: portal, port: 8000}": f"{{name: {portal.name}, port: {portal.port}}}",
        "{name: app, port: 80}": f"{{name: {app.name}, port: {app.port}}}",
        "namespace: ikd}": f"namespace: {portal.namespace}}}",
        "namespace: apps}": f"namespace: {app.namespace}}}",
        "metadata: {name: app,": f"metadata: {{name: {app.name},",
        "app-tls": f"{app.name}-tls",
    }
    if facts.api:
        text = _with_api(text, facts.api)
    return (File("traefik.yaml", changed(text, changes)),)


def _with_api(text: str, path: str) -> str:
    """Add a route for the API, and a middleware for it. Its check never redirects."""
    start = "apiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata: {name: ikd-check,"
    check = between(text, start, "---\n")
    api = changed(check, {"name: ikd-check,": "name: ikd-check-api,", "/authgate/traefik": "/authgate/nginx"})
    comment = "# For a protected route: remove"
    chain = between(text, comment, "---\n")
    chain_api = changed(chain, {"name: ikd,": "name: ikd-api,", "{name: ikd-check}": "{name: ikd-check-api}"})
    chain_api = chain_api.partition("\n")[2]
    route = between(text, f"    - kind: Rule\n      match: {SITE}\n", "  tls: {secretName: app-tls}")
    route_api = changed(route, {SITE: f"{SITE} && PathPrefix(`{path}`)", "{name: ikd}": "{name: ikd-api}"})
    said = "# This check never redirects. It answers 401 and 403 as JSON, even if a browser opens the URL.\n"
    return changed(
        text, {check: f"{check}---\n{said}{api}", chain: f"{chain}---\n{chain_api}", route: route + route_api}
    )
