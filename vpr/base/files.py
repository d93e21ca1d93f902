"""Files: writes that are whole or not there at all, and the folder of what can be made again."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on a clean exit it takes its place in one step, otherwise it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
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
