"""Mistakes in deploy/haproxy: requests are refused, or docs/haproxy.md says which get through."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.behaviour import FETCH, NAVIGATION
from tests.proxies.backend import Backend
from tests.proxies.mistakes import KEPT, LOOPBACK, Events, ask_for_a_published_check, mistaken
from tests.proxies.portal import Portal
from tests.proxies.processes import binary, free_port
from tests.proxies.proxy import DEPLOY, Proxy

pytestmark = pytest.mark.proxy

SHIPPED = (DEPLOY / "haproxy" / "complete.cfg").read_text()

CHECK = "    http-request lua.ikd-check unless { var(txn.ikd_open) -m bool }\n"
DENY = (
    "    http-request deny deny_status 503 unless { var(txn.ikd_open) -m bool } || "
    "{ var(txn.ikd_allowed) -m bool }\n"
)
SCHEME = "    http-request set-var(txn.ikd_scheme) str(https)\n"
URL = "set-var(txn.ikd_check) str(/authgate/haproxy)\n"
HIDDEN = "    http-request return status 404 if is_check is_portal\n"
ALLOWED = '  txn:set_var("txn.ikd_allowed", true)\n'


def haproxy_with(
    mistake: dict[str, str], portal: Portal, backend: Backend, folder: Path, portal_at: str = ""
) -> AbstractContextManager[Proxy]:
    return mistaken("haproxy", mistake, portal, backend, folder, portal_at=portal_at)


# ---- refused, and shown to the administrator -------------------------------------------------------------

RECOGNISED = {
    "without the scheme": ({SCHEME: ""}, 400, "haproxy: x-forwarded-proto missing"),
    "with another proxy's contract": (
        {URL: URL.replace("haproxy", "ingress-nginx")},
        403,
        "ingress-nginx: x-original-method missing",
    ),
    "with oauth2-proxy's": (
        {URL: URL.replace("/authgate/haproxy", "/oauth2/auth")},
        403,
        "oauth2 nginx: x-real-ip missing",
    ),
}


@pytest.mark.parametrize("name", RECOGNISED)
def test_requests_are_refused_and_the_administrator_sees_why(
    name: str, portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    mistake, status, event = RECOGNISED[name]
    with haproxy_with(mistake, portal, backend, tmp_path) as haproxy:
        replies = [haproxy.ask("/page?x=1", headers=NAVIGATION, who=who) for who in ("", "alice")]

    assert [reply.status for reply in replies] == [status, status]
    assert backend.take() == []
    assert events.report(event)


def test_if_haproxy_sends_its_own_address_the_refusals_show_it(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    """A rule for HAProxy's own network would admit every client. docs/haproxy.md warns of it."""
    with haproxy_with({"txn.f:src()": "txn.f:dst()"}, portal, backend, tmp_path) as haproxy:
        reply = haproxy.ask("/office", headers=FETCH, who="alice")

    assert reply.status == 403
    assert events.name_a_refused_client(LOOPBACK)


def test_a_clients_query_in_the_checks_url_is_not_a_filter(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    mistake = {URL: "set-var-fmt(txn.ikd_check) /authgate/haproxy?%[query]\n"}
    with haproxy_with(mistake, portal, backend, tmp_path) as haproxy:
        reply = haproxy.ask("/page?x=1", headers=NAVIGATION, who="alice")

    assert reply.status == 403
    assert backend.take() == []
    assert events.report("haproxy: unknown parameter in the check's URL", portal.origin("app"))


def test_a_wrong_scheme_is_an_unknown_origin(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    """A load balancer removed the encryption, and the configuration sends the scheme that HAProxy sees."""
    with haproxy_with({"str(https)": "str(http)"}, portal, backend, tmp_path) as haproxy:
        reply = haproxy.ask("/page", headers=FETCH | {"X-Forwarded-Proto": "https"}, who="alice")

    assert reply.status == 403
    assert backend.take() == []
    assert events.report("haproxy: unknown origin", portal.origin("app").replace("https:", "http:"))


def test_a_trusted_load_balancer_passes_its_clients_addresses_on(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """This is not a mistake, but the configuration of docs/haproxy.md for a load balancer."""
    cleaning = "    # Removes every identity header"
    believed = {cleaning: f"    http-request set-src req.hdr(x-forwarded-for,-1)\n{cleaning}"}
    with haproxy_with(believed, portal, backend, tmp_path) as haproxy:
        forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
        reply = haproxy.ask("/office", headers=FETCH | forwarded, who="alice")

    [received] = backend.take()
    assert reply.status == 200
    assert received.all("X-Forwarded-For") == ["203.0.113.7"]


def test_a_wrong_port_is_an_unknown_origin(
    portal: Portal, backend: Backend, events: Events, tmp_path: Path
) -> None:
    told, wrong = "    acl is_portal var(txn.ikd_name)", free_port()
    mistake = {told: f"    http-request set-var(txn.ikd_host) str(app.example.com:{wrong})\n{told}"}
    with haproxy_with(mistake, portal, backend, tmp_path) as haproxy:
        reply = haproxy.ask("/page", headers=NAVIGATION, who="alice")

    assert reply.status == 403
    assert backend.take() == []
    assert events.report("haproxy: unknown origin", f"https://app.example.com:{wrong}")


@pytest.fixture(scope="module")
def published(portal: Portal, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that does not hide the checks on the portal's site."""
    folder = tmp_path_factory.mktemp("published")
    with mistaken("haproxy", {HIDDEN: ""}, portal, backend, folder, loopback=KEPT) as proxy:
        yield proxy


@pytest.mark.parametrize("contract", ["nginx", "traefik", "caddy", "haproxy", "ingress-nginx?host=app"])
def test_a_published_check_reveals_no_user_to_outsiders(contract: str, published: Proxy) -> None:
    reply = ask_for_a_published_check(published, contract)

    assert reply.status in (400, 403, 404)
    assert reply.header("X-Auth-Request-User") == ""


# ---- refused, without a reason that the portal can know --------------------------------------------------

CLOSED = {
    "without the line that asks": {CHECK: ""},
    "without the URL of the check": {f"    http-request {URL}": ""},
    "with a URL that is no check": {URL: URL.replace("haproxy", "hapoxy")},
    "with the URL of a page": {URL: URL.replace("/authgate/haproxy", "/healthz")},
    "with the URL of an endpoint": {URL: URL.replace("haproxy", "userinfo")},
    "with an error in Lua": {ALLOWED: '  error("oh")\n' + ALLOWED},
    "with an error in Lua outside of the call that is guarded": {
        "  local is_sound, reply = pcall(ask, txn)\n": '  local is_sound, reply = error("oh")\n'
    },
    "with an error in Lua, and without the line that denies": {
        ALLOWED: '  error("oh")\n' + ALLOWED,
        DENY: "",
    },
}


@pytest.mark.parametrize("name", CLOSED)
def test_requests_are_refused(name: str, portal: Portal, backend: Backend, tmp_path: Path) -> None:
    with haproxy_with(CLOSED[name], portal, backend, tmp_path) as haproxy:
        replies = [
            haproxy.ask(path, headers=FETCH, who=who)
            for path in ("/page", "/open/news")
            for who in ("", "alice")
        ]

    assert {reply.status for reply in replies} <= {401, 404, 503}
    assert backend.take() == []


def test_an_application_at_the_portals_address_cannot_admit_requests(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """The application answers every check with 200 and a page."""
    with haproxy_with({}, portal, backend, tmp_path, portal_at=backend.addresses["wiki"]) as haproxy:
        replies = [haproxy.ask("/page", headers=FETCH, who=who) for who in ("", "alice")]

    assert {reply.status for reply in replies} == {503}
    assert {received.application for received in backend.take()} == {"wiki"}


def test_a_host_with_a_port_is_refused(portal: Portal, backend: Backend, tmp_path: Path) -> None:
    mistake = {"req.fhdr(host),host_only,lower": "req.fhdr(host),lower"}
    with haproxy_with(mistake, portal, backend, tmp_path) as haproxy:
        reply = haproxy.ask("/page", headers=NAVIGATION, who="alice")

    assert reply.status == 421
    assert backend.take() == []


@pytest.mark.parametrize(("rule", "status"), [("http-response", 401), ("http-after-response", 200)])
def test_an_error_page_that_turns_401_into_200_does_not_open_the_application(
    rule: str, status: int, portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    """No http-response rule applies to the portal's own answers."""
    changed = f"    {rule} set-status 200 if {{ status 401 }}\n"
    with haproxy_with({CHECK: changed + CHECK}, portal, backend, tmp_path) as haproxy:
        reply = haproxy.ask("/page", headers=FETCH)

    assert reply.status == status
    assert b"reached" not in reply.body
    assert backend.take() == []


def test_without_the_portals_address_haproxy_does_not_start(tmp_path: Path) -> None:
    configuration, lua = tmp_path / "haproxy.cfg", DEPLOY / "haproxy" / "ikd.lua"
    text = SHIPPED.replace("    setenv IKD_PORTAL 127.0.0.1:8000\n", "")
    configuration.write_text(text.replace("/etc/haproxy/ikd.lua", str(lua)))

    done = subprocess.run(
        [binary("haproxy", "haproxy"), "-c", "-f", configuration], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "setenv IKD_PORTAL" in done.stderr


# ---- what no portal can see: docs/haproxy.md says so -----------------------------------------------------


def test_a_request_allowed_before_the_check_is_not_checked(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {CHECK: "    http-request allow if { path_beg /assets/ }\n" + CHECK}
    with haproxy_with(mistake, portal, backend, tmp_path) as haproxy:
        haproxy.ask("/assets/../staff/rota", headers=FETCH)

    assert len(backend.take()) == 1


def test_without_is_tricky_a_public_path_opens_other_paths(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    with haproxy_with({" !is_tricky": ""}, portal, backend, tmp_path) as haproxy:
        haproxy.ask("/public/..;/staff/rota", headers=FETCH)

    assert len(backend.take()) == 1


def test_an_identity_header_that_is_kept_reaches_public_paths(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    mistake = {"    http-request del-header x-auth-request- -m beg\n": ""}
    with haproxy_with(mistake, portal, backend, tmp_path) as haproxy:
        names = []
        for path in ("/public/logo.png", "/page"):
            haproxy.ask(path, headers=FETCH | {"X-Auth-Request-User": "mallory"}, who="alice")
            names += [received.all("X-Auth-Request-User") for received in backend.take()]

    assert names == [["mallory"], ["alice"]]


def test_an_address_from_a_clients_header_can_be_forged(
    portal: Portal, backend: Backend, tmp_path: Path
) -> None:
    cleaning = "    # Removes every identity header"
    mistake = {cleaning: f"    http-request set-src req.hdr(x-forwarded-for)\n{cleaning}"}
    with haproxy_with(mistake, portal, backend, tmp_path) as haproxy:
        reply = haproxy.ask("/office", headers=FETCH | {"X-Forwarded-For": "203.0.113.7"}, who="alice")

    assert reply.status == 200
    assert len(backend.take()) == 1
