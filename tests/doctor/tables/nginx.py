"""Mistakes in deploy/nginx, and what the doctor says of each."""

from __future__ import annotations

from tests.doctor.tables.mistake import Mistake

HOST_URI = "proxy_set_header X-Forwarded-Host $host$ikd_port;\nproxy_set_header X-Forwarded-Uri"
SCHEME_HOST_URI = f"proxy_set_header X-Forwarded-Proto $scheme;\n{HOST_URI}"
FOR = "proxy_set_header X-Forwarded-For $remote_addr;     # behind"
LOCATION = (
    "    location / {\n        include ikd/application.conf;\n        proxy_pass http://127.0.0.1:9001; "
)
CALLBACK = (
    "location = /authgate/callback { auth_request off; include ikd/ask.conf; "
    "proxy_pass http://ikd-portal/authgate/callback; }\n"
)
UNCHECKED_WEBSOCKETS = """\
    error_page 418 = @live;
    location @live {
        auth_request off;
        include ikd/application.conf;
        proxy_pass http://127.0.0.1:9001;
    }
"""
OTHER_HOSTS = "    ssl_reject_handshake on;\n    return 421;\n"
SERVED = """\
    ssl_certificate /etc/nginx/tls/example.com.pem;
    ssl_certificate_key /etc/nginx/tls/example.com.key;
    include ikd/site.conf;

    location / {
        include ikd/application.conf;
        proxy_pass http://127.0.0.1:9001;
    }
"""
MISTAKES = {
    "check removed": Mistake(
        {"auth_request /authgate/nginx;\n": "auth_request off;\n"}, "protected", "unchecked", "site.conf"
    ),
    "answer ignored": Mistake(
        {"error_page 403 = @ikd_refused;": "error_page 403 =200 @ikd_refused;"},
        "protected",
        "ignored",
        "error_page 403",
    ),
    "X-Forwarded-Uri missing": Mistake(
        {f"proxy_set_header X-Forwarded-Uri $request_uri;\n{FOR}": FOR},
        "check",
        "unreadable",
        "X-Forwarded-Uri $request_uri",
    ),
    "path after rewriting": Mistake(
        {f"X-Forwarded-Uri $request_uri;\n{FOR}": f"X-Forwarded-Uri $uri$is_args$args;\n{FOR}"},
        "paths",
        "other path",
        "X-Forwarded-Uri $request_uri",
    ),
    "client address missing": Mistake({FOR: "# behind"}, "check", "unreadable", "X-Forwarded-For"),
    "client address of the proxy": Mistake(
        {FOR: FOR.replace("$remote_addr", "$server_addr")},
        "client address",
        "address of the proxy",
        "X-Forwarded-For $remote_addr",
    ),
    "X-Forwarded-For trusted from clients": Mistake(
        {FOR: FOR.replace("$remote_addr", "$http_x_forwarded_for")},
        "forged client address",
        "believed client",
        "X-Forwarded-For $remote_addr",
    ),
    "X-Forwarded-Host trusted from clients": Mistake(
        {HOST_URI: HOST_URI.replace("$host$ikd_port", "$http_x_forwarded_host")},
        "forged headers",
        "believed",
        "X-Forwarded-Host $host",
    ),
    "Host of the client": Mistake(
        {HOST_URI: HOST_URI.replace("$host$ikd_port", "$http_host")},
        "hosts",
        "host of the client",
        "X-Forwarded-Host $host",
    ),
    "scheme wrong": Mistake(
        {SCHEME_HOST_URI: SCHEME_HOST_URI.replace("$scheme", "http")},
        "address",
        "other origin",
        "X-Forwarded-Proto $scheme",
    ),
    "method wrong": Mistake(
        {"X-Forwarded-Method $request_method;": "X-Forwarded-Method GET;"},
        "method",
        "other method",
        "$request_method",
    ),
    "callback missing": Mistake({CALLBACK: ""}, "pages of the portal", "no endpoint", "/authgate/callback"),
    "cookies dropped": Mistake(
        {"proxy_set_header Cookie $http_cookie;\n": ""}, "cookies", "no cookie", "Cookie $http_cookie"
    ),
    "Authorization dropped": Mistake(
        {"proxy_set_header Authorization $http_authorization;\n": ""},
        "Authorization",
        "no authorization",
        "$http_authorization",
    ),
    "browser hints dropped": Mistake(
        {"proxy_set_header Sec-Fetch-Mode $http_sec_fetch_mode;\n": ""},
        "browsers",
        "no hints",
        "Sec-Fetch-Mode",
    ),
    "token dropped": Mistake(
        {"proxy_set_header Sec-Purpose $http_sec_purpose;\n": ""}, "protected", "token lost", None
    ),
    "underscores on": Mistake(
        {"underscores_in_headers off;": "underscores_in_headers on;"},
        "header names",
        "aliases pass",
        "underscores_in_headers off",
    ),
    "WebSocket unprotected": Mistake(
        {
            LOCATION: UNCHECKED_WEBSOCKETS
            + LOCATION.replace("{\n", "{\n        if ($http_upgrade) { return 418; }\n", 1)
        },
        "WebSocket",
        "unchecked",
        "site.conf",
    ),
    "a location unprotected": Mistake(
        {
            LOCATION: LOCATION.replace("location / {", "location /open/ {\n        auth_request off;")
            + "\n    }\n"
            + LOCATION
        },
        "protected",
        "unchecked",
        "site.conf",
    ),
    "sign-in missing": Mistake(
        {"error_page 401 = @ikd_start;": "#"}, "visitors", "bare 401", "error_page 401 = @ikd_start"
    ),
    "client address forged through X-Real-IP": Mistake(
        {FOR: FOR.replace("$remote_addr", "$http_x_real_ip")},
        "forged client address",
        "believed client",
        "X-Forwarded-For $remote_addr",
    ),
    "X-Forwarded-Uri trusted from clients": Mistake(
        {f"X-Forwarded-Uri $request_uri;\n{FOR}": f"X-Forwarded-Uri $http_x_forwarded_uri;\n{FOR}"},
        "check",
        "unreadable",
        "X-Forwarded-Uri $request_uri",
    ),
    "application under any host": Mistake(
        {
            HOST_URI: HOST_URI.replace("$host$ikd_port", "app.example.com$ikd_port"),
            OTHER_HOSTS: SERVED,
        },
        "hosts",
        "any host",
        "default_server",
    ),
}

NOT_SEEN = {
    "identity headers not cleared": "nginx clears them on the way to the application, after the check",
    "cookies or Authorization passed on": "they leave the request on the way to the application",
    "check published": "the portal reads the visitor's own request, and shows users their own name alone",
    "prefix cut before the check": "cannot exist: $request_uri is always what the client sent",
}
"""Mistakes that cannot exist here, or that no request of a visitor shows, with the reason."""
