"""Generated configurations equal the shipped files with other names, and accept no injected text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from authgate.check.request import browser_of
from authgate.proxy_configuration.configuration import configuration
from authgate.proxy_configuration.facts import (
    Address,
    BadFact,
    Facts,
    address_from,
    api_path_from,
    hosts_from,
    portal_from,
    service_of,
)
from authgate.proxy_configuration.proxies import KINDS
from authgate.proxy_configuration.shipped import ShippedFileChanged, between, changed, shipped
from tests.behaviour import NAVIGATION
from tests.factories import ApplicationFactory

SMALLEST = {
    "nginx": "nginx/minimal.conf",
    "traefik": "traefik/minimal.yaml",
    "traefik-kubernetes": "kubernetes/traefik.yaml",
    "ingress-nginx": "ingress-nginx/minimal.yaml",
    "gateway-api": "kubernetes/gateway-api.yaml",
    "envoy-gateway": "kubernetes/envoy-gateway.yaml",
    "caddy": "caddy/minimal.Caddyfile",
    "haproxy": "haproxy/minimal.cfg",
    "envoy": "envoy/minimal.yaml",
}
ODD = (*"\n\r\t\0 ;{}\"'`\\$#%&|<>()", "é", "\u202e")


def facts_of(kind: str, **others: Any) -> Facts:
    app, portal = (address_from(text, "") for text in KINDS[kind].examples)
    return replace(Facts("sso.example.com", ("app.example.com",), 443, app, portal), **others)


def text_of(kind: str, **others: Any) -> str:
    return KINDS[kind].files(facts_of(kind, **others))[0].text


def settings_of(text: str) -> str:
    """Return a configuration without comments."""
    return re.sub(r"(?m)^\s*#.*\n|\s#.*$", "", text)


# ---- the shipped files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SMALLEST)
def test_the_shipped_names_produce_the_shipped_file(kind: str) -> None:
    assert text_of(kind) == shipped(SMALLEST[kind])


def test_the_shipped_names_produce_the_shipped_labels() -> None:
    assert text_of("traefik-docker", api="/api/") == shipped("traefik/labels.yaml")


@pytest.mark.parametrize("kind", KINDS)
def test_additional_files_equal_the_shipped_ones(kind: str) -> None:
    _, *others = KINDS[kind].files(facts_of(kind))

    for file in others:
        if kind != "traefik-docker":
            assert file.text == shipped(f"{kind}/{file.name}")


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_from_the_examples_is_left(kind: str) -> None:
    app, portal = (("web.shop", "gate.auth"), ("192.0.2.7", "192.0.2.8"))[
        KINDS[kind].examples[0][0].isdigit()
    ]
    others = {"portal": "login.other.net", "hosts": ("a.other.net", "b.other.net"), "port": 8443}
    others |= {"backend": Address(app, 7001), "portal_at": Address(portal, 7002), "api": "/v1/"}
    files = KINDS[kind].files(facts_of(kind, **others))

    for file in files:
        left = settings_of(file.text)
        assert not re.search(
            r"(sso|app)\.example\.com|127\.0\.0\.1|\b9001\b|\b8000\b|portal\.ikd|/api/", left
        )
        assert file.name.startswith("ikd/") or not re.search(r"namespace: (ikd|apps)\b", left)
    for host in ("a.other.net", "b.other.net"):
        assert host in files[0].text


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_names_tested_and_unsafe_versions(kind: str) -> None:
    head = " ".join(line.lstrip("# ") for line in text_of(kind).split("\n\n")[0].splitlines())

    assert re.search("[Tt]ested (in|with|against) ", head) and "Unsafe before " in head


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("nginx", "caddy", "haproxy")])
@pytest.mark.parametrize("api", ["", "/v1/"])
def test_generated_yaml_is_valid(kind: str, api: str) -> None:
    for file in KINDS[kind].files(facts_of(kind, api=api, hosts=("a.example.net", "b.example.net"))):
        assert [document for document in yaml.safe_load_all(file.text) if document]


def test_custom_resources_check_an_api_like_other_paths() -> None:
    documents = list(yaml.safe_load_all(text_of("traefik-kubernetes", api="/v1/")))
    specs = {each["metadata"]["name"]: each["spec"] for each in documents if each["kind"] == "Middleware"}
    [route] = [each for each in documents if each["metadata"]["name"] == "app"]
    page, api = route["spec"]["routes"]

    check, check_api = specs["ikd-check"]["forwardAuth"], specs["ikd-check-api"]["forwardAuth"]
    assert check_api == check | {"address": check["address"].replace("/traefik", "/nginx")}
    assert specs["ikd-api"]["chain"]["middlewares"] == [{"name": "ikd-clean"}, {"name": "ikd-check-api"}]
    assert specs["ikd"]["chain"]["middlewares"] == [{"name": "ikd-clean"}, {"name": "ikd-check"}]
    assert page["middlewares"] == [{"name": "ikd"}]
    assert api == page | {
        "match": f"{page['match']} && PathPrefix(`/v1/`)",
        "middlewares": [{"name": "ikd-api"}],
    }


@pytest.mark.parametrize("kind", ["traefik-kubernetes", "ingress-nginx"])
def test_manifests_of_two_applications_do_not_overwrite_each_others_objects(kind: str) -> None:
    """Otherwise `kubectl apply` of the second manifest would remove the route of the first."""
    first = yaml.safe_load_all(text_of(kind, api="/v1/"))
    others = {"backend": Address("wiki.apps", 80), "hosts": ("wiki.example.org",), "api": "/v1/"}
    second = yaml.safe_load_all(text_of(kind, **others))

    def key(each: Any) -> tuple[str, str, str]:
        return each["kind"], each["metadata"]["namespace"], each["metadata"]["name"]

    by_name = {key(each): each for each in first}
    assert [key(each) for each in second if by_name.get(key(each), each) != each] == []
    assert {("apps", "app"), ("apps", "app-api")} & {names[1:] for names in by_name}


# ---- the Gateway API --------------------------------------------------------------------------------------

GATEWAYS = ("gateway-api", "envoy-gateway")


def objects_of(kind: str, **others: Any) -> dict[tuple[str, str], Any]:
    """Return the objects of a file by kind and name."""
    found = list(yaml.safe_load_all(text_of(kind, **others)))
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(by_name) == len(found)
    return by_name


@pytest.mark.parametrize("kind", GATEWAYS)
def test_objects_of_an_application_are_named_after_its_service_and_namespace(kind: str) -> None:
    objects = objects_of(kind, backend=Address("web.shop", 7001), api="/v1/")

    assert objects["HTTPRoute", "web"]["metadata"]["namespace"] == "shop"
    assert objects["ReferenceGrant", "from-shop"]["spec"]["from"][0]["namespace"] == "shop"
    for kind_and_name in objects:
        assert re.fullmatch("[a-z]([a-z0-9-]*[a-z0-9])?", kind_and_name[1])


@pytest.mark.parametrize("kind", GATEWAYS)
def test_hosts_are_quoted_strings_and_never_changed_in_part(kind: str) -> None:
    hosts = ("a.example.net", "1.e3", "x.sso.example.com", "app.example.com.example.net")
    route = objects_of(kind, hosts=hosts, portal="0.e1")["HTTPRoute", "app"]

    assert route["spec"]["hostnames"] == list(hosts)
    assert '"1.e3"' in text_of(kind, hosts=hosts)
    assert 'hostnames: ["0.e1"]' in text_of(kind, portal="0.e1")


@pytest.mark.parametrize("kind", GATEWAYS)
@pytest.mark.parametrize(
    ("others", "field"),
    [
        ({"hosts": ("a_b.example.com",)}, "origins"),
        ({"hosts": ("app.example.com", "192.0.2.1")}, "origins"),
        ({"hosts": tuple(f"a{n}.example.com" for n in range(17))}, "origins"),
        ({"portal": "s_o.example.com"}, "portal"),
        ({"portal": "192.0.2.1"}, "portal"),
        ({"backend": Address("app", 80)}, "backend"),
        ({"portal_at": Address("127.0.0.1", 8000)}, "portal_at"),
    ],
)
def test_values_that_the_gateway_api_does_not_accept_are_refused(kind: str, others: Any, field: str) -> None:
    with pytest.raises(BadFact) as raised:
        text_of(kind, **others)

    assert raised.value.field == field


def test_every_listener_for_hosts_has_the_policy_and_the_route() -> None:
    hosts = ("a.example.com", "b.example.com", "x.a.example.com", "example.net", "wiki")
    objects = objects_of("envoy-gateway", hosts=hosts, port=8443, api="/v1/")
    portal, *listeners = objects["Gateway", "ikd"]["spec"]["listeners"]
    names = [each["name"] for each in listeners]

    assert [each["hostname"] for each in listeners] == [
        "*.example.com",
        "*.a.example.com",
        "example.net",
        "wiki",
    ]
    assert len({*names, "portal"}) == 5 and {each["port"] for each in [portal, *listeners]} == {8443}
    policy = objects["SecurityPolicy", "ikd-check"]["spec"]
    assert [each["sectionName"] for each in policy["targetRefs"]] == names
    for route in ("app", "app-api"):
        parents = objects["HTTPRoute", route]["spec"]["parentRefs"]
        assert [each["sectionName"] for each in parents] == names


def test_the_policy_of_an_api_differs_from_the_listeners_in_two_headers_only() -> None:
    objects = objects_of("envoy-gateway", api="/v1/")
    route, policy = objects["HTTPRoute", "app-api"], objects["SecurityPolicy", "app-api"]
    [grant] = objects["ReferenceGrant", "from-apps"]["spec"]["from"]
    check, api = objects["SecurityPolicy", "ikd-check"]["spec"]["extAuth"], policy["spec"]["extAuth"]

    [target] = policy["spec"]["targetRefs"]
    assert (target["kind"], target["name"]) == ("HTTPRoute", route["metadata"]["name"])
    assert policy["metadata"]["namespace"] == route["metadata"]["namespace"] == grant["namespace"]
    assert grant["group"] == "gateway.envoyproxy.io"
    assert route["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1"}}]
    assert set(check["headersToExtAuth"]) - set(api["headersToExtAuth"]) == {"accept", "sec-fetch-mode"}
    [backend] = check["http"]["backendRefs"]
    in_namespace = check["http"] | {"backendRefs": [backend | {"namespace": "ikd"}]}
    assert api == check | {"headersToExtAuth": api["headersToExtAuth"], "http": in_namespace}


def test_the_rule_of_an_api_differs_from_the_other_rule_in_two_headers_only() -> None:
    api, page = objects_of("gateway-api", api="/v1/")["HTTPRoute", "app"]["spec"]["rules"]
    assert api.pop("matches") == [{"path": {"type": "PathPrefix", "value": "/v1"}}]
    of_api, of_page = (each["filters"][1]["externalAuth"]["http"] for each in (api, page))

    assert set(of_page["allowedHeaders"]) - set(of_api["allowedHeaders"]) == {"Accept", "Sec-Fetch-Mode"}
    of_api["allowedHeaders"] = of_page["allowedHeaders"]
    assert api == page


@pytest.mark.parametrize("without", [set(), {"sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site"}])
def test_no_client_counts_as_a_navigating_browser_without_the_two_headers(without: set[str]) -> None:
    objects = objects_of("envoy-gateway", api="/v1/")
    sent = {name.lower(): value for name, value in NAVIGATION.items() if name.lower() not in without}
    navigates = {}
    for name in ("ikd-check", "app-api"):
        passed = objects["SecurityPolicy", name]["spec"]["extAuth"]["headersToExtAuth"]
        hints = {each.encode(): sent[each].encode() for each in passed if each in sent}
        navigates[name] = browser_of(hints).navigates

    assert navigates == {"ikd-check": True, "app-api": False}


# ---- labels and names -------------------------------------------------------------------------------------


def test_the_labels_define_the_same_routers_as_the_file() -> None:
    [service] = yaml.safe_load(text_of("traefik-docker"))["services"].values()
    file = yaml.safe_load(shipped("traefik/minimal.yaml"))["http"]["routers"]
    for name in ("app", "app-userinfo"):
        label = f"traefik.http.routers.{name}"
        told = {
            key.rpartition(".")[2]: value
            for key, value in service["labels"].items()
            if key.startswith(f"{label}.")
        }
        assert told["rule"] == file[name]["rule"]
        assert [told["middlewares"]] == [f"{each}@file" for each in file[name]["middlewares"]]


def test_envoy_resolves_a_host_name_by_dns() -> None:
    text = text_of("envoy", backend=Address("app", 80))

    [app] = [each for each in yaml.safe_load(text)["static_resources"]["clusters"] if each["name"] == "app"]
    assert app["type"] == "STRICT_DNS"


def test_a_changed_shipped_file_is_detected() -> None:
    with pytest.raises(ShippedFileChanged):
        changed("one", {"two": "three"})
    for text in ("no", "a b a b"):
        with pytest.raises(ShippedFileChanged):
            between(text, "a", "b")


# ---- input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["127.0.0.1:9001", "app:80", "app_1.internal:65535", "[::1]:9001", " App:80 "]
)
def test_a_valid_address_is_accepted(text: str) -> None:
    assert str(address_from(text, "backend")) == text.strip().lower()


@pytest.mark.parametrize(
    "text",
    [
        *("", "app", ":80", "app:", "app:0", "app:65536", "app:080", "app:80:80", "http://app:80", "app:80/"),
        *("1.2.3:80", "1.2.3.256:80", "[::g]:80", "[::1%eth0]:80", "::1:80", "-app:80"),
        *("unix:/run/x", "app..x:80", "null:80", "a" * 300 + ":80", "app:\uff18\uff10"),
        *(f"app{odd}x:80" for odd in ODD),
        *(f"app:80{odd}x" for odd in ODD),
    ],
)
def test_an_odd_address_is_refused(text: str) -> None:
    with pytest.raises(BadFact) as raised:
        address_from(text, "backend")

    assert raised.value.field == "backend"


@pytest.mark.parametrize("text", ["app:80", "a.b.c:80", "app.1:80", "app.on:80", "a_b.c:80", "192.0.2.1:80"])
def test_manifests_accept_only_service_names(text: str) -> None:
    with pytest.raises(BadFact):
        service_of(address_from(text, "backend"), "backend")


@pytest.mark.parametrize("text", ["app.apps:80", "app.apps.svc:80", "app.apps.svc.cluster.local:80"])
def test_a_service_name_is_accepted(text: str) -> None:
    service = service_of(address_from(text, "backend"), "backend")

    assert (service.name, service.namespace, service.port) == ("app", "apps", 80)


@pytest.mark.parametrize(("text", "path"), [("", ""), ("/api", "/api/"), ("/v1/api_x/", "/v1/api_x/")])
def test_a_valid_path_is_accepted(text: str, path: str) -> None:
    assert api_path_from(text) == path


@pytest.mark.parametrize(
    "text",
    ["/", "api", "//", "/a//b", "/../a", "/.a", "/a?b", f"/{'a' * 300}", *(f"/a{odd}b" for odd in ODD)],
)
def test_an_odd_path_is_refused(text: str) -> None:
    with pytest.raises(BadFact):
        api_path_from(text)


@pytest.mark.parametrize(
    "origin",
    [
        *("https://*.example.com", "http://app.example.com", "https://app.example.com:8443", "https://[::1]"),
        *("https://sso.example.com", "https://app.example.com/", "https://null"),
        *(f"https://app{odd}.example.com" for odd in ODD),
        "https://app.example.com\n",
    ],
)
def test_an_odd_origin_is_omitted(origin: str) -> None:
    assert hosts_from([origin, "https://x.example.com"], "sso.example.com", 443) == (
        ("x.example.com",),
        (origin,),
    )


@pytest.mark.parametrize("origin", ["http://localhost:8000", "https://[::1]", "https://sso.example.com;"])
def test_a_portal_without_https_or_name_has_no_configuration(origin: str) -> None:
    with pytest.raises(BadFact):
        portal_from(origin)


def test_haproxy_needs_an_ip_address_for_the_portal(settings: Any) -> None:
    settings.IKD_PORTAL_ORIGIN = "https://sso.example.com"
    with pytest.raises(BadFact) as raised:
        configuration("haproxy", ["https://app.example.com"], "app:80", "portal:8000", "")

    assert raised.value.field == "portal_at"


# ---- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def wiki(db: None, settings: Any) -> None:
    settings.IKD_PORTAL_ORIGIN = "https://sso.example.com"
    ApplicationFactory(name="Wiki", origins=["https://wiki.example.com", "https://*.wiki.example.com"])


def test_the_command_prints_a_configuration(wiki: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("proxy_configuration", "Wiki", "caddy", backend="app:80")

    output = capsys.readouterr()
    expected = configuration("caddy", ["https://wiki.example.com"], "app:80", "127.0.0.1:8000", "")
    assert output.out == expected.files[0].text
    assert "Not in the files: https://*.wiki.example.com" in output.err


def test_the_command_writes_files_and_does_not_overwrite_any(wiki: None, tmp_path: Path) -> None:
    call_command("proxy_configuration", "Wiki", "nginx", folder=tmp_path)

    assert (tmp_path / "ikd" / "ask.conf").read_text() == shipped("nginx/ikd/ask.conf")
    with pytest.raises(CommandError, match="exists"):
        call_command("proxy_configuration", "Wiki", "nginx", folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Nothing", "nginx"], "no application"),
        (["Wiki", "nginx", "--backend", "app:80;"], "backend: Enter a host and a port"),
        (["Wiki", "ingress-nginx", "--backend", "app:80"], "backend: Enter a Service"),
        (["Wiki", "gateway-api", "--portal", "portal:80"], "portal_at: Enter a Service"),
        (["Wiki", "haproxy", "--portal", "portal:80"], "portal_at: HAProxy needs an IP address"),
    ],
)
def test_the_command_names_the_missing_or_wrong_argument(
    wiki: None, arguments: list[str], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("proxy_configuration", *arguments)
