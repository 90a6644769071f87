"""Lines of proxy configurations that fix the doctor's findings."""

from __future__ import annotations

from authgate.configuration_words import LINES as LINES_OF_CHECKS
from authgate.configuration_words import TRAEFIK_CHECK

ASKED = '"cookie", "authorization", "accept", "accept-language", "user-agent", "x-requested-with", …'
ASKED_FETCH = '"sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-purpose", "sec-websocket-key",'

ENDPOINTS = ("start", "callback", "sign_out", "userinfo")
"""The portal's endpoints on an application's origin that are tested."""

OF_ENDPOINTS = {
    "nginx": (
        "location = /authgate/{} {{ auth_request off; include ikd/ask.conf; "
        "proxy_pass http://ikd-portal/authgate/{}; }}"
    ),
    "ingress-nginx": (
        "- {{path: /authgate/{}, pathType: Exact, "
        "backend: {{service: {{name: ikd-portal, port: {{number: 8000}}}}}}}}"
    ),
}
"""Lines that a proxy needs once for each of these endpoints."""

LINES: dict[str, dict[str, str]] = {
    "nginx": {
        "check": "include ikd/site.conf;",
        "answer": "error_page 403 = @ikd_refused;",
        "sign-in": "error_page 401 = @ikd_start;",
        "token": "proxy_set_header Sec-Purpose $http_sec_purpose;",
        "cookie": "proxy_set_header Cookie $http_cookie;",
        "authorization": "proxy_set_header Authorization $http_authorization;",
        "browser": "proxy_set_header Sec-Fetch-Mode $http_sec_fetch_mode;",
        "names": "underscores_in_headers off;",
        "identity": "include ikd/application.conf;",
        "published": "location = /authgate/nginx { internal; … }",
        "any host": "server { listen 443 ssl default_server; server_name _; return 421; }",
    },
    "traefik": {
        "check": "middlewares: [ikd]",
        "answer": TRAEFIK_CHECK,
        "sign-in": TRAEFIK_CHECK,
        "token": "# forwardAuth without authRequestHeaders passes every header",
        "cookie": "# forwardAuth without authRequestHeaders passes every header",
        "authorization": "# forwardAuth without authRequestHeaders passes every header",
        "browser": "# forwardAuth without authRequestHeaders passes every header",
        "names": "aliasHeadersStrategy: delete",
        "identity": "middlewares: [ikd-clean, ikd-check]",
        "spoofed": "trustedIPs: []",
        "x-forwarded-uri": "middlewares: [ikd, strip-prefix]",
        "endpoint": "middlewares: [ikd]",
        "endpoint userinfo": "rule: Host(`app.example.com`) && Path(`/authgate/userinfo`)",
        "any host": "rule: Host(`app.example.com`)",
    },
    "caddy": {
        "check": "import ikd_protected /authgate/caddy? 127.0.0.1:9001",
        "answer": "import ikd_check {args[0]}",
        "sign-in": "@ikd_answered status 302 303 400 401 403 404 405",
        "names": "request_header -*_*",
        "identity": "request_header -X-Auth-Request-*",
        "spoofed": "trusted_proxies static 192.0.2.1/32",
        "endpoint": "not path /authgate/start /authgate/callback /authgate/sign_out /authgate/refused",
        "endpoint userinfo": "handle @ikd_userinfo",
        "any host": "https:// { respond 421 }",
    },
    "haproxy": {
        "check": "http-request lua.ikd-check unless { var(txn.ikd_open) -m bool }",
        "answer": (
            "http-request deny deny_status 503 unless { var(txn.ikd_open) -m bool } || "
            "{ var(txn.ikd_allowed) -m bool }"
        ),
        "sign-in": "local RELAYED = { [302] = true, [303] = true, [400] = true, [401] = true, … }",
        "token": ASKED_FETCH,
        "cookie": ASKED,
        "authorization": ASKED,
        "browser": ASKED_FETCH,
        "identity": "http-request del-header x-auth-request- -m beg",
        "endpoint": (
            "acl is_endpoint path -m str /authgate/start /authgate/callback /authgate/sign_out "
            "/authgate/userinfo /authgate/refused"
        ),
        "endpoint userinfo": "use_backend ikd-portal if is_portal || is_userinfo",
        "any host": "http-request return status 421 unless is_portal || is_app",
    },
    "envoy": {
        "check": "- name: ikd-check",
        "answer": "failure_mode_allow: false",
        "sign-in": "path_prefix: /authgate/envoy",
        "token": "- exact: sec-purpose",
        "cookie": "- exact: cookie",
        "authorization": "- exact: authorization",
        "browser": "- prefix: sec-fetch-",
        "identity": "- remove_on_match: {key_matcher: {prefix: x-auth-request-}}",
        "spoofed": "use_remote_address: true, xff_num_trusted_hops: 0",
        "endpoint": '- match: {safe_regex: {regex: "/authgate/(?:start|callback|sign_out|refused)"}}',
        "endpoint userinfo": "- match: {path: /authgate/userinfo}",
        "any host": "domains: [app.example.com]",
    },
    "ingress-nginx": {
        "check": LINES_OF_CHECKS["ingress-nginx"]["query"],
        "answer": LINES_OF_CHECKS["ingress-nginx"]["query"],
        "sign-in": "nginx.ingress.kubernetes.io/auth-signin: https://$host/authgate/start",
        "spoofed": 'use-forwarded-headers: "false"',
        "x-real-ip": 'use-forwarded-headers: "false"',
        "mixed": LINES_OF_CHECKS["ingress-nginx"]["{} doubled"],
        "identity": "proxy-set-headers: ikd/clear-headers",
        "any host": "- host: app.example.com",
    },
}
"""Lines by contract and subject. `configuration_words` has more, with a check's headers as subjects."""

for contract, line in OF_ENDPOINTS.items():
    LINES[contract] |= {f"endpoint {name}": line.format(name, name) for name in ENDPOINTS}

FOR_ALL = {
    "peer": "IKD_TRUSTED_PROXIES=127.0.0.0/8,::1,192.0.2.10",
    "private address": "IKD_DOCTOR_NETWORKS=10.0.0.0/8",
    "clock": "timedatectl set-ntp true",
}
ALIKE = {"oauth2 nginx": "nginx", "oauth2 traefik": "traefik"}


def line_for(contract: str, *subjects: str) -> str:
    """Return the line for the first subject that has one, or an empty string."""
    tables = (LINES.get(ALIKE.get(contract, contract), {}), LINES_OF_CHECKS.get(contract, {}), FOR_ALL)
    found = (table[subject] for subject in subjects for table in tables if subject in table)
    return next(found, "")
