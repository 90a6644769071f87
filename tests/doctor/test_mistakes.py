"""The doctor tests real proxies: it names each mistake of the table, and none in shipped configurations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.doctor.examiner import Examiner
from tests.doctor.tables import FILES, PATHS, TABLE
from tests.pattern import ROOT
from tests.proxies.backend import Backend
from tests.proxies.mistakes import mistaken
from tests.proxies.portal import Portal
from tests.proxies.registry import STARTERS

pytestmark = pytest.mark.proxy

CASES = [(proxy, name) for proxy, mistakes in TABLE.items() for name in mistakes]


@pytest.mark.parametrize("proxy", TABLE)
@pytest.mark.parametrize("file", ["complete", "minimal"])
def test_a_shipped_configuration_passes(
    proxy: str, file: str, portal: Portal, backend: Backend, examiner: Examiner, tmp_path: Path
) -> None:
    backend.take()
    shipped = FILES[proxy].replace("minimal", file)
    running = STARTERS[proxy](portal, backend, tmp_path, file=shipped, loopback="127.0.0.5")
    try:
        found = examiner.examine(running, tmp_path / "tests.pem")
    finally:
        running.server.stop()

    assert [finding for finding in found if finding["level"] != "pass"] == []
    assert len(found) > 15
    assert backend.take() == []


@pytest.mark.parametrize(("proxy", "name"), CASES, ids=[f"{proxy}: {name}" for proxy, name in CASES])
def test_a_mistake_is_reported_with_the_line_that_fixes_it(
    proxy: str,
    name: str,
    portal: Portal,
    backend: Backend,
    examiner: Examiner,
    tmp_path: Path,
) -> None:
    mistake = TABLE[proxy][name]
    with mistaken(proxy, mistake.texts, portal, backend, tmp_path, file=FILES[proxy]) as running:
        found = examiner.examine(running, tmp_path / "running" / "tests.pem", *PATHS)

    problems = [finding for finding in found if finding["level"] != "pass"]
    named = [
        problem
        for problem in problems
        if (problem["test"], problem["reason"]) == (mistake.test, mistake.reason)
    ]
    assert named, problems
    assert mistake.line is None or mistake.line in named[0]["line"], named


@pytest.mark.parametrize("proxy", TABLE)
def test_the_table_has_at_least_eight_mistakes_of_each_proxy(proxy: str) -> None:
    assert len(TABLE[proxy]) >= 8
    assert len({(mistake.test, mistake.reason) for mistake in TABLE[proxy].values()}) >= 8


def test_the_command_examines_every_site_through_its_public_address(
    portal: Portal, backend: Backend, examiner: Examiner, tmp_path: Path
) -> None:
    nginx = STARTERS["nginx"](portal, backend, tmp_path, loopback="127.0.0.5")
    try:
        done = subprocess.run(
            [sys.executable, "manage.py", "doctor", "--at", "127.0.0.5", "--json"],
            cwd=ROOT,
            env=examiner.environment | {"SSL_CERT_FILE": str(tmp_path / "tests.pem")},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        nginx.server.stop()

    found = json.loads(done.stdout)
    assert done.returncode == 0, [each for findings in found.values() for each in findings]
    assert {name for name, findings in found.items() if len(findings) > 15} >= {"App", "Wiki", "Operations"}
