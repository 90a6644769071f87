"""The numbers at /metrics: sums over all processes that never fall, shown to operators only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from authgate import counters
from authgate.counters import OTHER, Histogram, LabelledCounter
from authgate.worker import metrics

TOKEN = {"authorization": "Bearer the token of Prometheus"}


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(metrics, "sources", [])
    settings.IKD_METRICS_TOKEN, settings.IKD_VAR = "the token of Prometheus", tmp_path
    return tmp_path / "metrics"


def publish(*numbers: counters.Numbers) -> None:
    metrics.sources[:] = [lambda each=each: each for each in numbers]  # type: ignore[misc]
    metrics.publish()


def numbers_at_metrics() -> list[str]:
    return Client().get("/metrics", headers=TOKEN).text.splitlines()


def of_another_process(folder: Path, numbers: counters.Numbers, *, lives: bool) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"{process.pid}-{metrics._started(process.pid)}-{metrics._namespace()}"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(numbers))
    if not lives:
        process.communicate()


def test_operators_see_the_numbers() -> None:
    publish(
        {"ikd_memory_sessions": 3}, {"ikd_memory_hits_total": 41, 'ikd_checks_shed_total{reason="late"}': 2}
    )

    lines = numbers_at_metrics()

    assert "ikd_memory_sessions 3" in lines
    assert "# TYPE ikd_memory_hits_total counter" in lines
    assert 'ikd_checks_shed_total{reason="late"} 2' in lines


def test_processes_are_added_up(folder: Path) -> None:
    publish({"ikd_memory_hits_total": 41, "ikd_memory_applications": 3, "ikd_connections": 2})
    of_another_process(
        folder, {"ikd_memory_hits_total": 1, "ikd_memory_applications": 5, "ikd_connections": 2}, lives=True
    )

    assert {"ikd_memory_hits_total 42", "ikd_memory_applications 5", "ikd_connections 4"} <= set(
        numbers_at_metrics()
    )


def test_counters_of_an_ended_process_stay_and_its_gauges_go(folder: Path) -> None:
    publish({"ikd_memory_hits_total": 41, "ikd_connections": 2})
    of_another_process(
        folder,
        {"ikd_memory_hits_total": 1, "ikd_connections": 9, 'ikd_check_seconds_bucket{way="view",le="1"}': 4},
        lives=False,
    )

    for _ in range(3):
        lines = numbers_at_metrics()
        assert {"ikd_memory_hits_total 42", "ikd_connections 2"} <= set(lines)
        assert 'ikd_check_seconds_bucket{way="view",le="1"} 4' in lines


def test_a_new_process_with_the_pid_of_an_ended_one_is_counted_apart(folder: Path) -> None:
    folder.mkdir()
    (folder / f"{os.getpid()}-1-{metrics._namespace()}").write_text('{"ikd_memory_hits_total": 1}')
    publish({"ikd_memory_hits_total": 41})

    assert "ikd_memory_hits_total 42" in numbers_at_metrics()


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"'])
def test_an_unreadable_file_hides_only_its_own_numbers(text: str, folder: Path) -> None:
    publish({"ikd_memory_hits_total": 41})
    (folder / metrics.ENDED).write_text(text)
    (folder / "77").write_text(text)

    assert "ikd_memory_hits_total 41" in numbers_at_metrics()


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer the token of Prometheus2", "Bearer \xe9"])
def test_others_do_not_see_the_numbers(given: str) -> None:
    assert Client().get("/metrics", headers={"authorization": given}).status_code == 401


def test_without_a_configured_token_the_page_is_not_found(settings: Settings) -> None:
    settings.IKD_METRICS_TOKEN = ""

    assert Client().get("/metrics", headers={"authorization": "Bearer "}).status_code == 404


def test_an_unwritable_folder_breaks_nothing_else(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.IKD_VAR = tmp_path / "file"

    metrics.publish()

    assert Client().get("/metrics", headers=TOKEN).status_code == 200


def test_the_number_of_series_is_bounded() -> None:
    tally = LabelledCounter("ikd_x_total", "name", most=2)
    for name in ("a", "b", "c", "d", "a"):
        tally.add(name)

    assert tally.numbers() == {
        'ikd_x_total{name="a"}': 2,
        'ikd_x_total{name="b"}': 1,
        f'ikd_x_total{{name="{OTHER}"}}': 2,
    }


def test_a_label_cannot_end_its_line() -> None:
    assert counters.series("a", {"b": 'c"} 1\nd\\'}) == 'a{b="c\\"} 1\\nd\\\\"}'


def test_buckets_of_a_histogram_are_cumulative() -> None:
    histogram = Histogram("ikd_x_seconds", "way")
    for seconds in (0.0004, 0.0005, 20.0, -1.0):
        histogram.observe(seconds, "a", 2)

    numbers = histogram.numbers()

    assert numbers['ikd_x_seconds_bucket{way="a",le="0.00025"}'] == 2
    assert numbers['ikd_x_seconds_bucket{way="a",le="0.0005"}'] == 6
    assert numbers['ikd_x_seconds_bucket{way="a",le="+Inf"}'] == 8
    assert numbers['ikd_x_seconds_count{way="a"}'] == 8
    assert numbers['ikd_x_seconds_sum{way="a"}'] == pytest.approx(40.0018)


def test_sign_ins_are_counted_by_way_and_result() -> None:
    before = counters.sign_ins.numbers()
    counters.note_event("sign_in", ["password", "totp"])
    counters.note_event("sign_in_failed")

    after = counters.sign_ins.numbers()

    grown = {name for name in after if after[name] > before.get(name, 0)}
    assert grown == {
        'ikd_sign_ins_total{way="password+totp",result="succeeded"}',
        'ikd_sign_ins_total{way="password",result="failed"}',
    }
