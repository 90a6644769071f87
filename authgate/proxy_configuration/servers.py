"""Configurations for proxies on a server: nginx, Caddy, HAProxy and Envoy."""

from __future__ import annotations

from authgate.proxy_configuration.facts import Address, BadFact, Facts, Fault
from authgate.proxy_configuration.shipped import File, between, changed, shipped

IKD_FILES = (
    "http.conf",
    "upstream.conf",
    "portal.conf",
    "site.conf",
    "application.conf",
    "ask.conf",
    "patience.conf",
)


# ---- nginx ------------------------------------------------------------------------------------------------


def nginx(facts: Facts) -> tuple[File, ...]:
    text = shipped("nginx/minimal.conf")
    if facts.api:
        text = text.removesuffix("}\n") + "\n" + _nginx_api(facts) + "}\n"
    changes = {
        "listen 443 ssl": f"listen {facts.port} ssl",
        "https://sso.example.com": f"https://{facts.portal}{facts.shown_port}",
        "sso.example.com": facts.portal,
        "app.example.com": " ".join(facts.hosts),
        "127.0.0.1:9001": str(facts.backend),
    }
    parts = {name: shipped(f"nginx/ikd/{name}") for name in IKD_FILES}
    parts["upstream.conf"] = changed(
        parts["upstream.conf"], {"server 127.0.0.1:8000": f"server {facts.portal_at}"}
    )
    return (
        File("ikd-portal.conf", changed(text, changes)),
        *(File(f"ikd/{name}", part) for name, part in parts.items()),
    )


def _nginx_api(facts: Facts) -> str:
    block = between(shipped("nginx/complete.conf"), "    # An API: the answer", "\n    # Public, without")
    return changed(block, {"/api/": facts.api, "http://app": f"http://{facts.backend}"})


# ---- Caddy ------------------------------------------------------------------------------------------------


def caddy(facts: Facts) -> tuple[File, ...]:
    text = shipped("caddy/minimal.Caddyfile")
    if facts.api:
        text = changed(
            text, {"\t\timport ikd_protected /authgate/caddy? 127.0.0.1:9001\n": _caddy_api(facts)}
        )
    port = facts.shown_port
    changes = {
        "https://sso.example.com": f"https://{facts.portal}{port}",
        "https://app.example.com": ", ".join(f"https://{host}{port}" for host in facts.hosts),
        "127.0.0.1:8000": str(facts.portal_at),
        "127.0.0.1:9001": str(facts.backend),
    }
    if port:
        changes |= {"https:// {": f"https://{port} {{", "Host {host}": f"Host {{host}}{port}"}
    return (File("Caddyfile", changed(text, changes)),)


def _caddy_api(facts: Facts) -> str:
    complete = shipped("caddy/complete.Caddyfile")
    api = between(complete, "\t\t# An API: this check", "\t\t# For one group only")
    others = between(complete, "\t\thandle {\n", "\t}\n}\n")
    return changed(api, {"/api/": facts.api}) + others


# ---- HAProxy ----------------------------------------------------------------------------------------------


def haproxy(facts: Facts) -> tuple[File, ...]:
    """Return HAProxy's files. Raises BadFact if the portal's address is a name, which its client refuses."""
    if facts.portal_at.is_name:
        raise BadFact("portal_at", Fault.IP_ADDRESS)
    port = facts.shown_port
    changes = {
        "sso.example.com": facts.portal,
        "app.example.com": " ".join(facts.hosts),
        "bind :443": f"bind :{facts.port}",
        "IKD_PORTAL 127.0.0.1:8000": f"IKD_PORTAL {facts.portal_at}",
        "127.0.0.1:9001": str(facts.backend),
    }
    if port:
        named = "set-var-fmt(txn.ikd_host) %[var(txn.ikd_name)]"
        redirected = "location https://%[var(txn.ikd_name)]"
        changes |= {named: named + port, redirected: redirected + port}
    if facts.api:
        opened = "    http-request set-var(txn.ikd_open) bool(true) if is_portal || is_userinfo\n"
        changes[opened] = _haproxy_api(facts) + opened
    text = changed(shipped("haproxy/minimal.cfg"), changes)
    return File("haproxy.cfg", text), File("ikd.lua", shipped("haproxy/ikd.lua"))


def _haproxy_api(facts: Facts) -> str:
    block = between(shipped("haproxy/complete.cfg"), "    # An API: this check", "    # For one group only")
    return changed(block, {"/api/": facts.api})


# ---- Envoy ------------------------------------------------------------------------------------------------


def envoy(facts: Facts) -> tuple[File, ...]:
    changes = {
        "https://sso.example.com": f"https://{facts.portal}{facts.shown_port}",
        "domains: [sso.example.com]": f"domains: [{_domain(facts.portal, facts)}]",
        "domains: [app.example.com]": f"domains: [{', '.join(_domain(host, facts) for host in facts.hosts)}]",
        "address: 0.0.0.0, port_value: 443": f"address: 0.0.0.0, port_value: {facts.port}",
    }
    for name, example, address in (
        ("ikd-portal", "127.0.0.1, port_value: 8000", facts.portal_at),
        ("app", "127.0.0.1, port_value: 9001", facts.backend),
    ):
        changes[f"address: {example}"] = f"address: {_envoy_host(address)}, port_value: {address.port}"
        if address.is_name:
            cluster = f"    - name: {name}\n      connect_timeout: 2s\n"
            changes[cluster] = f"{cluster}      type: STRICT_DNS\n"
    if facts.api:
        changes |= _envoy_api(facts)
    return (File("envoy.yaml", changed(shipped("envoy/minimal.yaml"), changes)),)


def _domain(host: str, facts: Facts) -> str:
    return f'"{host}{facts.shown_port}"' if facts.shown_port else host


def _envoy_host(address: Address) -> str:
    return f'"{address.host[1:-1]}"' if address.host.startswith("[") else address.host


def _envoy_api(facts: Facts) -> dict[str, str]:
    """Return the changes for an API: its route before the last route, and the YAML anchors that it needs."""
    indent = " " * 24
    block = between(
        shipped("envoy/complete.yaml"), f"{indent}# An API: the answer", f"{indent}# Public, without"
    )
    last = f"{indent}- match: {{prefix: /}}\n{indent}  route: {{cluster: app, timeout: 0s}}\n"
    return {
        last: changed(block, {"/api/": facts.api}) + last,
        "server_uri: {": "server_uri: &ask {",
        "authorization_response:\n": "authorization_response: &answer\n",
    }
