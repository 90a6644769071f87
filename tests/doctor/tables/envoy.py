"""Mistakes in deploy/envoy, and what the doctor says of each."""

from __future__ import annotations

from tests.doctor.tables.mistake import Mistake, between, minimal

ENVOY_FILE = minimal("envoy", "minimal.yaml")
ENVOY_CHECK = between(
    ENVOY_FILE, "                  # The check.", "                  # Removes the portal's cookies"
)
ROUTE = between(ENVOY_FILE, "                        - match: {prefix: /}", "\n  clusters:")
UNCHECKED_ROUTE = (
    "                        - match: MATCH\n                          route: {cluster: app, timeout: 0s}\n"
    "                          typed_per_filter_config: {ikd-check: *unchecked}\n"
)
ANSWERED_BY_CHECK = (
    f"{' ' * 24}- match: "
    '{safe_regex: {regex: "/authgate/(?:start|callback|sign_out|refused)"}}\n'
    f"{' ' * 26}direct_response: {{status: 404}}\n"
)
FIRST_MUTATION = "                          - remove_on_match: {key_matcher: {prefix: x-auth-request-}}\n"
PER_ROUTE = between(ENVOY_FILE, f"{' ' * 24}ikd-check: &unchecked", f"{' ' * 24}ikd-secrets:")
OTHER_NAMES = between(
    ENVOY_FILE,
    f'{" " * 26}- remove_on_match: {{key_matcher: {{safe_regex: {{regex: "[^:]',
    f"\n{' ' * 18}# The check.",
)

MISTAKES = {
    "check removed": Mistake(
        {
            ENVOY_CHECK: "",
            PER_ROUTE: "",
            "                          typed_per_filter_config: {ikd-check: *unchecked}\n": "",
        },
        "protected",
        "unchecked",
        "ikd-check",
    ),
    "a route unprotected": Mistake(
        {ROUTE: UNCHECKED_ROUTE.replace("MATCH", "{prefix: /open/}") + ROUTE},
        "protected",
        "unchecked",
        "ikd-check",
    ),
    "WebSocket unprotected": Mistake(
        {
            ROUTE: UNCHECKED_ROUTE.replace(
                "MATCH", "{prefix: /, headers: [{name: upgrade, string_match: {exact: websocket}}]}"
            )
            + ROUTE
        },
        "WebSocket",
        "unchecked",
        "ikd-check",
    ),
    "identity headers not cleared": Mistake(
        {FIRST_MUTATION: ""}, "identity headers", "identity passes", "x-auth-request-"
    ),
    "underscores pass": Mistake(
        {
            "headers_with_underscores_action: DROP_HEADER": "headers_with_underscores_action: ALLOW",
            OTHER_NAMES: "",
        },
        "header names",
        "aliases pass",
        "DROP_HEADER",
    ),
    "X-Forwarded-For trusted from clients": Mistake(
        {"xff_num_trusted_hops: 0": "xff_num_trusted_hops: 1"},
        "forged client address",
        "believed client",
        "xff_num_trusted_hops: 0",
    ),
    "client address not of the connection": Mistake(
        {"use_remote_address: true": "use_remote_address: false"},
        "forged client address",
        "believed client",
    ),
    "client address missing": Mistake(
        {"                          - exact: x-forwarded-for\n": ""}, "check", "unreadable", "x-forwarded-for"
    ),
    "scheme missing": Mistake(
        {"                          - exact: x-forwarded-proto\n": ""},
        "check",
        "unreadable",
        "x-forwarded-proto",
    ),
    "scheme wrong": Mistake(
        {
            FIRST_MUTATION: (
                FIRST_MUTATION + "                          - append:\n"
                "                              header: {key: x-forwarded-proto, value: http}\n"
                "                              append_action: OVERWRITE_IF_EXISTS_OR_ADD\n"
            )
        },
        "address",
        "other origin",
        "x-forwarded-proto",
    ),
    "path missing": Mistake(
        {
            "path_prefix: /authgate/envoy\n                        # No": (
                "path_override: /authgate/envoy\n                        # No"
            )
        },
        "check",
        "unreadable",
        "path_prefix",
    ),
    "another proxy's check": Mistake(
        {
            "path_prefix: /authgate/envoy\n                        # No": (
                "path_override: /authgate/traefik\n                        # No"
            )
        },
        "check",
        "unreadable",
    ),
    "cookies dropped": Mistake(
        {"                          - exact: cookie\n": ""}, "cookies", "no cookie", "exact: cookie"
    ),
    "browser hints dropped": Mistake(
        {"                          - prefix: sec-fetch-\n": ""}, "browsers", "no hints", "sec-fetch-"
    ),
    "token dropped": Mistake(
        {"                          - exact: sec-purpose\n": ""}, "protected", "token lost", "sec-purpose"
    ),
    "pages of the sign-in missing": Mistake(
        {ANSWERED_BY_CHECK: ""}, "pages of the portal", "no endpoint", "(?:start|callback"
    ),
    "start missing": Mistake(
        {ANSWERED_BY_CHECK: ANSWERED_BY_CHECK.replace("start|", "")},
        "pages of the portal",
        "no endpoint",
        "(?:start|callback",
    ),
    "callback missing": Mistake(
        {ANSWERED_BY_CHECK: ANSWERED_BY_CHECK.replace("callback|", "")},
        "pages of the portal",
        "no endpoint",
        "(?:start|callback",
    ),
    "pages of the sign-in unchecked": Mistake(
        {
            ANSWERED_BY_CHECK: ANSWERED_BY_CHECK
            + f"{' ' * 26}typed_per_filter_config: {{ikd-check: *unchecked}}\n"
        },
        "pages of the portal",
        "no endpoint",
        "(?:start|callback",
    ),
    "userinfo not routed": Mistake(
        {"{path: /authgate/userinfo}": "{path: /authgate/other}"},
        "pages of the portal",
        "no endpoint",
        "userinfo",
    ),
    "client address of the proxy": Mistake(
        {"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%": "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"},
        "client address",
        "address of the proxy",
        "x-forwarded-for",
    ),
    "check published": Mistake(
        {ANSWERED_BY_CHECK: "", "{path: /authgate/userinfo}": "{prefix: /authgate/}"},
        "published check",
        "published",
    ),
    "other hosts answered": Mistake(
        {
            "                    - name: app\n": (
                "                    - name: other\n                      domains: ['*']\n"
                "                      routes:\n"
                "                        - match: {prefix: /}\n"
                "                          route: {cluster: app}\n"
                "                          typed_per_filter_config: {ikd-check: *unchecked}\n"
                "                    - name: app\n"
            )
        },
        "hosts",
        "answered",
        "domains",
    ),
}

NOT_SEEN = {
    "answer ignored": "cannot exist: only a 200 of the portal lets a request pass",
    "method wrong": "cannot exist: the check has the method of the request",
    "X-Forwarded-Host or -Uri from clients": "cannot exist: no check of Envoy reads them",
    "prefix cut before the check": "cannot exist: routes rewrite a path after all filters",
    "Authorization dropped": "cannot exist: Envoy always sends it with a check",
    "cookies passed on": "they leave the request on the way to the application",
}
"""Mistakes that cannot exist here, or that no request of a visitor shows, with the reason."""
