"""Requests to providers: no address inside the network unless allowed, and limits of time and size."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import jwt
import pytest

from accounts.models import Upstream
from accounts.upstreams import http_client
from accounts.upstreams.concurrency import ProviderSlots
from accounts.upstreams.errors import ProviderError
from accounts.upstreams.http_client import allowed_addresses, fetch
from accounts.upstreams.oidc import metadata
from accounts.upstreams.oidc.signed_tokens import LOGOUT_TOKEN
from tests.accounts.conftest import PortalClient
from tests.factories import UpstreamFactory
from tests.upstreams.provider import OTHER_RSA_KEY, Provider, jwk
from tests.upstreams.signing_in import START, reason, sign_in

INSIDE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "2130706433",
    "0x7f.1",
    "::1",
    "fe80::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
    "localhost",
]


@pytest.mark.parametrize("host", INSIDE)
def test_a_name_inside_the_network_is_refused(host: str) -> None:
    with pytest.raises(ProviderError, match="inside the network"):
        allowed_addresses(host, 443, allow_private=False, encrypted=True)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "0.0.0.0", "fe80::1", "224.0.0.1", "::ffff:169.254.169.254"]
)
def test_some_addresses_are_refused_even_if_the_network_is_allowed(host: str) -> None:
    with pytest.raises(ProviderError, match="nobody's service"):
        allowed_addresses(host, 443, allow_private=True, encrypted=True)


@pytest.mark.parametrize("allow_private", [False, True])
def test_plain_http_is_only_for_the_inner_network(allow_private: bool) -> None:
    with pytest.raises(ProviderError, match="not encrypted"):
        allowed_addresses("8.8.8.8", 80, allow_private=allow_private, encrypted=False)


def test_a_name_with_one_inner_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: both)

    with pytest.raises(ProviderError, match="inside the network"):
        allowed_addresses("rebinding.example.com", 443, allow_private=False, encrypted=True)


def test_the_connection_goes_to_the_validated_address(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with another address at the second look-up (DNS rebinding) is looked up only once."""
    port = int(provider.issuer.rpartition(":")[2])
    looked = []

    def rebinding(host: str, *args: Any, **kwargs: Any) -> Any:
        looked.append(host)
        assert host != "rebinding.example.com" or looked.count(host) == 1
        ip = "127.0.0.1" if host == "rebinding.example.com" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)

    answer = fetch(f"http://rebinding.example.com:{port}/keys", allow_private=True)

    assert answer.status == 200 and looked.count("rebinding.example.com") == 1


def test_a_provider_inside_the_network_receives_no_request(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    Upstream.objects.update(allow_private=False)

    assert client.get(START).status_code == 502
    assert "inside the network" in reason() and not provider.asked


def test_addresses_in_the_providers_metadata_are_validated_too(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    provider.metadata["token_endpoint"] = "http://169.254.169.254/token"

    assert sign_in(client, provider).status_code == 502
    assert "nobody's service" in reason()


def dripping(head: bytes) -> Any:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        for _ in range(200):
            try:
                handler.wfile.write(b"x")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.05)

    return drip


def hanging(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


SLOW = {
    "hangs": hanging,
    "drips its body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    "drips its head": dripping(b"HTTP/1.1 200 OK\r\nX: "),
}


@pytest.mark.parametrize("how", SLOW.values(), ids=SLOW)
def test_a_slow_server_is_given_up(provider: Provider, monkeypatch: pytest.MonkeyPatch, how: Any) -> None:
    monkeypatch.setattr(http_client, "ANSWER_WITHIN", 0.5)
    provider.answers["/keys"] = how
    began = time.monotonic()

    with pytest.raises(ProviderError, match="in time"):
        fetch(f"{provider.issuer}/keys", allow_private=True)

    assert time.monotonic() - began < 2


BROKEN: dict[str, tuple[str, Any, int]] = {
    "a redirect": ("/token", (302, {"Location": "/elsewhere"}, b""), 502),
    "a redirect of its discovery": ("/.well-known/openid-configuration", (301, {"Location": "/x"}, b""), 502),
    "a redirect of its keys": ("/keys", (302, {"Location": "/elsewhere"}, b""), 502),
    "too much": ("/token", (200, {}, b"x" * 300_000), 502),
    "too many keys": ("/keys", (200, {}, b'{"keys": [' + b",".join([b"{}"] * 101) + b"]}"), 502),
    "no JSON": ("/token", (200, {}, b"<html>"), 502),
    "a list": ("/token", (200, {}, b"[]"), 502),
    "deep JSON": ("/keys", (200, {}, b"[" * 100_000), 502),
    "an error of its own": ("/token", (500, {}, b"boo"), 503),
    "userinfo that fails": ("/userinfo", (401, {}, b""), 502),
    "packed bytes": ("/token", (200, {"Content-Encoding": "gzip"}, b"x"), 502),
    "no HTTP": ("/token", lambda handler: handler.wfile.write(b"boo\r\n\r\n"), 503),
    "half an answer": (
        "/token",
        lambda handler: (
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
            setattr(handler, "close_connection", True),
        ),
        503,
    ),
    "another issuer's discovery": (
        "/.well-known/openid-configuration",
        (200, {}, b'{"issuer": "https://evil.example.com"}'),
        502,
    ),
}


@pytest.mark.parametrize(("path", "answer", "status"), BROKEN.values(), ids=BROKEN)
def test_an_unusable_answer_of_a_provider_is_refused(
    client: PortalClient, provider: Provider, upstream: Upstream, path: str, answer: Any, status: int
) -> None:
    provider.answers[path] = answer

    left = client.get(START)
    page = client.get(provider.sign_in(left["Location"])) if left.status_code == 302 else left

    assert page.status_code == status, reason()
    assert "Reference:" in page.content.decode() and reason()
    assert not [path for _, path in provider.asked if path == "/elsewhere"]


def test_a_provider_that_is_down_causes_a_page(
    client: PortalClient, upstream: Upstream, provider: Provider
) -> None:
    provider.stop()

    page = client.get(START)

    assert page.status_code == 503 and "is not responding" in page.content.decode()
    provider.server.server_close()


# ---- keys -------------------------------------------------------------------------------------------------


def test_keys_are_fetched_once_for_many_sign_ins(
    client: PortalClient, other_browser: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    sign_in(client, provider)
    sign_in(other_browser, provider)

    assert [path for _, path in provider.asked].count("/keys") == 1


def test_a_new_key_is_found(
    client: PortalClient,
    other_browser: PortalClient,
    provider: Provider,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sign_in(client, provider)
    provider.key, provider.header, provider.keys = OTHER_RSA_KEY, {"kid": "two"}, [jwk(OTHER_RSA_KEY, "two")]
    monkeypatch.setattr(metadata, "AGAIN_AFTER", 0.0)

    assert sign_in(other_browser, provider).status_code == 302


def test_invented_key_ids_do_not_cause_more_fetches_of_keys(provider: Provider, upstream: Upstream) -> None:
    for number in range(20):
        with pytest.raises(ProviderError, match="does not publish"):
            token = jwt.encode({}, OTHER_RSA_KEY, "RS256", {"kid": f"invented-{number}"})
            metadata.verify_token(upstream, token, LOGOUT_TOKEN, metadata.Source.CLIENT)

    assert [path for _, path in provider.asked].count("/keys") == 1


def test_a_key_replaced_under_the_same_id_is_found_while_strangers_send_junk(
    client: PortalClient,
    other_browser: PortalClient,
    provider: Provider,
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr(metadata, "clock", lambda: now)
    sign_in(client, provider)
    now += metadata.AGAIN_AFTER
    with pytest.raises(ProviderError, match="signature"):
        junk = jwt.encode({}, OTHER_RSA_KEY, "RS256", {"kid": "one"})
        metadata.verify_token(upstream, junk, LOGOUT_TOKEN, metadata.Source.CLIENT)
    provider.key, provider.keys = OTHER_RSA_KEY, [jwk(OTHER_RSA_KEY, "one")]

    assert sign_in(other_browser, provider).status_code == 302, reason()


# ---- slots ------------------------------------------------------------------------------------------------


def test_a_hanging_provider_uses_few_threads_and_delays_no_other() -> None:
    slots, done = ProviderSlots(each=2, together=4), threading.Event()

    def occupy() -> None:
        with slots.hold(1):
            done.wait(10)

    threads = [threading.Thread(target=occupy) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(1.1)
    began = time.monotonic()
    with pytest.raises(ProviderError, match="too many"), slots.hold(1):
        pass
    with slots.hold(2):
        waited = time.monotonic() - began
    done.set()

    assert waited < 0.5


def test_requests_to_a_quick_provider_get_their_turn() -> None:
    slots, served = ProviderSlots(each=2, together=4), []

    def ask(number: int) -> None:
        with slots.hold(1):
            time.sleep(0.02)
            served.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(served) == 20


def test_several_providers_answer_side_by_side(
    client: PortalClient, provider: Provider, upstream: Upstream
) -> None:
    other = Provider()
    UpstreamFactory(slug="other", issuer=other.issuer, allow_private=True)
    provider.stop()

    left = client.get("/upstreams/other/start")

    assert client.get(other.sign_in(left["Location"])).status_code == 302
    other.stop()
