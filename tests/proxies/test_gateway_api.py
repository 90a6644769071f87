"""deploy/kubernetes: the same check as deploy/envoy, in objects of the Gateway API.

Their schemas are in test_custom_resources.py, and a real Envoy Gateway runs them in test_envoy_gateway.py.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.proxies.proxy import DEPLOY
from tests.proxies.test_spoofing import ANOTHER_URL, IDENTITY, SPELLINGS


def objects(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / file).read_text()))


def spec(kind: str, name: str) -> Any:
    [found] = [
        each
        for each in objects("envoy-gateway.yaml")
        if (each["kind"], each["metadata"]["name"]) == (kind, name)
    ]
    return found["spec"]


def external_auth() -> Any:
    route = objects("gateway-api.yaml")[0]
    [found] = [
        each["externalAuth"] for each in route["spec"]["rules"][0]["filters"] if "externalAuth" in each
    ]
    return found


def envoys_headers() -> set[str]:
    """Return the headers that deploy/envoy sends to the portal, except the doctor's."""
    bootstrap = yaml.safe_load((DEPLOY / "envoy" / "complete.yaml").read_text())
    [https] = [each for each in bootstrap["static_resources"]["listeners"] if each["name"] == "https"]
    filters = https["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    [check] = [each["typed_config"] for each in filters if each["name"] == "ikd-check"]
    exact = {pattern["exact"] for pattern in check["allowed_headers"]["patterns"] if "exact" in pattern}
    return exact - {"x-auth-request-user"} | {"sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site"}


def test_policy_and_filter_send_the_same_headers_as_deploy_envoy() -> None:
    by_policy = spec("SecurityPolicy", "ikd-check")["extAuth"]["headersToExtAuth"]
    by_filter = external_auth()["http"]["allowedHeaders"]

    assert set(by_policy) == {name.lower() for name in by_filter} == envoys_headers()


def test_policy_and_filter_append_the_path_to_the_checks_url() -> None:
    asked = spec("SecurityPolicy", "ikd-check")["extAuth"]["http"]

    assert (asked["path"], "pathOverride" in asked) == ("/authgate/envoy", False)
    assert external_auth()["http"]["path"] == "/authgate/envoy"


def test_the_policy_refuses_without_an_answer() -> None:
    policy = spec("SecurityPolicy", "ikd-check")["extAuth"]

    assert (policy["failOpen"], policy["statusOnError"]) == (False, 503)


def test_the_policy_applies_to_the_listener_of_the_sites() -> None:
    [target] = spec("SecurityPolicy", "ikd-check")["targetRefs"]
    [site] = spec("HTTPRoute", "app")["parentRefs"]
    [portal] = spec("HTTPRoute", "ikd-portal")["parentRefs"]

    assert target["sectionName"] == site["sectionName"] == "protected.example.com"
    assert portal["sectionName"] == "portal"


def is_removed(name: str) -> bool:
    """Return whether Envoy Gateway's policy removes a header from client requests."""
    headers = spec("ClientTrafficPolicy", "ikd-clean")["headers"]
    matches = {
        "Prefix": lambda value: name.startswith(value),
        "Exact": lambda value: name == value,
        "RegularExpression": lambda value: re.fullmatch(value, name) is not None,
    }
    matchers = headers["earlyRequestHeaders"]["removeOnMatch"]
    return any(matches[matcher["type"]](matcher["value"]) for matcher in matchers)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", [*IDENTITY, *ANOTHER_URL, "X-Forwarded-Uri", "X-Forwarded-Host"])
def test_identity_headers_of_clients_are_removed(name: str, spelling: str) -> None:
    assert is_removed(SPELLINGS[spelling](name).lower())


@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded-for",
        "x-forwarded-proto",
        "cookie",
        "authorization",
        "host",
        ":path",
        ":authority",
        "accept",
    ],
)
def test_headers_for_the_check_are_kept(name: str) -> None:
    assert not is_removed(name)


def is_blocked(path: str) -> bool:
    """Return whether the portal's route answers 404 for a path."""
    rule = spec("HTTPRoute", "ikd-portal")["rules"][0]
    return any(re.fullmatch(match["path"]["value"], path) for match in rule["matches"])


@pytest.mark.parametrize(
    "path", ["/authgate/envoy/x", "/authgate", "/OAuth2/auth", "/authgate%2Fnginx", "/a;/x"]
)
def test_the_portals_site_hides_its_checks(path: str) -> None:
    assert is_blocked(path)


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/authgates", "/admin/accounts/user/1/change/"])
def test_the_portals_pages_are_reached(path: str) -> None:
    assert not is_blocked(path)
