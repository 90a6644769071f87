"""Texts of configuration events in the reader's language: a proxy's mistake, and the line that fixes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from authgate.event_words import Phrases

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

MISTAKES: dict[str, _StrPromise] = {
    "{} missing": _("The proxy does not send %s."),
    "{} doubled": _("The proxy sends %s twice, so a client can add its own."),
    "{}: the path was rewritten before the check": _(
        "The proxy changed the path before the check (%s). Check first, then change the path."
    ),
    "x-forwarded-for": _(
        "X-Forwarded-For contains no address, or fewer proxies than IKD_FORWARDED_HOPS expects."
    ),
    "x-real-ip": _("X-Real-IP contains no address."),
    "address": _("The header for the client's address contains no address."),
    "scheme": _("The proxy sends a scheme other than http or https."),
    "host": _("The proxy sends a host that is neither a host name nor an address."),
    "port": _("The proxy sends an invalid port."),
    "origin": _("The proxy sends an invalid origin."),
    "uri": _("The path does not begin with a slash, or contains spaces or control characters."),
    "path": _(
        "The path can be read in several ways. Clients can also cause this. Look for a program that sends "
        "such paths."
    ),
    "method": _("The proxy sends an invalid method. Clients can also cause this."),
    "location": _("A redirect address contains invalid characters."),
    "request target": _("The path of the check does not begin with /authgate/envoy/."),
    "authorization cannot be given back": _(
        "A client's Authorization header contains characters that cannot be passed on."
    ),
    "header names with underscores or dots pass the proxy": _(
        "The proxy passes header names with underscores or dots. Many applications treat them like names "
        "with dashes."
    ),
    "host in the check's URL missing": _("The check's URL does not name the requested host."),
    "host in the check's URL doubled": _("The check's URL names the host twice."),
    "host of several applications": _(
        "Several applications use this host on different ports, and the check's URL names no port."
    ),
    "host of x-original-url is not the one that is served": _(
        "The check's URL names a different host or port than the browser requested."
    ),
    "identity headers too long": _(
        "A user is in more groups than fit into the headers. Select the groups that are sent to the "
        "application."
    ),
    "tokens too long for the headers": _(
        "The provider's tokens and the identity do not fit into the headers. Configure the provider to "
        "send smaller tokens."
    ),
    "no rule covers the path": _(
        "The check contains no path, so every path of the application needs a rule. Add a rule for the "
        "path /."
    ),
    "peer is no trusted proxy": _(
        "A program that is not a trusted proxy requested a check. The log contains its address."
    ),
    "port in the check's URL": _("The check's URL contains an invalid port, or two ports."),
    "port of x-forwarded-host is not the one in the check's URL": _(
        "The check's URL names a different port than the browser requested."
    ),
    "the portal's own origin": _(
        "The proxy checks the portal itself. Exclude the portal's pages from checks, or allow them in the "
        "check's URL."
    ),
    "the portal's host at another port or scheme": _(
        "The site uses the portal's host with another port or scheme. Browsers would send the portal's "
        "cookie there."
    ),
    "unknown origin": _(
        "No application has this origin. Add it to an application, or correct the scheme, host or port "
        "that the proxy sends."
    ),
    "unknown parameter in the check's URL": _(
        "The check's URL contains an unknown parameter, or the visitor's own query."
    ),
    "{} empty": _("%s in the check's URL is empty."),
    "{} repeated": _("%s appears twice in the check's URL. Use one comma-separated list."),
    "{} other than true": _("%s in the check's URL must be true."),
    "x-forwarded-proto, which ingress-nginx never sends": _(
        "A proxy other than ingress-nginx uses the check for ingress-nginx. Traefik's provider for the "
        "same annotations is such a proxy."
    ),
}
"""Reasons of configuration events. `{}` stands for a part that varies, such as a header's name."""

mistake_words = Phrases(MISTAKES)

NGINX = {
    "x-forwarded-method": "proxy_set_header X-Forwarded-Method $request_method;",
    "x-forwarded-proto": "proxy_set_header X-Forwarded-Proto $scheme;",
    "x-forwarded-host": "proxy_set_header X-Forwarded-Host $host$ikd_port;",
    "x-forwarded-uri": "proxy_set_header X-Forwarded-Uri $request_uri;",
    "x-forwarded-for": "proxy_set_header X-Forwarded-For $remote_addr;",
    "names": "underscores_in_headers off;",
}
OAUTH2_NGINX = {
    "host": "proxy_set_header Host             $host;",
    "x-scheme": "proxy_set_header X-Scheme         $scheme;",
    "x-real-ip": "proxy_set_header X-Real-IP        $remote_addr;",
    "names": "underscores_in_headers off;",
}
CADDY = {
    "x-forwarded-method": "header_up X-Forwarded-Method {method}",
    "x-forwarded-proto": "header_up X-Forwarded-Proto https",
    "x-forwarded-host": "header_up X-Forwarded-Host {host}",
    "x-forwarded-uri": "header_up X-Forwarded-Uri {http.request.orig_uri}",
    "x-forwarded-for": "header_up X-Forwarded-For {client_ip}",
    "query": "import ikd_protected /authgate/caddy? 127.0.0.1:9001",
    "port": "import ikd_protected /authgate/caddy?port=8443 127.0.0.1:9001",
}
HAPROXY = {
    "x-forwarded-method": 'headers["x-forwarded-method"] = { txn.f:method() }',
    "x-forwarded-proto": 'headers["x-forwarded-proto"] = { txn:get_var("txn.ikd_scheme") }',
    "x-forwarded-host": 'headers["x-forwarded-host"] = { txn:get_var("txn.ikd_host") }',
    "x-forwarded-uri": 'headers["x-forwarded-uri"] = { txn:get_var("txn.ikd_uri") }',
    "x-forwarded-for": 'headers["x-forwarded-for"] = { txn.f:src() }',
    "query": "http-request set-var(txn.ikd_check) str(/authgate/haproxy)",
    "port": "http-request set-var(txn.ikd_check) str(/authgate/haproxy?port=8443)",
    "names": "http-request del-header '[^a-z0-9-]' -m reg",
}
TRAEFIK_CHECK = "address: http://127.0.0.1:8000/authgate/traefik"
TRAEFIK = {
    **dict.fromkeys(
        ("x-forwarded-method", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-uri", "x-forwarded-for"),
        TRAEFIK_CHECK,
    ),
    "query": TRAEFIK_CHECK,
    "port": f"{TRAEFIK_CHECK}?port=8443",
    "portal": f"{TRAEFIK_CHECK}?allow_portal=true",
}
ENVOY = {
    "x-forwarded-proto": "- exact: x-forwarded-proto",
    "x-forwarded-for": "- exact: x-forwarded-for",
    "host": "path_prefix: /authgate/envoy",
    "request target": "path_prefix: /authgate/envoy",
    "names": "headers_with_underscores_action: DROP_HEADER",
}
INGRESS_CHECK = (
    "nginx.ingress.kubernetes.io/auth-url: "
    "http://portal.ikd.svc.cluster.local:8000/authgate/ingress-nginx?host=$host"
)
INGRESS_NGINX = {
    **dict.fromkeys(
        ("x-original-url", "x-original-method", "x-real-ip", "query", "host in the check"), INGRESS_CHECK
    ),
    "port": f"{INGRESS_CHECK}:8443",
    "names": 'enable-underscores-in-headers: "false"',
    "{} doubled": 'data: {Connection: ""}  # the map of auth-proxy-set-headers: no header of the check',
}
LINES: dict[str, dict[str, str]] = {
    "nginx": NGINX,
    "oauth2 nginx": OAUTH2_NGINX,
    "caddy": CADDY,
    "haproxy": HAPROXY,
    "traefik": TRAEFIK,
    "oauth2 traefik": {**dict.fromkeys(TRAEFIK, "address: http://127.0.0.1:8000/oauth2/auth")},
    "envoy": ENVOY,
    "ingress-nginx": INGRESS_NGINX,
    "endpoint": NGINX,
    "oauth2 endpoint": {**NGINX, **OAUTH2_NGINX},
}
"""The lines of the shipped configurations, by contract and subject."""

HEADERS_OF_VALUES = {
    "scheme": ("x-forwarded-proto", "x-scheme", "x-original-url"),
    "host": ("x-forwarded-host", "host", "x-original-url"),
    "port": ("x-forwarded-host", "host", "x-original-url"),
    "origin": ("x-forwarded-host", "host", "x-original-url"),
    "unknown origin": ("x-forwarded-host", "host", "x-original-url"),
    "uri": ("x-forwarded-uri", "request target", "x-original-url"),
    "path": ("x-forwarded-uri", "request target", "x-original-url"),
    "method": ("x-forwarded-method", "x-original-method"),
    "address": ("x-forwarded-for", "x-real-ip"),
    "{}: the path was rewritten before the check": ("x-forwarded-uri",),
    "header names with underscores or dots pass the proxy": ("names",),
    "host in the check's URL missing": ("host in the check",),
    "host in the check's URL doubled": ("host in the check",),
    "host of several applications": ("port",),
    "host of x-original-url is not the one that is served": ("host in the check",),
    "port in the check's URL": ("port",),
    "port of x-forwarded-host is not the one in the check's URL": ("port",),
    "the portal's own origin": ("portal",),
    "unknown parameter in the check's URL": ("query",),
    "request target": ("request target",),
}
"""The subjects of each reason. The first one for which a contract has a line provides the line."""

LINES_FOR_ALL = {
    "peer is no trusted proxy": "IKD_TRUSTED_PROXIES=127.0.0.0/8,::1,192.0.2.10",
    "x-forwarded-proto, which ingress-nginx never sends": TRAEFIK_CHECK,
    "{} empty": "?allowed_groups=staff,ops",
    "{} repeated": "?allowed_groups=staff,ops",
    "{} other than true": "?allow_portal=true",
}


def fixing_line(contract: str, reason: str) -> str:
    """Return the line of a proxy's configuration that fixes a mistake; empty if there is no such line."""
    name, parts = mistake_words.template_and_parts(reason)
    if name in LINES_FOR_ALL:
        return LINES_FOR_ALL[name]
    topics = HEADERS_OF_VALUES.get(name, (name, *parts[:1]))
    lines = LINES.get(contract, {})
    return next((lines[topic] for topic in topics if topic in lines), "")
