"""The doctor with two portals on one PostgreSQL and one Redis: each recognises its requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.doctor.examiner import NETWORKS
from tests.front.serving import SECRET_KEY, eventually
from tests.pattern import ROOT
from tests.proxies.proxy import Proxy
from tests.several.stage import Several
from tests.several.stores import Redis

pytestmark = [pytest.mark.proxy, pytest.mark.xdist_group("several")]

NETWORK_OF_THE_SECOND = "198.18.0.0/15"


def examine(proxy: Proxy, database: str, redis_url: str, folder: Path) -> list[dict[str, Any]]:
    """Return the findings of the command, which runs in a separate process."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "ikd_portal.settings",
        "IKD_VAR": str(folder),
        "IKD_SECRET_KEY": SECRET_KEY,
        "IKD_PORTAL_URL": proxy.portal.origin("portal"),
        "DATABASE_URL": database,
        "REDIS_URL": redis_url,
        "IKD_DOCTOR_NETWORKS": NETWORKS,
        "IKD_TRUSTED_PROXIES": f"{NETWORKS},::1,{NETWORK_OF_THE_SECOND}",
        "SSL_CERT_FILE": str(proxy.server.log.with_name("tests.pem")),
    }
    command = [sys.executable, "manage.py", "doctor", "App", "--at", proxy.address[0], "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["App"]
    return found


@pytest.mark.parametrize("stopped", ["", "a", "b"], ids=["both", "the second alone", "the first alone"])
@pytest.mark.parametrize("name", ["nginx", "traefik"])
def test_the_doctor_passes_whichever_portal_answers(
    name: str,
    stopped: str,
    several: Several,
    redis: Redis,
    tmp_path: Path,
) -> None:
    [proxy] = [each for each in several.proxies if each.name == name]
    database = several.portals["b"].database.url
    if stopped:
        several.portals[stopped].stop()
    try:
        assert eventually(several.is_open, 30)
        found = examine(proxy, database, f"redis://{redis.hosts[0]}:{redis.port}/0", tmp_path)
    finally:
        if stopped:
            several.portals[stopped].start()

    assert [finding for finding in found if finding["level"] == "fail"] == []
    assert len([finding for finding in found if finding["level"] == "pass"]) > 15
