"""Mistakes in deploy/caddy, and what the doctor says of each."""

from __future__ import annotations

from tests.doctor.tables.mistake import Mistake

PROTECTED = "\t\timport ikd_protected /authgate/caddy? 127.0.0.1:9001\n"
ENDPOINTS = "not path /authgate/start /authgate/callback /authgate/sign_out /authgate/refused"
CHECK_METHOD = "\t\theader_up X-Forwarded-Method {method}\n"
ORIGINAL_URI = "\t\theader_up X-Forwarded-Uri {http.request.orig_uri}\n"
RELAYED = "\t\thandle_response @ikd_answered {\n\t\t\tcopy_response\n"
MISTAKES = {
    "check removed": Mistake({"\t\timport ikd_check {args[0]}\n": ""}, "protected", "unchecked"),
    "identity headers not cleared": Mistake(
        {"\trequest_header -X-Auth-Request-*\n": ""},
        "identity headers",
        "identity passes",
        "request_header -X-Auth-Request-*",
    ),
    "X-Forwarded-For trusted from clients": Mistake(
        {"\t\tprotocols h1 h2\n": "\t\tprotocols h1 h2\n\t\ttrusted_proxies static 127.0.0.0/8\n"},
        "forged client address",
        "believed client",
        "trusted_proxies",
    ),
    "X-Forwarded-Uri missing": Mistake(
        {ORIGINAL_URI: ""}, "check", "unreadable", "X-Forwarded-Uri {http.request.orig_uri}"
    ),
    "X-Forwarded-Uri from clients": Mistake(
        {
            ORIGINAL_URI: "\t\theader_up X-Forwarded-Uri {http.request.header.X-Claimed-Uri}\n",
            "\trequest_header -X-Forwarded-*\n": "\trequest_header X-Claimed-Uri {header.X-Forwarded-Uri}\n",
        },
        "forged headers",
        "believed",
        "trusted_proxies",
    ),
    "prefix cut before the check": Mistake(
        {
            "\t\timport ikd_site\n": "\t\timport ikd_site\n\t\turi strip_prefix /open\n",
            ORIGINAL_URI: ORIGINAL_URI.replace("{http.request.orig_uri}", "{uri}"),
        },
        "paths",
        "other path",
        "{http.request.orig_uri}",
    ),
    "scheme wrong": Mistake(
        {"X-Forwarded-Proto https": "X-Forwarded-Proto http"}, "address", "other origin", "X-Forwarded-Proto"
    ),
    "port wrong": Mistake(
        {"X-Forwarded-Host {host}": "X-Forwarded-Host {http.request.host}"},
        "address",
        "other origin",
        "X-Forwarded-Host",
    ),
    "method wrong": Mistake(
        {CHECK_METHOD: "\t\theader_up X-Forwarded-Method GET\n"}, "method", "other method", "{method}"
    ),
    "client address of the proxy": Mistake(
        {"X-Forwarded-For {client_ip}": "X-Forwarded-For {http.request.local.host}"},
        "client address",
        "address of the proxy",
        "{client_ip}",
    ),
    "cookies dropped": Mistake(
        {CHECK_METHOD: f"{CHECK_METHOD}\t\theader_up -Cookie\n"}, "cookies", "no cookie"
    ),
    "Authorization dropped": Mistake(
        {CHECK_METHOD: f"{CHECK_METHOD}\t\theader_up -Authorization\n"}, "Authorization", "no authorization"
    ),
    "token dropped": Mistake(
        {CHECK_METHOD: f"{CHECK_METHOD}\t\theader_up -Sec-Purpose\n"}, "protected", "token lost"
    ),
    "callback missing": Mistake(
        {ENDPOINTS: ENDPOINTS.replace(" /authgate/callback", "")},
        "pages of the portal",
        "no endpoint",
        "not path /authgate/start",
    ),
    "WebSocket unprotected": Mistake(
        {
            PROTECTED: (
                "\t\t@live header Upgrade websocket\n\t\treverse_proxy @live 127.0.0.1:9001\n" + PROTECTED
            )
        },
        "WebSocket",
        "unchecked",
    ),
    "a path unprotected": Mistake(
        {PROTECTED: "\t\treverse_proxy /open/* 127.0.0.1:9001\n" + PROTECTED}, "protected", "unchecked"
    ),
    "query of the client merged": Mistake(
        {"/authgate/caddy? ": "/authgate/caddy "}, "check", "unreadable", "/authgate/caddy?"
    ),
    "other hosts answered": Mistake(
        {"\trespond 421\n": "\trespond 200\n"}, "hosts", "answered", "respond 421"
    ),
    "clock wrong": Mistake(
        {"\trespond 421\n": '\theader Date "Mon, 01 Jan 2024 00:00:00 GMT"\n\trespond 421\n'},
        "clock",
        "skew",
        "set-ntp",
    ),
    "start missing": Mistake(
        {ENDPOINTS: ENDPOINTS.replace(" /authgate/start", "")},
        "pages of the portal",
        "no endpoint",
        "not path /authgate/start",
    ),
    "answer ignored": Mistake(
        {RELAYED: RELAYED.replace("copy_response", "request_header X-Refused yes")}, "protected", "ignored"
    ),
    "sign-in missing": Mistake(
        {"@ikd_answered status 302 303 400": "@ikd_answered status 400"},
        "visitors",
        "other answer",
        "@ikd_answered status 302",
    ),
    "browser hints dropped": Mistake(
        {CHECK_METHOD: f"{CHECK_METHOD}\t\theader_up -Accept\n"}, "browsers", "no hints"
    ),
    "check published": Mistake(
        {"@ikd_userinfo path /authgate/userinfo": "@ikd_userinfo path /authgate/*"},
        "published check",
        "published",
    ),
    "userinfo not routed": Mistake(
        {"@ikd_userinfo path /authgate/userinfo": "@ikd_userinfo path /authgate/other"},
        "pages of the portal",
        "no endpoint",
        "ikd_userinfo",
    ),
    "application under any host": Mistake(
        {
            "\trespond 421\n": f"\troute {{\n\t\timport ikd_site\n{PROTECTED}\t}}\n",
            "X-Forwarded-Host {host}": "X-Forwarded-Host app.example.com:{http.request.local.port}",
        },
        "hosts",
        "any host",
        "421",
    ),
}

NOT_SEEN = {
    "names with underscores or dots": "cannot exist: Caddy drops them itself since 2.11.4",
    "cookies or Authorization passed on": "they leave the request on the way to the application",
}
"""Mistakes that cannot exist here, or that no request of a visitor shows, with the reason."""
