"""Mistakes in deploy/haproxy, and what the doctor says of each."""

from __future__ import annotations

from tests.doctor.tables.mistake import Mistake

CHECK = "    http-request lua.ikd-check unless { var(txn.ikd_open) -m bool }\n"
DENY = (
    "    http-request deny deny_status 503 unless { var(txn.ikd_open) -m bool } || "
    "{ var(txn.ikd_allowed) -m bool }\n"
)
FIRST = "    http-request set-var(txn.ikd_uri) pathq\n"
CLEANING = "    # Removes every identity header"
OPEN = "bool(true) if is_portal || is_userinfo"
FIXED_HOST = "    http-request set-var-fmt(txn.ikd_host) app.example.com:%[dst_port]\n"
HOST_KNOWN = "set-var-fmt(txn.ikd_host) %[var(txn.ikd_name)]\n"
MISTAKES = {
    "check removed": Mistake({CHECK: "", DENY: ""}, "protected", "unchecked"),
    "X-Forwarded-For trusted from clients": Mistake(
        {CLEANING: f"    http-request set-src req.hdr(x-forwarded-for,-1)\n{CLEANING}"},
        "forged client address",
        "believed client",
        "txn.f:src()",
    ),
    "identity headers not cleared": Mistake(
        {"    http-request del-header x-auth-request- -m beg\n": ""},
        "identity headers",
        "identity passes",
        "del-header x-auth-request-",
    ),
    "X-Forwarded-Uri missing": Mistake(
        {'  headers["x-forwarded-uri"] = { txn:get_var("txn.ikd_uri") }\n': ""},
        "check",
        "unreadable",
        "txn.ikd_uri",
    ),
    "X-Forwarded-Uri from clients": Mistake(
        {
            FIRST: (
                FIRST + "    http-request set-var(txn.ikd_uri) req.hdr(x-forwarded-uri) "
                "if { req.hdr(x-forwarded-uri) -m found }\n"
            )
        },
        "forged headers",
        "believed",
        "txn.ikd_uri",
    ),
    "prefix cut before the check": Mistake(
        {FIRST: f"    http-request replace-path /open(/.*) \\1\n{FIRST}"},
        "paths",
        "other path",
        "txn.ikd_uri",
    ),
    "scheme wrong": Mistake({"str(https)": "str(http)"}, "address", "other origin", "txn.ikd_scheme"),
    "method wrong": Mistake({"{ txn.f:method() }": '{ "GET" }'}, "method", "other method", "txn.f:method()"),
    "client address of the proxy": Mistake(
        {"txn.f:src()": "txn.f:dst()"}, "client address", "address of the proxy", "txn.f:src()"
    ),
    "cookies dropped": Mistake(
        {'  "cookie", "authorization"': '  "authorization"'}, "cookies", "no cookie", "cookie"
    ),
    "Authorization dropped": Mistake(
        {'  "cookie", "authorization"': '  "cookie"'}, "Authorization", "no authorization", "authorization"
    ),
    "browser hints dropped": Mistake(
        {'"sec-fetch-site", "sec-fetch-mode", ': '"sec-fetch-site", '},
        "browsers",
        "no hints",
        "sec-fetch-mode",
    ),
    "token dropped": Mistake({'"sec-purpose", ': ""}, "protected", "token lost"),
    "callback missing": Mistake(
        {"/authgate/start /authgate/callback": "/authgate/start"},
        "pages of the portal",
        "no endpoint",
        "acl is_endpoint",
    ),
    "userinfo not routed": Mistake(
        {"use_backend ikd-portal if is_portal || is_userinfo": "use_backend ikd-portal if is_portal"},
        "pages of the portal",
        "no endpoint",
        "ikd-portal",
    ),
    "WebSocket unprotected": Mistake(
        {OPEN: f"{OPEN} || is_websocket"},
        "WebSocket",
        "unchecked",
        "lua.ikd-check",
    ),
    "a path unprotected": Mistake(
        {OPEN: f"{OPEN} || {{ path_beg /open/ }}"},
        "protected",
        "unchecked",
        "lua.ikd-check",
    ),
    "sign-in missing": Mistake({"[302] = true, ": ""}, "visitors", "other answer", "[302]"),
    "application under any host": Mistake(
        {
            HOST_KNOWN: HOST_KNOWN + FIXED_HOST,
            "    acl is_app    var(txn.ikd_name) -m str app.example.com": "    acl is_app    always_true",
        },
        "hosts",
        "any host",
        "421",
    ),
    "answer ignored": Mistake({DENY: "", ", [403] = true": ""}, "protected", "ignored", "deny_status 503"),
    "client address missing": Mistake(
        {'  headers["x-forwarded-for"] = { txn.f:src() }\n': ""}, "check", "unreadable", "txn.f:src()"
    ),
    "check published": Mistake(
        {
            "acl is_userinfo path -m str /authgate/userinfo": "acl is_userinfo path_beg /authgate/",
            "    http-request return status 404 if is_check !is_endpoint\n": "",
        },
        "published check",
        "published",
    ),
    "clock wrong": Mistake(
        {DENY: f'{DENY}    http-after-response set-header Date "Mon, 01 Jan 2024 00:00:00 GMT"\n'},
        "clock",
        "skew",
        "set-ntp",
    ),
}

NOT_SEEN = {
    "underscores not cleared": "the check receives a fixed list of headers, and none of these",
    "deny line removed": "counts only after an error in Lua, when the portal was not asked",
    "cookies or Authorization passed on": "they leave the request on the way to the application",
}
"""Mistakes that cannot exist here, or that no request of a visitor shows, with the reason."""
