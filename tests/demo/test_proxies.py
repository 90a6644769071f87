"""`make demo PROXY=…`: the same demo behind each proxy. The other tests here use Traefik and nginx."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.proxies import KINDS, write_configuration
from ikd_portal.run import NotReady
from tests.demo.conftest import Demo
from tests.demo.visitor import Visitor

pytestmark = pytest.mark.proxy

OTHERS = [name for name in KINDS if name not in ("traefik", "nginx")]


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all proxies, because only the first run creates users and applications."""
    return tmp_path_factory.mktemp("demo") / "var"


@pytest.fixture(scope="module", params=OTHERS)
def demo(request: pytest.FixtureRequest, var: Path) -> Iterator[Demo]:
    kind = KINDS[request.param]
    if kind.find() is None and not os.environ.get("CI"):
        pytest.skip(f"{kind.name} is missing: {kind.package}")
    running = Demo(var, proxy=kind.name).start()
    yield running
    running.stop()
    assert running.processes() == {}


def test_one_sign_in_opens_every_allowed_application(demo: Demo) -> None:
    visitor = Visitor(demo.port)

    pages = [visitor.open_signing_in(demo.url("app"), "alice", demo.notes["users"]["alice"])]
    pages += [visitor.open(demo.url(site)) for site in ("wiki", "ops")]

    assert ["Hello alice" in page for page in pages] == [True, True, True]


def test_a_user_without_access_is_refused(demo: Demo) -> None:
    visitor = Visitor(demo.port)

    page = visitor.open_signing_in(demo.url("ops"), "bob", demo.notes["users"]["bob"])

    assert "Hello" not in page
    assert "bob" in page


def test_a_script_gets_401_without_a_redirect(demo: Demo) -> None:
    status, headers, body = demo.get(demo.url("app", "/api/things"), Accept="application/json")

    assert (status, headers["Location"]) == (401, None)
    assert "error" in json.loads(body)


def test_identity_headers_of_a_client_never_reach_the_application(demo: Demo) -> None:
    claim = {"X-Auth-Request-User": "carol", "X_Auth_Request_User": "carol"}

    _, _, body = demo.get(demo.url("wiki", "/public"), Accept="application/json", **claim)

    assert "carol" not in body.decode()


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_proxy_is_named_with_its_package(tmp_path: Path, name: str) -> None:
    kind = dataclasses.replace(KINDS[name], program="installed-nowhere")

    with pytest.raises(NotReady) as caught:
        write_configuration(kind, tmp_path, 1, 2, 3)

    assert str(caught.value).startswith(f"{name} is missing: {kind.package}")
