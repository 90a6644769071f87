"""Packs the Helm chart as `helm package` does. The same files produce the same archive, byte for byte."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

from ikd_portal import __version__
from tools.manifests import CHART


def pack(folder: Path, at: int) -> Path:
    """Write the chart's archive and return its path. `at` is the Unix time of its files."""
    archive = folder / f"{CHART.name}-{__version__}.tgz"
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=at) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(each for each in CHART.rglob("*") if each.is_file()):
            _add(tar, path, at)
    return archive


def _add(tar: tarfile.TarFile, path: Path, at: int) -> None:
    content = path.read_bytes()
    entry = tarfile.TarInfo(f"{CHART.name}/{path.relative_to(CHART)}")
    entry.size, entry.mtime, entry.mode = len(content), at, 0o644
    tar.addfile(entry, io.BytesIO(content))
