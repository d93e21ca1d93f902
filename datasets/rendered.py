"""Folders that are rendered on first use: begun, complete, or somebody else's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vpr.base.files import write_json
from vpr.datasets.errors import DatasetError


@dataclass(frozen=True)
class Rendered:
    """A folder and what it is going to hold."""

    root: Path
    name: str  # of the set, such as mini-MSLS
    identity: dict  # what its bytes depend on, of JSON types; another one is refused

    @property
    def manifest(self) -> Path:
        """The file whose presence says that the set is complete."""
        return self.root / f"{self.name.lower().replace('-', '_')}.json"

    @property
    def begun(self) -> Path:
        """The note of what an unfinished set is going to be, without which it would be a stranger's."""
        return self.manifest.with_suffix(".partial.json")

    def is_complete(self) -> bool:
        """Whether the set is there already. Raises DatasetError when the folder holds another one, or files that the
        renderer did not write."""
        if self.root.exists() and not self.root.is_dir():
            raise DatasetError(f"{self.root} is a file; choose a folder for --out")
        wanted = json.loads(json.dumps(self.identity))
        for path in (self.manifest, self.begun):
            found = self._read(path)
            if found is not None and found != wanted:
                differ = ", ".join(f"{key} {found.get(key)}" for key in wanted if found.get(key) != wanted[key])
                raise DatasetError(
                    f"{self.root} holds another {self.name} ({differ[:80]}); choose another --out or remove that folder"
                )
            if found is not None:
                return path == self.manifest
        if self.root.exists() and any(not path.name.startswith(".") for path in self.root.iterdir()):
            raise DatasetError(
                f"{self.root} is not empty and not a {self.name} tree; choose an empty or new folder for --out"
            )
        return False

    def _read(self, path: Path) -> dict | None:
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["config"]
            if isinstance(found, dict):
                return found
            raise ValueError("no table")
        except (ValueError, KeyError, TypeError):
            raise DatasetError(
                f"{path} is not a {self.name} manifest; remove its folder or choose another --out"
            ) from None

    def begin(self) -> None:
        """Write the note that the set is begun."""
        write_json(self.begun, {"config": self.identity})

    def finish(self, content: dict) -> None:
        """Write the manifest, with what is said of the set; a kill may come before the note is removed."""
        write_json(self.manifest, {"config": self.identity, **content})
        self.begun.unlink(missing_ok=True)
