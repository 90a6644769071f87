"""The proxy contracts: each header once, readable, from a trusted peer. Otherwise 403 and an event."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from authgate.models import Application, AuditEvent, ConfigurationEvent, Rule
from authgate.worker.write_behind import writer
from tests.authgate.asking import (
    NAVIGATION,
    WIKI,
    Headers,
    ask,
    endpoint,
    facts,
    forwarded,
    header,
    raw_endpoint,
    signed_in,
)
from tests.factories import ApplicationFactory

pytestmark = pytest.mark.usefixtures("wiki")

CHECKS = {"/authgate/nginx": 403, "/authgate/traefik": 400, "/authgate/caddy": 400, "/authgate/haproxy": 400}
NAMES = [name for name, _ in forwarded(f"{WIKI}/")]
BAD_VALUES = {
    "host empty": (b"x-forwarded-host", b""),
    "host of two": (b"x-forwarded-host", b"wiki.example.com,evil.example"),
    "host with user info": (b"x-forwarded-host", b"wiki.example.com@evil.example"),
    "host with a path": (b"x-forwarded-host", b"wiki.example.com/x"),
    "host in raw UTF-8": (b"x-forwarded-host", "wïki.example.com".encode()),
    "host with NUL": (b"x-forwarded-host", b"wiki.example.com\x00"),
    "host of 10 kB": (b"x-forwarded-host", b"a" * 10_000),
    "scheme of two": (b"x-forwarded-proto", b"https,http"),
    "scheme unknown": (b"x-forwarded-proto", b"gopher"),
    "scheme with NUL": (b"x-forwarded-proto", b"https\x00"),
    "uri absolute": (b"x-forwarded-uri", b"https://wiki.example.com/"),
    "uri a star": (b"x-forwarded-uri", b"*"),
    "uri with a line end": (b"x-forwarded-uri", b"/a\r\nb"),
    "uri with NUL": (b"x-forwarded-uri", b"/\x00"),
    "method of two": (b"x-forwarded-method", b"GET,POST"),
    "method in lower case": (b"x-forwarded-method", b"get"),
    "method of 10 kB": (b"x-forwarded-method", b"A" * 10_000),
    "client unknown": (b"x-forwarded-for", b"unknown"),
    "client with a zone": (b"x-forwarded-for", b"fe80::1%<script>"),
    "client of 10 kB": (b"x-forwarded-for", b"1" * 10_000),
}


def raw(
    check: str, headers: Headers, cookie: str = "", query: str = "", peer: str | None = "127.0.0.1"
) -> HttpResponse:
    """Send a request through the whole middleware, as the server does."""
    return raw_endpoint(check, headers, query, cookie, peer=peer)


def events() -> list[tuple[str, str, str, int]]:
    writer.flush()
    return list(ConfigurationEvent.objects.values_list("contract", "origin", "reason", "count"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS)
def test_a_missing_header_refuses(check: str, name: bytes, alice: User) -> None:
    headers = [pair for pair in forwarded(f"{WIKI}/") if pair[0] != name]

    response = raw(check, headers, signed_in(alice))

    assert response.status_code == CHECKS[check]
    site = "" if name == b"x-forwarded-host" else WIKI
    assert events() == [(check.rpartition("/")[2], site, f"{name.decode()} missing", 1)]


def test_an_event_does_not_contain_an_unknown_host(alice: User) -> None:
    """Otherwise a client could fill the events with invented hosts."""
    headers = [pair for pair in forwarded("https://made-up.example.net/") if pair[0] != b"x-forwarded-uri"]

    raw("/authgate/nginx", headers, signed_in(alice))

    assert events() == [("nginx", "", "x-forwarded-uri missing", 1)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS)
def test_an_empty_header_refuses(check: str, name: bytes, alice: User) -> None:
    headers = [(key, b"" if key == name else value) for key, value in forwarded(f"{WIKI}/")]

    assert raw(check, headers, signed_in(alice)).status_code == CHECKS[check]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS)
def test_a_doubled_header_refuses_even_if_both_values_are_equal(check: str, name: bytes, alice: User) -> None:
    headers = forwarded(f"{WIKI}/")

    response = raw(check, [*headers, (name, dict(headers)[name])], signed_in(alice))

    assert response.status_code == CHECKS[check]
    assert events()[0][2] == f"{name.decode()} doubled"


@pytest.mark.parametrize(("name", "value"), BAD_VALUES.values(), ids=BAD_VALUES)
@pytest.mark.parametrize("check", CHECKS)
def test_an_unreadable_value_refuses(check: str, name: bytes, value: bytes, alice: User) -> None:
    headers = [(key, value if key == name else old) for key, old in forwarded(f"{WIKI}/")]

    response = raw(check, headers, signed_in(alice))

    assert response.status_code == CHECKS[check]
    assert len(response["X-Auth-Decision"]) == 12
    assert len(events()) == 1


@pytest.mark.parametrize("header", [b"x-forwarded-prefix", b"x-replaced-path"])
@pytest.mark.parametrize("value", [b"/grafana", b"", b"/"])
@pytest.mark.parametrize("check", CHECKS)
def test_a_path_that_the_proxy_rewrote_before_the_check_refuses(
    check: str, value: bytes, header: bytes, alice: User
) -> None:
    response = raw(check, [*forwarded(f"{WIKI}/"), (header, value)], signed_in(alice))

    assert response.status_code == CHECKS[check]
    reason = f"{header.decode()}: the path was rewritten before the check"
    assert events() == [(check.rpartition("/")[2], WIKI, reason, 1)]


@pytest.mark.parametrize("name", NAMES)
def test_a_header_name_with_an_underscore_is_another_header(name: bytes, alice: User) -> None:
    sly = (name.replace(b"-", b"_"), b"evil")

    assert raw("/authgate/nginx", [*forwarded(f"{WIKI}/"), sly], signed_in(alice)).status_code == 200


@pytest.mark.parametrize("name", [b"x_forwarded_uri", b"x.auth.request.user", b"remote_user"])
def test_a_proxy_that_passes_on_aliases_of_headers_leaves_an_event(name: bytes, alice: User) -> None:
    raw("/authgate/traefik", [*forwarded(f"{WIKI}/"), (name, b"evil")], signed_in(alice))

    assert events() == [("traefik", "", "header names with underscores or dots pass the proxy", 1)]


def test_an_alias_from_an_untrusted_peer_is_not_blamed_on_the_proxy(alice: User) -> None:
    raw("/authgate/traefik", [*forwarded(f"{WIKI}/"), (b"x_forwarded_uri", b"x")], peer="192.0.2.66")

    assert [reason for _, _, reason, _ in events()] == ["peer is no trusted proxy"]


@pytest.mark.parametrize(
    "foreign",
    [
        (b"host", b"evil.example"),
        (b"x-original-url", b"https://evil.example/"),
        (b"x-original-uri", b"/evil"),
        (b"x-original-method", b"DELETE"),
        (b"x-scheme", b"http"),
        (b"x-real-ip", b"10.0.0.1"),
        (b"forwarded", b"host=evil.example;proto=http"),
        (b"x-forwarded-port", b"1"),
        (b"x-forwarded-ssl", b"off"),
        (b"x-rewrite-url", b"/evil"),
        (b"x-auth-request-user", b"root"),
        (b"x-auth-request-redirect", b"https://evil.example/"),
        (b"remote-user", b"root"),
        (b"if-none-match", b"*"),
        (b"range", b"bytes=0-"),
    ],
    ids=lambda pair: pair[0].decode(),
)
@pytest.mark.parametrize("check", CHECKS)
def test_headers_of_another_contract_are_ignored(
    check: str, foreign: tuple[bytes, bytes], alice: User
) -> None:
    cookie = signed_in(alice)
    before = raw(check, forwarded(f"{WIKI}/"), cookie)

    after = raw(check, [foreign, *forwarded(f"{WIKI}/"), foreign], cookie)

    assert after.status_code == before.status_code == 200
    assert list(after.items()) == list(before.items())


@pytest.mark.parametrize("check", CHECKS)
def test_headers_of_another_contract_do_not_replace_missing_ones(check: str) -> None:
    headers = [(b"host", b"wiki.example.com"), (b"x-scheme", b"https"), (b"x-real-ip", b"192.0.2.1")]

    assert raw(check, headers).status_code == CHECKS[check]


@pytest.mark.parametrize("headers", [[], forwarded(f"{WIKI}/")], ids=["nothing", "X-Forwarded"])
def test_oauth2_auth_for_nginx_reads_no_forwarded_header(headers: Headers, alice: User) -> None:
    assert raw("/oauth2/auth", headers, signed_in(alice)).status_code == 403


@pytest.mark.parametrize(
    "client", [b"10.0.0.1, 192.0.2.1", b"", b"junk", b"unix:"], ids=["two", "none", "junk", "a Unix socket"]
)
def test_oauth2_auth_needs_exactly_one_address(client: bytes, alice: User) -> None:
    headers = [(b"host", b"wiki.example.com"), (b"x-scheme", b"https"), (b"x-real-ip", client)]

    assert raw("/oauth2/auth", headers, signed_in(alice)).status_code == 403


@pytest.mark.parametrize("client", [b"192.0.2.1:41234", b"[2001:db8::7]:80", b"fe80::1%eth0"])
def test_oauth2_auth_removes_brackets_port_and_zone_of_an_address(client: bytes, alice: User) -> None:
    headers = [(b"host", b"wiki.example.com"), (b"x-scheme", b"https"), (b"x-real-ip", client)]

    assert raw("/oauth2/auth", headers, signed_in(alice)).status_code == 200


AROUND_AN_ADDRESS = {
    b"203.0.113.7:41234": "203.0.113.7",
    b"::ffff:203.0.113.7": "203.0.113.7",
    b"[2001:db8::7]:41234": "2001:db8::7",
    b"fe80::7%eth0": "fe80::7",
}


@pytest.mark.parametrize(("sent", "address"), AROUND_AN_ADDRESS.items(), ids=AROUND_AN_ADDRESS.values())
def test_a_network_admits_an_address_and_the_log_has_it_in_canonical_form(
    sent: bytes, address: str, alice: User
) -> None:
    headers = list((dict(forwarded(f"{WIKI}/")) | {b"x-forwarded-for": sent}).items())
    Rule.objects.update(networks=address)
    admitted = raw("/authgate/traefik", headers, signed_in(alice))
    Rule.objects.update(networks="192.0.2.0/24")
    refused = raw("/authgate/traefik", headers, signed_in(alice))
    writer.flush()

    assert (admitted.status_code, refused.status_code) == (200, 403)
    assert AuditEvent.objects.get(kind="refused").address == address


def test_oauth2_auth_for_traefik_redirects(settings: Settings) -> None:
    settings.IKD_OAUTH2_CONTRACT = "traefik"

    assert raw("/oauth2/auth", [*forwarded(f"{WIKI}/"), *NAVIGATION]).status_code == 302


# ---- peers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [*CHECKS, "/oauth2/auth"])
@pytest.mark.parametrize("peer", ["192.0.2.66", "2001:db8::66", "::ffff:192.0.2.66", "junk", ""])
def test_an_untrusted_peer_is_refused_without_details(check: str, peer: str, alice: User) -> None:
    answer = ask(facts(f"{WIKI}/", check=check, cookie=signed_in(alice), peer=peer))

    assert answer.status == 403
    assert answer.refusal is not None
    assert answer.refusal.reason == "peer is no trusted proxy"


@pytest.mark.parametrize("peer", [None, "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_a_trusted_peer_may_ask(peer: str | None, alice: User) -> None:
    assert ask(facts(f"{WIKI}/", cookie=signed_in(alice), peer=peer)).status == 200


@pytest.mark.parametrize("name", ["start", "callback", "sign_out", "userinfo", "refused"])
def test_an_endpoint_needs_a_trusted_peer_too(name: str, alice: User) -> None:
    response = endpoint(f"/authgate/{name}", cookie=signed_in(alice), peer="192.0.2.66")

    assert response.status_code == 403
    assert "Location" not in response


def test_the_peers_address_is_not_taken_from_a_header(alice: User) -> None:
    headers = [*forwarded(f"{WIKI}/", client="127.0.0.1"), (b"x-real-ip", b"127.0.0.1")]

    assert raw("/authgate/traefik", headers, signed_in(alice), peer="192.0.2.66").status_code == 403


# ---- another server: runserver joins doubled headers with a comma -----------------------------------------


def meta(**more: str) -> dict[str, str]:
    names = {name.decode().upper().replace("-", "_"): value.decode() for name, value in forwarded(f"{WIKI}/")}
    return {f"HTTP_{name}": value for name, value in (names | more).items()}


def test_runserver_answers_checks_too(alice: User) -> None:
    response = Client().get("/authgate/nginx", **meta(COOKIE=signed_in(alice)))

    assert response.status_code == 200


@pytest.mark.parametrize("name", ["METHOD", "PROTO", "HOST", "URI"])
def test_a_comma_in_a_header_refuses_under_runserver(name: str, alice: User) -> None:
    told = meta(COOKIE=signed_in(alice))
    told[f"HTTP_X_FORWARDED_{name}"] += ",x"

    assert Client().get("/authgate/nginx", **told).status_code == 403


def test_a_comma_between_addresses_is_allowed_under_runserver(alice: User) -> None:
    told = meta(COOKIE=signed_in(alice), X_FORWARDED_FOR="10.0.0.1,192.0.2.1")

    assert Client().get("/authgate/nginx", **told).status_code == 200


# ---- targets with a canonical form ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proto", "host"),
    [
        (b"https", b"WIKI.Example.COM"),
        (b"HTTPS", b"wiki.example.com"),
        (b"https", b"wiki.example.com."),
        (b"https", b"wiki.example.com:443"),
        (b"wss", b"wiki.example.com"),
    ],
)
@pytest.mark.parametrize("check", CHECKS)
def test_other_spellings_of_the_origin_are_the_same_origin(
    check: str, proto: bytes, host: bytes, alice: User
) -> None:
    headers = dict(forwarded(f"{WIKI}/")) | {b"x-forwarded-proto": proto, b"x-forwarded-host": host}

    assert raw(check, list(headers.items()), signed_in(alice)).status_code == 200


@pytest.mark.parametrize(
    "url", ["http://wiki.example.com/", "https://wiki.example.com:8443/", "ws://wiki.example.com/"]
)
@pytest.mark.parametrize("check", CHECKS)
def test_another_scheme_or_port_is_another_origin(check: str, url: str, alice: User) -> None:
    response = raw(check, [*forwarded(url), *NAVIGATION], signed_in(alice))

    assert response.status_code == 403
    assert "Location" not in response


@pytest.mark.parametrize("check", ["/authgate/nginx/", "/authgate/traefik/", "/oauth2/auth/"])
def test_a_trailing_slash_is_the_same_check_without_a_redirect(check: str) -> None:
    assert raw(check, forwarded(f"{WIKI}/")).status_code in (401, 403)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "MKACTIVITY"])
@pytest.mark.parametrize("check", CHECKS)
def test_a_check_may_use_any_method(check: str, method: str, alice: User) -> None:
    response = raw_endpoint(check, forwarded(f"{WIKI}/"), cookie=signed_in(alice), method=method)

    assert (response.status_code, response.content) == (200, b"")


def test_identity_headers_are_plain_ascii_and_always_present(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(username="ali%,\u4e2d\r\nX: y ", email=" \u00e9@x")
    app = Application.objects.get()
    Application.objects.filter(pk=app.pk).update(remote_headers=True, forwarded_user_header=True)

    response = raw("/authgate/nginx", forwarded(f"{WIKI}/"), signed_in(alice))

    assert response["X-Auth-Request-User"] == "ali%25,%E4%B8%AD%0D%0AX: y%20"
    assert response["Remote-User"] == response["X-Forwarded-User"] == response["X-Auth-Request-User"]
    assert response["X-Auth-Request-Email"] == ""
    assert response["Remote-Groups"] == "staff"


@pytest.mark.parametrize("wished", [True, False], ids=["wished", "not wished"])
def test_the_username_header_is_only_for_applications_that_ask_for_it(wished: bool, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(username="mé%bill")
    Application.objects.update(username_header=wished, user_header="uuid")

    response = raw("/authgate/nginx", forwarded(f"{WIKI}/"), signed_in(alice))

    assert response.headers.get("username") == ("m%C3%A9%25bill" if wished else None)


def test_a_comma_in_a_groups_name_does_not_add_a_group(alice: User) -> None:
    alice.groups.create(name="a,root")

    response = raw("/authgate/nginx", forwarded(f"{WIKI}/"), signed_in(alice))

    assert response["X-Auth-Request-Groups"] == "a%2Croot,staff"


def test_more_groups_than_fit_into_headers_are_refused_with_an_event(alice: User) -> None:
    for number in range(60):
        alice.groups.create(name=f"{number} {'g' * 100}")

    response = raw("/authgate/nginx", forwarded(f"{WIKI}/"), signed_in(alice))

    assert response.status_code == 403
    assert events() == [("nginx", WIKI, "identity headers too long", 1)]


@pytest.mark.parametrize(
    "path", ["/", "/page?x=1", f"/x?ikdcode={'C' * 43}", "/authgate/userinfo", "/%00", "/#"]
)
@pytest.mark.parametrize("check", CHECKS)
def test_the_portal_behind_its_own_check_is_let_through_without_identity(
    check: str, path: str, alice: User
) -> None:
    headers = [*forwarded(f"https://sso.example.com{path}"), *NAVIGATION]

    response = raw(check, headers, signed_in(alice), "allow_portal=true")

    assert (response.status_code, response.content) == (200, b"")
    assert response["X-Auth-Request-User"] == ""


def test_a_redirect_for_a_long_target_omits_its_query() -> None:
    for path in ("/page?" + "a&" * 1001, "/page?" + "x" * 10_000, "/" + "p" * 10_000):
        response = raw("/authgate/traefik", [*forwarded(f"{WIKI}{path}"), *NAVIGATION])

        assert response.status_code == 302
        assert sum(len(name) + len(value) + 4 for name, value in response.items()) <= 4096


@pytest.mark.parametrize("check", CHECKS)
def test_a_401_for_a_long_target_is_short_too(check: str) -> None:
    response = raw(check, forwarded(f"{WIKI}/page?" + "%zz" * 5_000))

    assert response.status_code == 401
    assert sum(len(name) + len(value) + 4 for name, value in response.items()) <= 4096


@pytest.mark.parametrize("path", ["/page%", "/page%zz?x=1", "/100%", "/%4"])
@pytest.mark.parametrize("check", CHECKS)
def test_a_malformed_escape_refuses_without_a_sign_in(check: str, path: str, alice: User) -> None:
    Rule.objects.update(who=Rule.Who.EVERYONE)

    for cookie in ("", signed_in(alice)):
        response = raw(check, [*forwarded(f"{WIKI}{path}"), *NAVIGATION], cookie)

        assert response.status_code == 403
        assert "Location" not in response
        assert events() == []


@pytest.mark.parametrize("check", CHECKS)
def test_a_malformed_escape_in_the_query_is_allowed(check: str, alice: User) -> None:
    assert raw(check, forwarded(f"{WIKI}/page?a=%&b=%zz"), signed_in(alice)).status_code == 200


def test_a_disabled_application_keeps_its_origins(alice: User) -> None:
    ApplicationFactory(name="All", origins=["https://*.example.com"], who="everyone")
    Application.objects.filter(name="Wiki").update(enabled=False)

    assert raw("/authgate/nginx", forwarded(f"{WIKI}/"), signed_in(alice)).status_code == 403


def test_an_origin_of_no_application_is_refused_without_a_redirect() -> None:
    answer = ask(facts("https://evil.example/", NAVIGATION))

    assert answer.status == 403
    assert header(answer, b"location") is None
    assert not AuditEvent.objects.exists()
