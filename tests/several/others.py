"""Caddy, HAProxy and Envoy in front of two portals, with the changes that their pages describe."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

from tests.front.serving import free_port
from tests.proxies.proxy import DEPLOY
from tests.proxies.substitution import substituted


def for_caddy(shipped: Path, second: str) -> None:
    several, file = shipped / "caddy" / "several.caddy", shipped / "caddy" / "minimal.Caddyfile"
    several.write_text(substituted(several.read_text(), {"127.0.0.1:8001": second}))
    asks = "\treverse_proxy 127.0.0.1:8000 {\n"
    changes = {
        "# The host that the portal": f"import {several}\n\n# The host that the portal",
        f"{asks}\t\tmethod": f"{asks}\t\timport ikd_several\n\t\timport ikd_next\n\t\tmethod",
        f"{asks}\t\timport": f"{asks}\t\timport ikd_several\n\t\timport",
    }
    file.write_text(substituted(file.read_text(), changes))


def for_haproxy(shipped: Path, second: str) -> None:
    file, itself = shipped / "haproxy" / "minimal.cfg", f"127.0.0.1:{free_port()}"
    several = substituted(
        (shipped / "haproxy" / "several.cfg").read_text(),
        {"bind 127.0.0.1:8900": f"bind {itself}", "127.0.0.1:8001": second},
    )
    asked = {"setenv IKD_PORTAL 127.0.0.1:8000": f"setenv IKD_PORTAL {itself}"}
    file.write_text(f"{substituted(file.read_text(), asked)}\n{several}")


def for_envoy(shipped: Path, second: str) -> None:
    folder = shipped / "envoy"
    file = folder / "minimal.yaml"
    host, _, port = second.partition(":")
    cluster = (folder / "several-cluster.yaml").read_text().replace("port_value: 8001", f"port_value: {port}")
    assert host == "127.0.0.1"
    text = file.read_text()
    retries = textwrap.indent((folder / "several-retries.yaml").read_text(), " " * 24)
    text = substituted(text, {"path_prefix: /authgate/envoy\n": f"path_prefix: /authgate/envoy\n{retries}"})
    begins = text.index("    - name: ikd-portal\n")
    ends = text.index("    - name: app\n", begins)
    file.write_text(text[:begins] + textwrap.indent(cluster, " " * 4) + text[ends:])


CHANGES: dict[str, Callable[[Path, str], None]] = {
    "caddy": for_caddy,
    "haproxy": for_haproxy,
    "envoy": for_envoy,
}


def shipped_for(name: str, second: str, folder: Path) -> Path:
    """Return a copy of deploy/ with the changes for two portals. The second one is at an address."""
    shutil.copytree(DEPLOY, folder / "deploy")
    CHANGES[name](folder / "deploy", second)
    return folder / "deploy"
