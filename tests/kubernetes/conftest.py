"""A cluster, a portal and applications, started once. They run only in `make kubernetes-test`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kubernetes.apart import APART, APPLICATIONS
from tests.kubernetes.api_server import ApiServer, Manifest
from tests.kubernetes.site import install_applications, start_pod
from tests.proxies.backend import Backend
from tests.proxies.portal import Portal

collect_ignore = (
    [] if APART in os.environ else ["test_admission.py", "test_refused_routes.py", "test_routing.py"]
)
"""Test files that use the API server."""

NAMESPACES = ("ikd", "apps", "shop", "auth", "kube-system", "ingress-nginx", "monitoring")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path_factory.mktemp("cluster"))
    try:
        server.define()
        for name in NAMESPACES:
            server.apply(namespace(name))
        yield server
    finally:
        server.stop()


def namespace(name: str) -> Manifest:
    """Return a namespace. That of the portal admits only restricted pods."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"} if name == "ikd" else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@pytest.fixture(scope="session")
def backend(api_server: ApiServer) -> Iterator[Backend]:
    backend = Backend(("app", "wiki", "ops"), APPLICATIONS)
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture(scope="session")
def portal(
    api_server: ApiServer, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Portal]:
    folder = tmp_path_factory.mktemp("portal")
    install_applications(api_server, backend, folder)
    portal = start_pod(api_server, folder)
    yield portal
    portal.server.stop()
