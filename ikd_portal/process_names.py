"""What `ps` and `top` call the processes: `ikd-starts` until they serve, and then by what they serve."""

from __future__ import annotations

from pathlib import Path

MASTER_NAME, STARTS_NAME = "ikd-master", "ikd-starts"
CHECKS_NAME, PAGES_NAME = "ikd-checks", "ikd-pages"


def name_process(name: str) -> None:
    Path("/proc/self/comm").write_text(name)
