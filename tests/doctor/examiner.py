"""The doctor beside a running portal: a process that examines one proxy after another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.own_database import environment_in
from tests.pattern import ROOT
from tests.proxies.portal import Portal
from tests.proxies.proxy import Proxy

NETWORKS = "127.0.0.0/8"


class Examiner:
    """A process with the portal's environment."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.environment = environment_in(portal.server.log.parent, portal.origin("portal")) | {
            "IKD_DOCTOR_NETWORKS": NETWORKS
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.doctor.examining"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=self.environment,
        )

    def examine(self, proxy: Proxy, certificate: Path, *paths: str) -> list[dict]:
        """Return the findings about a site behind a proxy."""
        asked = {
            "origin": self.portal.origin("app"),
            "at": proxy.address[0].strip("[]"),
            "certificate": str(certificate),
            "paths": paths,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        found: list[dict] = json.loads(self._process.stdout.readline())
        return found

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
