"""Reads CPU time and memory of processes from the kernel, and chooses cores. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")

_cores = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _cores[0], _cores[-1]
"""The server has one core and the load another. On a machine with one core they share it."""


def pinned(command: list[str], core: int) -> list[str]:
    return ["taskset", "-c", str(core), *command]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process on one core while the block runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def checkers(pid: int) -> list[int]:
    """Return the portal's processes that answer checks."""
    return [each for each in family(pid) if Path(f"/proc/{each}/comm").read_text().strip() == "ikd-checks"]


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time, user and system, of these processes since they started."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """Return a process's memory, and its private part (`uss`; absent if it cannot be read)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = {"rss": _kib(status, "VmRSS")}
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        found["uss"] = _kib(rollup, "Private_Clean") + _kib(rollup, "Private_Dirty")
    except OSError:
        pass
    return {name: round(kib / 1024, 1) for name, kib in found.items()}


def _kib(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(f"{name}:")).split()[1])


def sockets_of(pid: int) -> set[str]:
    """Return the inodes of a process's open sockets."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def server_socket(server_port: int, client_port: int) -> str | None:
    """Return the inode of the server's end of an IPv4 connection on this machine."""
    local, remote = f":{server_port:04X}", f":{client_port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local) and fields[2].endswith(remote):
            return fields[9]
    return None
