"""One path for each photo, whatever way leads to it."""

import os
from pathlib import Path


class RealPaths:
    """Paths from the root whose folder is followed through links; the photo itself may still be one.

    Each folder is looked at once, no photo is.
    """

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, path: str | Path) -> str:
        """With forward slashes."""
        folder, _, name = Path(os.path.abspath(path)).as_posix().rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = Path(os.path.realpath(folder or "/")).as_posix().rstrip("/")
        return f"{self._folders[folder]}/{name}"
