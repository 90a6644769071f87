"""The portal and three applications as pods of the cluster, behind Traefik."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.kubernetes.apart import PODS, PORTAL, serve
from tests.kubernetes.api_server import ApiServer, Manifest, Refused
from tests.kubernetes.rendering import LEAST, found, render
from tests.kubernetes.routes import CLASSES, application, certificates, endpoints
from tests.kubernetes.traefik import start_traefik
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal, start_portal
from tests.proxies.processes import PATIENCE
from tests.proxies.proxy import Proxy
from tests.proxies.wire import request_bytes

NAME = "portal.ikd.svc.cluster.local"
METRICS_TOKEN = "the token of the tests"


def start_pod(api_server: ApiServer, folder: Path) -> Portal:
    """Install the chart, and start the portal at a pod's address with its Deployment's variables."""
    objects = render({"networkPolicy": {"enabled": False}}, folder)
    for each in objects:
        api_server.apply(each)
    [container] = found(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables == {"IKD_PORTAL_URL": LEAST["url"], "IKD_TRUSTED_PROXIES": PODS}
    port = container["ports"][0]["containerPort"]
    api_server.apply(endpoints("portal", "ikd", PORTAL, port))
    serve(api_server.get(found(objects, "Service"))["spec"]["clusterIP"], NAME)
    data = folder / "data"
    data.mkdir()
    return start_portal(
        data,
        scheme="https",
        port=443,
        IKD_BIND=f"0.0.0.0:{port}",
        IKD_METRICS_TOKEN=METRICS_TOKEN,
        **variables,
    )


def install_applications(api_server: ApiServer, backend: Backend, folder: Path) -> None:
    for site, address in backend.addresses.items():
        for each in application(site, address):
            api_server.apply(each)
    for each in (*CLASSES, *certificates(folder)):
        api_server.apply(each)


@contextmanager
def routed(
    api_server: ApiServer,
    portal: Portal,
    backend: Backend,
    folder: Path,
    objects: list[Manifest],
    *,
    crosses: bool = False,
    is_safe: bool = True,
) -> Iterator[Proxy]:
    """Apply these objects, and run a Traefik that has read them. Remove them afterwards."""
    for each in objects:
        api_server.apply(each)
    proxy = start_traefik(api_server, portal, backend, folder, crosses=crosses, is_safe=is_safe)
    try:
        wait_for_sites(proxy)
        yield proxy
    finally:
        proxy.server.stop()
        for each in objects:
            with suppress(Refused):
                api_server.delete(each)


def wait_for_sites(proxy: Proxy) -> None:
    """Wait until Traefik has the portal's route. It reads all objects at once."""
    deadline = time.monotonic() + PATIENCE
    while not _leads_to_the_portal(proxy):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Traefik does not reach the portal:\n{proxy.server.log.read_text()[-6000:]}")
        time.sleep(0.1)


def _leads_to_the_portal(proxy: Proxy) -> bool:
    try:
        reply = proxy.send(request_bytes("GET", "/accounts/login/", proxy.portal.names["portal"]))
    except OSError:  # it listens before it has certificates
        return False
    return reply is not None and reply.status == 200
