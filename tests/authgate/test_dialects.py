"""The headers of ingress-nginx and Envoy have one meaning, or the check refuses them."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client

from accounts.models import User
from tests.authgate.asking import WIKI, raw_endpoint, signed_in
from tests.authgate.test_contracts import events
from tests.dialects import Headers, check_request

pytestmark = pytest.mark.usefixtures("wiki")

INGRESS = "/authgate/ingress-nginx"
ENVOY = "/authgate/envoy"


def ask(target: str, headers: Headers, user: User | None = None, method: str = "GET") -> HttpResponse:
    path, _, query = target.partition("?")
    return raw_endpoint(path, headers, query, signed_in(user) if user else "", method)


# ---- ingress-nginx ----------------------------------------------------------------------------------------


def ingress(query: str, alice: User, **changed: str) -> HttpResponse:
    headers = dict(check_request(INGRESS, f"{WIKI}/page").headers)
    headers |= {name.replace("_", "-").encode(): value.encode() for name, value in changed.items()}
    return ask(f"{INGRESS}{query}", list(headers.items()), alice)


@pytest.mark.parametrize(
    ("query", "reason"),
    {
        "no query": ("", "host in the check's URL missing"),
        "empty": ("?host=", "host in the check's URL missing"),
        "another": ("?host=evil.example", "host of x-original-url is not the one that is served"),
        "a site below": ("?host=x.wiki.example.com", "host of x-original-url is not the one that is served"),
        "a port of its own": (
            "?host=wiki.example.com:8443",
            "host of x-original-url is not the one that is served",
        ),
        "twice": ("?host=wiki.example.com&host=wiki.example.com", "host in the check's URL doubled"),
        "no name": ("?host=wiki.example.com/x", "host"),
        "encoded": ("?host=wiki%2Eexample.com", "host"),
    }.values(),
)
def test_ingress_nginx_must_name_the_requested_host(query: str, reason: str, alice: User) -> None:
    response = ingress(query, alice)

    assert response.status_code == 403
    assert [event[2] for event in events()] == [reason]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/page",
        "https://wiki.example.com:8443/page",
        "https://wiki.example.com@evil.example/page",
        "https://evil.example?@wiki.example.com/page",
        "https://wiki.example.com",
        "https:/wiki.example.com/page",
        "//wiki.example.com/page",
        "wiki.example.com/page",
        "/page",
        "https://https://wiki.example.com/page",
        "gopher://wiki.example.com/page",
        "",
    ],
)
def test_an_original_url_with_another_host_refuses(url: str, alice: User) -> None:
    assert ingress("?host=wiki.example.com", alice, x_original_url=url).status_code == 403


@pytest.mark.parametrize(
    ("query", "url"),
    [
        ("?host=wiki.example.com", "https://wiki.example.com/page?x=https://evil.example/"),
        ("?host=wiki.example.com", "HTTPS://WIKI.example.com:443/page"),
        ("?host=WIKI.Example.com.", "https://wiki.example.com/page"),
        ("?host=wiki.example.com&allowed_groups=staff", "https://wiki.example.com/page"),
        ("?allowed_groups=staff&host=wiki.example.com", "https://wiki.example.com/page"),
    ],
)
def test_the_requested_host_is_accepted(query: str, url: str, alice: User) -> None:
    assert ingress(query, alice, x_original_url=url).status_code == 200


@pytest.mark.parametrize("query", ["?host=wiki.example.com&allowed_groups=", "?host=wiki.example.com&rd=/"])
def test_the_host_parameter_does_not_excuse_other_mistakes_in_the_query(query: str, alice: User) -> None:
    assert ingress(query, alice).status_code == 403


def test_other_contracts_have_no_host_parameter(alice: User) -> None:
    sent = check_request("/authgate/nginx", f"{WIKI}/", query="host=wiki.example.com")

    assert ask(sent.target, sent.headers, alice).status_code == 403


def test_ingress_nginx_reads_no_forwarded_header(alice: User) -> None:
    headers = check_request("/authgate/traefik", f"{WIKI}/page").headers

    assert ask(f"{INGRESS}?host=wiki.example.com", headers, alice).status_code == 403


# ---- Envoy ------------------------------------------------------------------------------------------------


def envoy(target: str, alice: User, method: str = "GET") -> HttpResponse:
    return ask(target, check_request(ENVOY, f"{WIKI}/").headers, alice, method)


@pytest.mark.parametrize(
    "query", ["?allowed_groups=nobody", "?allowed_groups=", "?rd=https://evil.example", "?"]
)
def test_the_browsers_query_is_not_read_as_a_filter(query: str, alice: User) -> None:
    assert envoy(f"{ENVOY}/page{query}", alice).status_code == 200


@pytest.mark.parametrize("target", [ENVOY, f"{ENVOY}?/page"])
def test_envoy_must_send_the_path_after_the_prefix(target: str, alice: User) -> None:
    response = envoy(target, alice)

    assert response.status_code == 400
    assert events()[0][2] == "request target"


@pytest.mark.parametrize("target", [f"{ENVOY}/%00", f"{ENVOY}/a#b", f"{ENVOY}/%2500"])
def test_an_unreadable_path_after_the_prefix_is_refused(target: str, alice: User) -> None:
    assert envoy(target, alice).status_code == 403


def test_envoys_contract_needs_a_server_that_passes_on_the_raw_target(alice: User) -> None:
    headers = {
        f"HTTP_{name.decode().upper().replace('-', '_')}": value.decode()
        for name, value in check_request(ENVOY, f"{WIKI}/").headers
    }

    assert Client().get(f"{ENVOY}/page", **headers, HTTP_COOKIE=signed_in(alice)).status_code == 400


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "MKACTIVITY"])
def test_the_method_of_envoys_check_is_the_clients_method(method: str, alice: User) -> None:
    assert envoy(f"{ENVOY}/page", alice, method).status_code == 200


def test_envoy_may_send_headers_of_other_contracts(alice: User) -> None:
    sent = check_request(ENVOY, f"{WIKI}/page")
    foreign: Headers = [
        (b"x-forwarded-host", b"evil.example"),
        (b"x-forwarded-uri", b"/evil"),
        (b"x-forwarded-method", b"DELETE"),
        (b"x-original-url", b"https://evil.example/"),
    ]

    assert ask(sent.target, [*foreign, *sent.headers], alice).status_code == 200


@pytest.mark.parametrize("name", [b"host", b"x-forwarded-proto", b"x-forwarded-for"])
@pytest.mark.parametrize("fault", ["missing", "empty", "doubled"])
def test_each_header_of_envoy_must_occur_once(name: bytes, fault: str, alice: User) -> None:
    headers = check_request(ENVOY, f"{WIKI}/page").headers
    kept = [pair for pair in headers if pair[0] != name]
    faulty = {
        "missing": [],
        "empty": [(name, b"")],
        "doubled": [pair for pair in headers if pair[0] == name] * 2,
    }

    assert ask(f"{ENVOY}/page", [*kept, *faulty[fault]], alice).status_code == 400
