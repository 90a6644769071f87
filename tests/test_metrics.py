from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from authgate.worker import metrics


@pytest.fixture(autouse=True)
def token(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "sources", [])
    settings.IKD_METRICS_TOKEN, settings.IKD_VAR = "the token of Prometheus", tmp_path


def test_workers_that_live_are_told_to_who_has_the_token() -> None:
    metrics.sources[:] = [
        lambda: {"ikd_memory_sessions": 3},
        lambda: {"ikd_memory_hits_total": 41, 'ikd_checks_shed_total{reason="queue full"}': 2},
    ]
    metrics.publish()

    told = Client().get("/metrics", headers={"authorization": "Bearer the token of Prometheus"})

    assert told.status_code == 200
    assert f'ikd_memory_sessions{{worker="{os.getpid()}"}} 3\n' in told.text
    assert "# TYPE ikd_memory_hits_total counter\n" in told.text
    assert f'ikd_checks_shed_total{{worker="{os.getpid()}",reason="queue full"}} 2\n' in told.text


def test_a_worker_that_is_gone_is_told_no_more(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "4194399").write_text('{"ikd_memory_sessions": 3}')

    assert "4194399" not in metrics.exposition(metrics._live())


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer the token of Prometheus2", "Bearer \xe9"])
def test_nobody_else_is_told(given: str) -> None:
    assert Client().get("/metrics", headers={"authorization": given}).status_code == 401


def test_without_a_token_there_is_no_such_page(settings: Settings) -> None:
    settings.IKD_METRICS_TOKEN = ""

    assert Client().get("/metrics", headers={"authorization": "Bearer "}).status_code == 404


def test_a_folder_that_cannot_be_written_costs_nothing_else(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.IKD_VAR = tmp_path / "file"

    metrics.publish()
