"""Mistakes in deploy/traefik, and what the doctor says of each."""

from __future__ import annotations

from tests.doctor.tables.mistake import Mistake

TRUST = "trustForwardHeader: true "
APP_ROUTER = "    app:\n      rule: Host(`app.example.com`)\n"
CLEANED = '          X-Auth-Request-User: ""\n'
NO_BALANCER = "trustedIPs: []"
MISTAKES = {
    "check removed": Mistake({"middlewares: [ikd]": "middlewares: [ikd-clean]"}, "protected", "unchecked"),
    "identity headers not cleared": Mistake(
        {"[ikd-clean, ikd-check]": "[ikd-check]"}, "identity headers", "identity passes", "ikd-clean"
    ),
    "forwarded headers trusted from clients": Mistake(
        {NO_BALANCER: 'trustedIPs: ["127.0.0.0/8"]'}, "forged headers", "believed", "trustedIPs"
    ),
    "forwarded headers trusted from every client": Mistake(
        {NO_BALANCER: "insecure: true"}, "forged headers", "believed", "trustedIPs"
    ),
    "forwarded headers trusted and no longer removed": Mistake(
        {NO_BALANCER: "insecure: true", "[ikd-clean, ikd-check]": "[ikd-check]"},
        "forged headers",
        "believed",
        "trustedIPs",
    ),
    "application under any host": Mistake(
        {APP_ROUTER: "    app:\n      rule: HostRegexp(`.+`)\n      priority: 1\n"},
        "hosts",
        "any host checked",
        "Host(`app.example.com`)",
    ),
    "prefix cut before the check": Mistake(
        {
            "middlewares: [ikd]": "middlewares: [strip, ikd]",
            "    # For a protected router": (
                "    strip:\n      stripPrefix:\n        prefixes: [/open]\n    # For a protected router"
            ),
        },
        "check",
        "unreadable",
        "authgate/traefik",
    ),
    "prefix added before the check": Mistake(
        {
            "middlewares: [ikd]": "middlewares: [add, ikd]",
            "    # For a protected router": (
                "    add:\n      addPrefix:\n        prefix: /open\n    # For a protected router"
            ),
        },
        "paths",
        "other path",
        "strip-prefix",
    ),
    "cookies dropped": Mistake(
        {TRUST: f"authRequestHeaders: [Accept, Authorization, Sec-Purpose, Sec-Fetch-Mode]\n        {TRUST}"},
        "cookies",
        "no cookie",
        "authRequestHeaders",
    ),
    "Authorization dropped": Mistake(
        {TRUST: f"authRequestHeaders: [Accept, Cookie, Sec-Purpose, Sec-Fetch-Mode]\n        {TRUST}"},
        "Authorization",
        "no authorization",
        "authRequestHeaders",
    ),
    "token dropped": Mistake(
        {TRUST: f"authRequestHeaders: [Accept, Cookie, Authorization]\n        {TRUST}"},
        "protected",
        "token lost",
    ),
    "aliases not deleted": Mistake(
        {"      aliasHeadersStrategy: delete\n": ""}, "header names", "aliases pass", "aliasHeadersStrategy"
    ),
    "userinfo not routed": Mistake(
        {"Path(`/authgate/userinfo`)": "Path(`/authgate/other`)"},
        "pages of the portal",
        "no endpoint",
        "userinfo",
    ),
    "check published": Mistake(
        {"Path(`/authgate/userinfo`)": "PathPrefix(`/authgate`)"}, "published check", "published"
    ),
    "WebSocket unprotected": Mistake(
        {
            "    app:\n      rule: Host(`app.example.com`)\n": (
                "    app-live:\n      rule: Host(`app.example.com`) && Header(`Upgrade`, `websocket`)\n"
                "      service: app\n"
                "    app:\n      rule: Host(`app.example.com`)\n"
            )
        },
        "WebSocket",
        "unchecked",
        "middlewares: [ikd]",
    ),
    "scheme wrong": Mistake(
        {
            '          X-Auth-Request-User: ""\n': (
                '          X-Auth-Request-User: ""\n          X-Forwarded-Proto: "http"\n'
            )
        },
        "address",
        "other origin",
        "authgate/traefik",
    ),
    "port wrong": Mistake(
        {"authgate/traefik\n        trust": "authgate/traefik?port=1\n        trust"},
        "check",
        "unreadable",
        "port",
    ),
    "filter empty": Mistake(
        {"authgate/traefik\n        trust": "authgate/traefik?allowed_groups=\n        trust"},
        "check",
        "unreadable",
        "allowed_groups",
    ),
    "a path unprotected": Mistake(
        {
            APP_ROUTER: (
                "    app-open:\n      rule: Host(`app.example.com`) && PathPrefix(`/open/`)\n"
                f"      service: app\n{APP_ROUTER}"
            )
        },
        "protected",
        "unchecked",
        "middlewares: [ikd]",
    ),
    "method wrong": Mistake(
        {CLEANED: f"          X-Forwarded-Method: GET\n{CLEANED}"},
        "method",
        "other method",
        "authgate/traefik",
    ),
    "path wrong": Mistake(
        {CLEANED: f"          X-Forwarded-Uri: /\n{CLEANED}"}, "paths", "other path", "strip-prefix"
    ),
    "browser hints dropped": Mistake(
        {TRUST: f"authRequestHeaders: [Cookie, Authorization, Sec-Purpose]\n        {TRUST}"},
        "browsers",
        "no hints",
        "authRequestHeaders",
    ),
    "sign-in missing": Mistake(
        {"authgate/traefik\n        trust": "authgate/nginx\n        trust"}, "visitors", "bare 401"
    ),
    "callback to the application": Mistake(
        {
            APP_ROUTER: (
                "    app-callback:\n      rule: Host(`app.example.com`) && Path(`/authgate/callback`)\n"
                f"      service: app\n{APP_ROUTER}"
            )
        },
        "pages of the portal",
        "no endpoint",
    ),
}

NOT_SEEN = {
    "client address missing or the proxy's": "cannot exist: Traefik always writes X-Forwarded-For",
    "X-Forwarded-Uri missing": "cannot exist: Traefik always writes it",
    "cookies or Authorization passed on": "they leave the request on the way to the application",
}
"""Mistakes that cannot exist here, or that no request of a visitor shows, with the reason."""
