"""Process names in `ps` and `top`: `ikd-starts` until a process serves, then the name of its work."""

from __future__ import annotations

from pathlib import Path

MASTER_NAME, STARTS_NAME = "ikd-master", "ikd-starts"
CHECKS_NAME, PAGES_NAME = "ikd-checks", "ikd-pages"


def name_process(name: str) -> None:
    Path("/proc/self/comm").write_text(name)
