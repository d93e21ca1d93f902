"""Files: writes that are whole or not there at all, and the folder of what can be made again."""

import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on a clean exit it takes its place in one step, otherwise it is removed.

    A link stays a link: what it points at is replaced. A pipe or a device is written to, and stays what it is.
    """
    path = Path(path)
    special = path.exists() and not (path.is_file() or path.is_dir())
    folder = Path(tempfile.gettempdir()) if special else path.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{path.resolve().name}.{os.getpid()}-{threading.get_ident()}.tmp"
    try:
        yield temporary
        if special:
            path.write_bytes(temporary.read_bytes())
        else:
            os.replace(temporary, path.resolve())
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def cache_folder(name: str) -> Path:
    """The folder ``name`` for what can be made again: in the user's cache, or where VPR_CACHE_DIR moved it."""
    moved = os.environ.get("VPR_CACHE_DIR")
    return (Path(moved) if moved else user_cache_path("vpr")) / name
