"""Folders that are rendered on first use: incomplete, complete, or of another kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr.base.files import write_json
from vpr.datasets.errors import DatasetError


@dataclass(frozen=True)
class RenderedFolder:
    """A folder and the set that is rendered into it."""

    root: Path
    name: str  # of the set, such as mini-MSLS
    identity: dict[str, Any]  # all that the bytes depend on, in JSON types; another identity is refused
    option: str = "--out"  # that chooses the folder

    @property
    def manifest(self) -> Path:
        """The file that exists if the set is complete."""
        return self.root / f"{self.name.lower().replace('-', '_')}.json"

    @property
    def partial_manifest(self) -> Path:
        """The manifest of an incomplete set; without it the folder would be refused as another kind."""
        return self.manifest.with_suffix(".partial.json")

    def is_complete(self) -> bool:
        """Whether the set is complete. Raises DatasetError if the folder holds another set or other files."""
        if self.root.exists() and not self.root.is_dir():
            raise DatasetError(f"{self.root} is a file; choose a folder for {self.option}")
        wanted = json.loads(json.dumps(self.identity))
        for path in (self.manifest, self.partial_manifest):
            found = self._read(path)
            if found is not None and found != wanted:
                differing = (key for key in wanted | found if found.get(key) != wanted.get(key))
                differences = ", ".join(f"{key} {found.get(key, 'not given')}" for key in differing)
                problem = f"{self.root} holds another {self.name} ({differences[:80]})"
                raise DatasetError(f"{problem}; choose another {self.option} or remove it")
            if found is not None:
                return path == self.manifest
        if self.root.exists() and any(not path.name.startswith(".") for path in self.root.iterdir()):
            raise DatasetError(
                f"{self.root} is not empty and not a {self.name} tree; choose an empty or new folder for {self.option}"
            )
        return False

    def _read(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["config"]
            if isinstance(found, dict):
                return found
            raise ValueError("not a table")
        except (ValueError, KeyError, TypeError):
            raise DatasetError(
                f"{path} is not a {self.name} manifest; remove its folder or choose another {self.option}"
            ) from None

    def begin(self, content: Mapping[str, Any] | None = None) -> None:
        """Write the manifest of an incomplete set, with more content that its continuation needs."""
        write_json(self.partial_manifest, {"config": self.identity, **(content or {})})

    def finish(self, content: dict[str, Any]) -> None:
        """Write the manifest with more content. If the process is killed here, the partial manifest may remain."""
        write_json(self.manifest, {"config": self.identity, **content})
        self.partial_manifest.unlink(missing_ok=True)
