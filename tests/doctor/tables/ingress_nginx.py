"""Mistakes in deploy/ingress-nginx, and what the doctor says of each."""

from __future__ import annotations

from tests.doctor.tables.mistake import Mistake

HOST = "?host=$host"
AUTH_URL = (
    "    nginx.ingress.kubernetes.io/auth-url: "
    "http://portal.ikd.svc.cluster.local:8000/authgate/ingress-nginx?host=$host\n"
)
AUTH_SIGN_IN = "    nginx.ingress.kubernetes.io/auth-signin: https://$host/authgate/start\n"
APP_RULE = "          - {path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}\n"
MORE_HEADERS = 'metadata: {name: ikd-ask, namespace: apps}\ndata:\n  Connection: ""\n'
CALLBACK_PATH = (
    "          - {path: /authgate/callback, pathType: Exact, "
    "backend: {service: {name: ikd-portal, port: {number: 8000}}}}\n"
)
OPEN_INGRESS = """\
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: open, namespace: apps}
spec:
  ingressClassName: nginx
  rules:
    - host: app.example.com
      http:
        paths:
          - {path: /open, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}
"""
MISTAKES = {
    "check removed": Mistake({AUTH_URL: "", AUTH_SIGN_IN: ""}, "protected", "unchecked"),
    "a path unprotected": Mistake({APP_RULE: APP_RULE + OPEN_INGRESS}, "protected", "unchecked", "auth-url"),
    "host missing": Mistake({HOST + "\n": "\n"}, "check", "unreadable", "?host=$host"),
    "host of another site": Mistake(
        {HOST + "\n": "?host=wiki.example.org\n"}, "check", "unreadable", "?host=$host"
    ),
    "another proxy's check": Mistake(
        {"authgate/ingress-nginx?host=$host\n": "authgate/nginx\n"}, "check", "unreadable"
    ),
    "X-Forwarded-For trusted from clients": Mistake(
        {'use-forwarded-headers: "false"': 'use-forwarded-headers: "true"'},
        "forged client address",
        "believed client",
        "use-forwarded-headers",
    ),
    "client address twice": Mistake(
        {MORE_HEADERS: f'{MORE_HEADERS}  X-Real-IP: "$server_addr"\n'},
        "check",
        "unreadable",
        "auth-proxy-set-headers",
    ),
    "method twice": Mistake(
        {MORE_HEADERS: f'{MORE_HEADERS}  X-Original-Method: "GET"\n'},
        "check",
        "unreadable",
        "auth-proxy-set-headers",
    ),
    "method of the client": Mistake(
        {MORE_HEADERS: f'{MORE_HEADERS}  X-Original-Method: "$http_x_original_method"\n'},
        "forged headers",
        "mixed",
        "auth-proxy-set-headers",
    ),
    "URL of the client": Mistake(
        {MORE_HEADERS: f'{MORE_HEADERS}  X-Original-URL: "$http_x_original_url"\n'},
        "forged headers",
        "mixed",
        "auth-proxy-set-headers",
    ),
    "underscores on": Mistake(
        {'enable-underscores-in-headers: "false"': 'enable-underscores-in-headers: "true"'},
        "header names",
        "aliases pass",
        "enable-underscores-in-headers",
    ),
    "callback missing": Mistake(
        {CALLBACK_PATH: ""}, "pages of the portal", "no endpoint", "/authgate/callback"
    ),
    "check published": Mistake(
        {
            CALLBACK_PATH: CALLBACK_PATH.replace(
                "/authgate/callback, pathType: Exact", "/authgate, pathType: Prefix"
            )
        },
        "published check",
        "published",
    ),
    "sign-in missing": Mistake({AUTH_SIGN_IN: ""}, "visitors", "bare 401", "auth-signin"),
    "cookies dropped": Mistake({MORE_HEADERS: f'{MORE_HEADERS}  Cookie: ""\n'}, "cookies", "no cookie"),
    "Authorization dropped": Mistake(
        {MORE_HEADERS: f'{MORE_HEADERS}  Authorization: ""\n'}, "Authorization", "no authorization"
    ),
    "browser hints dropped": Mistake({MORE_HEADERS: f'{MORE_HEADERS}  Accept: ""\n'}, "browsers", "no hints"),
    "token dropped": Mistake({MORE_HEADERS: f'{MORE_HEADERS}  Sec-Purpose: ""\n'}, "protected", "token lost"),
}

NOT_SEEN = {
    "answer ignored": "cannot exist: the controller writes the pages for 401 and 403 itself",
    "scheme wrong": "cannot exist: the controller writes X-Original-URL with its own scheme",
    "identity headers not cleared": "nginx clears them on the way to the application, after the check",
    "WebSocket unprotected": "cannot exist: an Ingress selects by host and path alone",
    "prefix cut before the check": "cannot exist: $request_uri is always what the client sent",
    "X-Original-URL or X-Original-Method missing": "cannot exist: the controller always writes both",
}
"""Mistakes that cannot exist here, or that no request of a visitor shows, with the reason."""
