"""One host with several applications by port: a port sent by the client does not select one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from accounts.models import User
from authgate.check.memory import Memory
from authgate.check.request import Facts, headers_from
from authgate.check.responses import Answer
from authgate.cookies import cookie_name
from authgate.endpoints.check_view import answer_check
from authgate.worker import loader
from authgate.worker.feed import boottime
from authgate.worker.memory import OverMemory, WorkerMemory
from tests.authgate.asking import facts, signed_in
from tests.dialects import check_request
from tests.factories import ApplicationFactory

pytestmark = pytest.mark.django_db

BY_PORT = ["/authgate/traefik", "/authgate/caddy", "/authgate/haproxy", "/authgate/envoy"]
REASON = "host of several applications"


@pytest.fixture
def nas(db: None) -> None:
    ApplicationFactory(name="Files", origins=["https://nas.example.com"], groups=["staff"])
    ApplicationFactory(name="Photos", origins=["https://nas.example.com:8443"], who="everyone")


def one_request() -> Memory:
    return loader.memory_for_one_request()


def memory_of_a_worker() -> Memory:
    worker = WorkerMemory(loader.gate_settings(), clock=boottime)
    worker.hold_applications(loader.load_compiled())
    return OverMemory(worker)


def ask(check: str, url: str, memory: Memory, query: str = "") -> Answer:
    sent = check_request(check, url, query=query)
    path, _, own_query = sent.target.partition("?")
    path = "/authgate/envoy/" if check == "/authgate/envoy" else path
    facts = Facts(
        path, own_query, headers_from(sent.headers), "127.0.0.1", 0.0, sent.method, sent.target.encode()
    )
    return answer_check(facts, memory)


both_memories = pytest.mark.parametrize(
    "memory", [one_request, memory_of_a_worker], ids=["one request's", "a worker's"]
)


@both_memories
@pytest.mark.parametrize("port", ["", ":8443"])
@pytest.mark.parametrize("check", BY_PORT)
@pytest.mark.usefixtures("nas")
def test_a_port_sent_by_the_client_selects_no_application(
    check: str, port: str, memory: Callable[[], Memory]
) -> None:
    answer = ask(check, f"https://nas.example.com{port}/", memory())

    assert answer.status == 403
    assert answer.refusal is not None and answer.refusal.reason == REASON and answer.refusal.is_configuration


@both_memories
@pytest.mark.parametrize("check", BY_PORT[:3])
@pytest.mark.usefixtures("nas")
def test_the_port_in_the_checks_url_selects_the_application(check: str, memory: Callable[[], Memory]) -> None:
    photos = ask(check, "https://nas.example.com:8443/", memory(), "port=8443")
    files = ask(check, "https://nas.example.com/", memory(), "port=443")

    assert (photos.status, files.status) == (200, 401)


@both_memories
@pytest.mark.parametrize("query", ["port=8443", "port=443", "port=x", "port=1&port=2"])
@pytest.mark.usefixtures("nas")
def test_the_browsers_query_cannot_set_the_port(query: str, memory: Callable[[], Memory]) -> None:
    answer = ask("/authgate/envoy", f"https://nas.example.com:8443/?{query}", memory())

    assert answer.status == 403
    assert answer.refusal is not None and answer.refusal.reason == REASON


@pytest.mark.parametrize("query", ["port=8443", "port=", "port=443&port=443", "port=0443", "port=x", "port"])
@pytest.mark.parametrize("check", BY_PORT[:3])
@pytest.mark.usefixtures("nas")
def test_a_port_that_differs_from_the_checks_refuses(check: str, query: str) -> None:
    assert ask(check, "https://nas.example.com/", one_request(), query).status == 400


@both_memories
@pytest.mark.usefixtures("nas")
def test_a_contract_with_a_trustworthy_port_needs_none_in_the_url(memory: Callable[[], Memory]) -> None:
    assert ask("/authgate/nginx", "https://nas.example.com:8443/", memory()).status == 200


@both_memories
def test_an_application_with_a_wildcard_counts_as_another_application(
    memory: Callable[[], Memory], db: None
) -> None:
    ApplicationFactory(name="All", origins=["https://*.example.com"], groups=["staff"])
    ApplicationFactory(name="Photos", origins=["https://nas.example.com:8443"], who="everyone")

    answer = ask("/authgate/traefik", "https://nas.example.com:8443/", memory())

    assert answer.status == 403


@both_memories
@pytest.mark.parametrize(
    "origins",
    [
        ["https://nas.example.com", "https://nas.example.com:8443"],
        ["https://nas.example.com:8443"],
        ["https://*.example.com:8443", "https://other.example.com"],
    ],
    ids=["all ports are one application", "only one port is anybody's", "wildcards at one port"],
)
def test_a_host_of_one_application_needs_no_port(
    origins: list[str], memory: Callable[[], Memory], db: None
) -> None:
    ApplicationFactory(name="Photos", origins=origins, who="everyone")

    assert ask("/authgate/traefik", "https://nas.example.com:8443/", memory()).status == 200


NAMES = {
    "https://nas.example.com": ("__Host-ikd_gate", "__Host-ikd_nonce"),
    "https://nas.example.com:8443": ("__Host-ikd_gate_8443", "__Host-ikd_nonce_8443"),
    "http://nas.example.com": ("ikd_gate", "ikd_nonce"),
    "http://nas.example.com:443": ("ikd_gate_443", "ikd_nonce_443"),
    "https://[2001:db8::1]": ("__Host-ikd_gate", "__Host-ikd_nonce"),
    "https://[2001:db8::1]:8443": ("__Host-ikd_gate_8443", "__Host-ikd_nonce_8443"),
}


@pytest.mark.parametrize(("origin", "names"), NAMES.items(), ids=NAMES)
def test_each_port_has_its_own_cookies(origin: str, names: tuple[str, str]) -> None:
    assert (cookie_name(origin, "gate"), cookie_name(origin, "nonce")) == names


@both_memories
@pytest.mark.usefixtures("nas")
def test_a_browser_that_sends_the_cookies_of_both_ports_is_signed_in_at_each(
    alice: User, memory: Callable[[], Memory]
) -> None:
    ApplicationFactory(name="Notes", origins=["https://nas.example.com:9443"], groups=["staff"])
    files, notes = "https://nas.example.com", "https://nas.example.com:9443"
    cookies = f"{signed_in(alice, files)}; theme=dark; {signed_in(alice, notes)}"

    statuses = {
        origin: answer_check(facts(f"{origin}/", check="/authgate/nginx", cookie=cookies), memory()).status
        for origin in (files, notes)
    }

    assert statuses == {files: 200, notes: 200}


@both_memories
@pytest.mark.usefixtures("nas")
def test_the_session_of_one_port_gives_no_access_to_another_under_any_cookie_name(
    alice: User, memory: Callable[[], Memory]
) -> None:
    ApplicationFactory(name="Notes", origins=["https://nas.example.com:9443"], groups=["staff"])
    token = signed_in(alice, "https://nas.example.com").partition("=")[2]
    cookies = f"__Host-ikd_gate_9443={token}; __Host-ikd_gate={token}; __Host-ikd_gate_09443={token}"

    asked = facts("https://nas.example.com:9443/", check="/authgate/nginx", cookie=cookies)

    assert answer_check(asked, memory()).status == 401


def test_a_removed_port_no_longer_counts(nas: None) -> None:
    worker = WorkerMemory(loader.gate_settings(), clock=boottime)
    worker.hold_applications(loader.load_compiled())
    files, photos = sorted(worker.known_applications())
    assert worker.is_at_several_ports("https://nas.example.com")

    worker.forget_application(photos)

    assert not worker.is_at_several_ports("https://nas.example.com")
    assert files in worker.known_applications()
