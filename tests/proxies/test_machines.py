"""Programs behind each real proxy: applications receive no portal tokens, but the portal's signature."""

from __future__ import annotations

import base64
import json

import jwt
import pytest

from tests.behaviour import FETCH
from tests.proxies.proxy import Proxy
from tests.proxies.wire import request_bytes

pytestmark = pytest.mark.proxy


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.mark.parametrize("name", ["", "a", "al", "alice", "x-access-token"])
def test_a_token_as_basic_does_not_reach_the_application(proxy: Proxy, name: str) -> None:
    proxy.ask("/data", headers={"Authorization": basic(name, proxy.portal.api_tokens["token"])})

    for received in proxy.backend.take():
        assert received.all("Authorization") in ([], [""])


@pytest.mark.parametrize("name", ["", "a", "al", "ali"])
def test_nginx_removes_a_token_from_unchecked_requests(nginx: Proxy, name: str) -> None:
    token = nginx.portal.api_tokens["token"]
    for value in (basic(name, token), f"Bearer {token}", f"bearer   {token}", f"Token {token}"):
        nginx.ask("/public/logo.png", headers={"Authorization": value})

        [received] = nginx.backend.take()
        assert received.all("Authorization") in ([], [""])


@pytest.mark.parametrize("path", ["/public/logo.png", "/page"])
@pytest.mark.parametrize("own", [basic("alice", "ikd"), "Bearer ikd-x", "Digest a=b", "Basic aWtkXw=="])
def test_nginx_keeps_values_that_only_look_like_a_token(nginx: Proxy, path: str, own: str) -> None:
    nginx.ask(path, headers={"Authorization": own}, who="alice")

    [received] = nginx.backend.take()
    assert received.all("Authorization") == [own]


@pytest.mark.parametrize("length", [100, 3000])
def test_a_long_authorization_for_the_application_arrives_whole(proxy: Proxy, length: int) -> None:
    own = f"Negotiate {'Y' * length}"

    proxy.ask("/page", headers={"Authorization": own}, who="alice")

    [received] = proxy.backend.take()
    assert received.all("Authorization") == [own]


def test_two_authorization_headers_are_refused(proxy: Proxy) -> None:
    token = proxy.portal.api_tokens["token"]
    headers = [("Authorization", "Basic eDp5"), ("Authorization", f"Bearer {token}")]

    for pairs in (headers, headers[::-1]):
        request = request_bytes("GET", "/data", proxy.portal.host("app"), pairs)
        reply = proxy.send(request, tls_name=proxy.portal.names["app"])
        assert reply is None or reply.status in (400, 401)
        assert proxy.backend.take() == []


def test_an_application_verifies_the_portals_signature(proxy: Proxy) -> None:
    proxy.ask("/page", site="wiki", who="alice", headers={"X-Ikd-Jwt": "forged"})
    [received] = proxy.backend.take()
    published = proxy.ask("/.well-known/jwks.json", site="portal", headers=FETCH)

    [token] = received.all("X-Ikd-Jwt")
    key = jwt.PyJWKSet.from_dict(json.loads(published.body))[jwt.get_unverified_header(token)["kid"]]
    portal, wiki = proxy.portal.origin("portal"), proxy.portal.origin("wiki")
    claims = jwt.decode(token, key, ["ES256"], audience=wiki, issuer=portal)
    assert claims["preferred_username"] == "alice"


@pytest.mark.parametrize("own", [basic("alice", "own"), "Bearer e30.e30.forged"])
def test_a_browser_cannot_forge_the_tokens_for_an_application(proxy: Proxy, own: str) -> None:
    sent = {"Authorization": own, "X-Auth-Request-Access-Token": "forged"}

    proxy.ask("/page", site="ops", headers=sent, who="alice")

    [received] = proxy.backend.take()
    assert received.all("Authorization") in ([], [""])
    assert received.all("X-Auth-Request-Access-Token") in ([], [""])
