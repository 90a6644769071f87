"""When traces are on, the warnings about wrong settings, and that nothing is loaded while they are off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pytest_django import Settings

from accounts.upstreams import http_client
from accounts.upstreams.errors import ProviderError
from authgate.checks import check_settings
from authgate.traces import configuration, spans
from tests.front.serving import ROOT, free_port
from tests.traces.collector import Collector, collecting, values

ENDPOINT = "http://collector.example:4318"

LOADED = """
import os, sys
from gunicorn.app.wsgiapp import WSGIApplication
from ikd_portal import shared_memory
import ikd_portal.asgi

class App:
    def wsgi(self):
        return ikd_portal.asgi.application

shared_memory.load(App())
print("opentelemetry" in sys.modules, "google.protobuf" in sys.modules)
"""


def loaded(folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=ROOT,
        env=os.environ
        | {"IKD_VAR": str(folder), "DJANGO_SETTINGS_MODULE": "ikd_portal.settings", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.long
def test_without_a_collector_nothing_of_opentelemetry_is_loaded(tmp_path: Path) -> None:
    assert loaded(tmp_path) == "False False"


@pytest.mark.long
def test_with_a_collector_the_master_loads_it_for_all_workers(tmp_path: Path) -> None:
    assert loaded(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=ENDPOINT) == "True True"


@pytest.mark.long
@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ENDPOINT},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT},
    ],
    ids=["disabled", "no exporter", "another protocol"],
)
def test_opentelemetry_s_own_variables_turn_traces_off(environment: dict[str, str], tmp_path: Path) -> None:
    assert loaded(tmp_path, **environment) == "False False"


def warnings() -> list[str]:
    return [message.msg for message in check_settings() if message.id in ("authgate.W001", "authgate.E008")]


def test_an_unsupported_protocol_is_reported(settings: Settings) -> None:
    settings.IKD_TRACES_ENDPOINT, settings.IKD_TRACES_PROTOCOL = ENDPOINT, "grpc"

    (warning,) = warnings()

    assert "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, is 'grpc'" in warning


def test_missing_packages_are_reported_with_their_cure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.IKD_TRACES_ENDPOINT = ENDPOINT
    assert warnings() == []

    monkeypatch.setattr(configuration, "PACKAGES", ("a_package_that.is_missing",))

    (warning,) = warnings()
    assert "install ikd-portal[traces]" in warning


def test_a_negative_number_of_checks_is_refused(settings: Settings) -> None:
    settings.IKD_TRACE_CHECKS = -1

    assert warnings() == ["IKD_TRACE_CHECKS must be 0 or more, is -1"]


# ---- calls to providers -----------------------------------------------------------------------------------


@pytest.fixture
def collector(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector to which this process sends its spans."""
    with collecting() as collector:
        settings.IKD_TRACES_ENDPOINT = collector.environment["OTEL_EXPORTER_OTLP_ENDPOINT"]
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(spans, "exporting", None)
        spans.start()
        yield collector
        spans.end()


@pytest.fixture
def provider() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_call_to_a_provider_has_a_span_without_its_path(collector: Collector, provider: int) -> None:
    http_client.fetch(f"http://127.0.0.1:{provider}/secret-path?code=secret", allow_private=True)

    span = collector.span("GET 127.0.0.1")
    assert values(span)["http.response.status_code"] == 404
    assert b"secret" not in b"".join(collector.bodies)


def test_a_call_that_fails_names_the_kind_of_its_error(collector: Collector) -> None:
    with pytest.raises(ProviderError):
        http_client.fetch(f"http://127.0.0.1:{free_port()}/secret", allow_private=True)

    span = collector.span("GET 127.0.0.1")
    assert values(span)["error.type"] == "ProviderError"
    assert (span.status.message, list(span.events)) == ("", [])
