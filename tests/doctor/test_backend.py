"""An application that other machines can reach without the proxy, in a separate network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from authgate.doctor.examination import examine
from authgate.doctor.findings import Level
from authgate.models import Application
from tests.factories import ApplicationFactory
from tests.proxies.processes import Server, free_port
from tests.several.conftest import network  # noqa: F401
from tests.several.stage import Network

pytestmark = pytest.mark.django_db

ANSWERS = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[3]))
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Answer).serve_forever()
"""
PORT = 9009


@pytest.fixture(scope="module", params=[200, 302, 401, 403])
def status(
    request: pytest.FixtureRequest,
    network: Network | None,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[int]:
    """The status of an application's answers to every client."""
    if network is None:
        pytest.skip("only root can make a network")
    command = ["ip", "netns", "exec", network.name, sys.executable, "-c", ANSWERS]
    command += [network.inside, str(PORT), str(request.param)]
    server = Server(command, log=tmp_path_factory.mktemp("application") / "log")
    server.wait_for((network.inside, PORT))
    yield request.param
    server.stop()


@pytest.fixture
def application(network: Network, settings: Any) -> Application:  # noqa: F811
    """An application with a proxy that does not listen."""
    settings.IKD_DOCTOR_NETWORKS = ["127.0.0.0/8", f"{network.inside}/32"]
    return ApplicationFactory(
        name="Payroll", origins=[f"https://localhost:{free_port()}"], backend=f"{network.inside}:{PORT}"
    )


def test_an_application_that_answers_without_the_proxy_is_reported(
    status: int, application: Application
) -> None:
    [finding] = [each for each in examine(application) if each.test == "application behind the proxy"]

    is_open = status in (200, 302)
    assert (finding.level, finding.reason) == (
        (Level.FAIL, "open backend") if is_open else (Level.PASS, "closed")
    )
    assert finding.values["backend"] == application.backend


def test_an_application_in_a_private_network_is_not_connected_to(settings: Any) -> None:
    settings.IKD_DOCTOR_NETWORKS = ["127.0.0.0/8"]
    application = ApplicationFactory(
        name="Payroll", origins=[f"https://localhost:{free_port()}"], backend="10.0.0.1:80"
    )
    [finding] = [each for each in examine(application) if each.test == "application behind the proxy"]

    assert (finding.level, finding.reason) == (Level.WARN, "private address")
    assert "IKD_DOCTOR_NETWORKS" in finding.line
