"""Paths that a proxy rewrites: rules apply to the browser's path, or the check is refused.

The site `app` has a rule for `/read` that grants only GET, and one for all other paths. Without its prefix,
the path falls under the second.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.mistakes import Events, mistaken
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy

pytestmark = pytest.mark.proxy

NGINX_SITE = """\
    include ikd/site.conf;

    location / {
        include ikd/application.conf;
        proxy_pass http://app;
"""
CADDY_SITE = "\t\thandle {\n\t\t\timport ikd_protected /authgate/caddy? 127.0.0.1:9001\n"
CADDY_BEGINNING = "\troute {\n\t\timport ikd_site\n\n"
CADDY_CHECK = "\t\t\timport ikd_protected /authgate/caddy? 127.0.0.1:9001\n"
HAPROXY_CHECK = "    http-request lua.ikd-check unless { var(txn.ikd_open) -m bool }\n"
HAPROXY_ALLOWED = "    http-request lua.ikd-cut-credentials unless is_portal || is_userinfo\n"
ENVOY_ROUTE = "                        - match: {prefix: /}\n                          route: {cluster: app"
TRAEFIK_ROUTER = "      rule: Host(`app.example.com`)\n      middlewares: [ikd]\n"
TRAEFIK_CHAIN = "    ikd:\n      chain:\n"
INGRESS_NAME = "  name: app\n  namespace: apps\n  annotations:\n"
INGRESS_PATH = "{path: /, pathType: Prefix, backend: {service: {name: app, port"


def traefik_with(middleware: str, order: str) -> dict[str, str]:
    return {
        TRAEFIK_CHAIN: f"    rewriting:\n      {middleware}\n{TRAEFIK_CHAIN}",
        TRAEFIK_ROUTER: TRAEFIK_ROUTER.replace("[ikd]", order),
    }


CHECKED_AS_SENT = {
    "nginx, rewrite last": (
        "nginx",
        {
            NGINX_SITE: NGINX_SITE.replace(
                "    location /", "    rewrite ^/read(/.*) $1 last;\n    location /"
            )
        },
    ),
    "nginx, proxy_pass with a path": (
        "nginx",
        {
            NGINX_SITE: NGINX_SITE.replace("location / {", "location /read/ {").replace(
                "http://app;", "http://app/;"
            )
        },
    ),
    "caddy, handle_path": (
        "caddy",
        {CADDY_SITE: f"\t\thandle_path /read/* {{\n{CADDY_CHECK}\t\t}}\n{CADDY_SITE}"},
    ),
    "caddy, uri strip_prefix": (
        "caddy",
        {CADDY_SITE: CADDY_SITE.replace("{\n", "{\n\t\t\turi strip_prefix /read\n")},
    ),
    "caddy, rewrite": (
        "caddy",
        {CADDY_SITE: CADDY_SITE.replace("{\n", "{\n\t\t\trewrite /read/it /it?{query}\n")},
    ),
    "caddy, before the site's own lines": (
        "caddy",
        {CADDY_BEGINNING: CADDY_BEGINNING.replace("{\n", "{\n\t\turi strip_prefix /read\n")},
    ),
    "haproxy, replace-path": (
        "haproxy",
        {HAPROXY_CHECK: f"    http-request replace-path /read(/.*) \\1\n{HAPROXY_CHECK}"},
    ),
    "haproxy, set-path": (
        "haproxy",
        {HAPROXY_CHECK: f"    http-request set-path %[path,regsub(^/read,)]\n{HAPROXY_CHECK}"},
    ),
    "envoy, prefix_rewrite": (
        "envoy",
        {
            ENVOY_ROUTE: ENVOY_ROUTE.replace("/}", "/read/}")
            + ", prefix_rewrite: /, timeout: 0s}\n"
            + ENVOY_ROUTE
        },
    ),
    "envoy, regex_rewrite": (
        "envoy",
        {ENVOY_ROUTE: ENVOY_ROUTE + ", regex_rewrite: {pattern: {regex: '^/read'}, substitution: ''}"},
    ),
    "traefik, after the check": (
        "traefik",
        traefik_with("stripPrefix: {prefixes: [/read]}", "[ikd, rewriting]"),
    ),
    "ingress-nginx, rewrite-target": (
        "ingress_nginx",
        {
            INGRESS_NAME: f"{INGRESS_NAME}    nginx.ingress.kubernetes.io/rewrite-target: /$2\n",
            INGRESS_PATH: INGRESS_PATH.replace(
                "{path: /, pathType: Prefix", '{path: "/read(/|$)(.*)", pathType: ImplementationSpecific'
            ),
        },
    ),
}


@pytest.mark.parametrize("name", CHECKED_AS_SENT)
def test_rules_apply_to_the_path_that_the_browser_sent(
    name: str, portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    kind, mistake = CHECKED_AS_SENT[name]
    with mistaken(kind, mistake, portal, backend, tmp_path) as proxy:
        posted = proxy.ask("/read/it?x=1", method="POST", headers=FETCH, who="alice")
        stolen = backend.take()
        stranger = proxy.ask("/read/it?x=1", headers=FETCH)
        proxy.ask("/read/it?x=1", headers=FETCH, who="alice")
        received = backend.take()

    assert (posted.status, stolen) == (403, [])
    assert stranger.status == 401
    assert [each.request_line.split()[1] for each in received] == ["/it?x=1"]


def test_the_user_returns_to_the_page_that_the_browser_requested(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    check = CADDY_CHECK.replace("/authgate/caddy?", "/authgate/nginx?")
    mistake = {CADDY_SITE: f"\t\thandle_path /read/* {{\n{check}\t\t}}\n{CADDY_SITE}"}
    with mistaken("caddy", mistake, portal, backend, tmp_path) as caddy:
        reply = caddy.ask("/read/it?x=1", headers=NAVIGATION)

    page = quote(f"{portal.origin('app')}/read/it?x=1", safe="")
    assert reply.header("X-Auth-Location") == f"{portal.origin('app')}/authgate/start?rd={page}"


REFUSED = {
    "stripPrefix": "stripPrefix: {prefixes: [/read]}",
    "stripPrefixRegex": "stripPrefixRegex: {regex: ['/r[a-z]+']}",
    "replacePath": "replacePath: {path: /it}",
    "replacePathRegex": "replacePathRegex: {regex: '^/read/(.*)', replacement: '/$1'}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_path_that_traefik_rewrites_before_the_check_is_refused(
    name: str, portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    mistake = traefik_with(REFUSED[name], "[rewriting, ikd]")
    sly = {"Connection": "close, X-Forwarded-Prefix, X-Replaced-Path"}
    with mistaken("traefik", mistake, portal, backend, tmp_path) as traefik:
        replies = [
            traefik.ask("/read/it", method=method, headers=FETCH | headers, who="alice")
            for method in ("GET", "POST")
            for headers in ({}, sly)
        ]
        elsewhere = traefik.ask("/page", headers=FETCH, who="alice", site="wiki")

    header = "x-forwarded-prefix" if name.startswith("strip") else "x-replaced-path"
    assert [reply.status for reply in replies] == [400] * 4
    assert elsewhere.status == 200
    assert [received.application for received in backend.take()] == ["wiki"]
    assert events.report(f"traefik: {header}: the path was rewritten before the check", portal.origin("app"))


@pytest.mark.parametrize("header", ["X-Forwarded-Prefix", "X_Forwarded_Prefix"])
def test_a_client_cannot_set_the_prefix_header_of_traefik(traefik: Proxy, header: str) -> None:
    assert traefik.ask("/page", headers=FETCH | {header: "/x"}, who="alice").status == 200


# ---- what the portal cannot see; the page of each proxy names it ------------------------------------------


def test_rules_apply_to_a_prefix_that_traefik_adds_before_the_check(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = traefik_with("addPrefix: {prefix: /v1}", "[rewriting, ikd]")
    with mistaken("traefik", mistake, portal, backend, tmp_path) as traefik:
        traefik.ask("/read/it", method="POST", headers=FETCH, who="alice")

    assert [received.request_line.split()[1] for received in backend.take()] == ["/v1/read/it"]


def test_rules_apply_to_a_path_that_haproxy_rewrites_above_the_first_rule(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    first = "    http-request set-var(txn.ikd_uri) pathq\n"
    mistake = {first: f"    http-request replace-path /read(/.*) \\1\n{first}"}
    with mistaken("haproxy", mistake, portal, backend, tmp_path) as haproxy:
        haproxy.ask("/read/it", method="POST", headers=FETCH, who="alice")

    assert [received.request_line.split()[1] for received in backend.take()] == ["/it"]
