"""Adds the dependencies from requirements.txt and the extras' files to the wheel's metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Requirements(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        metadata["dependencies"] = self._read("requirements.txt")
        extras = {extra: self._read(f"requirements-{extra}.txt") for extra in ("demo", "traces")}
        metadata["optional-dependencies"] = extras

    def _read(self, name: str) -> list[str]:
        """Return the requirements of a file, without comments and options such as `-r`."""
        lines = [line.partition("#")[0].strip() for line in Path(self.root, name).read_text().splitlines()]
        return [line for line in lines if line and not line.startswith("-")]
