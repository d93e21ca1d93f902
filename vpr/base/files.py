"""Files: writes that are whole or not there at all, and the folder of what can be made again."""

import contextlib
import errno
import json
import logging
import os
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from vpr.base.errors import VprError

log = logging.getLogger("vpr")
HOST = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())  # temporary names carry it: folders may be shared


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on a clean exit it takes its place in one step, otherwise it is removed.

    A link stays a link: what it points at is replaced. A pipe or a device is written to, and stays what it is.
    Temporaries that killed processes of this machine left for the same path are removed.
    """
    path = Path(path)
    special = path.exists() and not (path.is_file() or path.is_dir())
    folder = Path(tempfile.gettempdir()) if special else path.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    name = path.resolve().name
    temporary = folder / f".{name}.{HOST}.{os.getpid()}-{threading.get_ident()}.tmp"
    _remove_abandoned(folder, name)
    try:
        yield temporary
        if special:
            path.write_bytes(temporary.read_bytes())
        else:
            os.replace(temporary, path.resolve())
    except OSError as error:
        if error.filename not in (None, str(temporary)) or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _remove_abandoned(folder: Path, name: str) -> None:
    """Remove the temporaries of a name, and those of its temporaries, whose process on this machine is no more."""
    begin, end = f"{name}.{HOST}.".lstrip("."), ".tmp"
    for entry in os.scandir(folder):
        bare = entry.name.lstrip(".")
        if not (entry.name.startswith(".") and bare.startswith(begin) and bare.endswith(end)):
            continue
        process = bare[len(begin) : -len(end)].partition("-")[0]
        if process.isdecimal() and int(process) != os.getpid() and not _is_running(int(process)):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def reserve(path: Path, size: int) -> None:
    """Take so many bytes on disk for a file: a memory map cannot say that there is no space. Raises OSError then."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with path.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot reserve
            return
        raise OSError(error.errno, f"{error.strerror}, {size >> 20} MiB wanted") from None


@contextmanager
def writing_alone(path: Path, wait: bool) -> Iterator[None]:
    """Inside, no other process that asks the same writes to ``path``; the lock is a hidden file beside it.

    wait: for the other one to end, which the log says; otherwise VprError is raised at once. The system lets go of a
    killed process's lock.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise VprError(f"{path} is being written by another process; wait for it, or name another") from None
        log.info("waiting for another process that writes %s", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Hold an exclusive lock on this machine; other processes wait for it.

    For work that is only done twice without the lock: if the lock file cannot be made, nobody waits.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held: FileLock | contextlib.nullcontext = FileLock(lock, thread_local=False)
        held.__enter__()
    except (OSError, NotImplementedError):  # the latter from file systems without locks
        held = contextlib.nullcontext()
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made when it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def is_writable_at(path: Path) -> bool:
    """Whether a file can be made or replaced at a path, whose folder may be missing; what is there stays."""
    if path.exists() and not path.is_file():  # a pipe or a device is written to
        return not path.is_dir() and os.access(path, os.W_OK)
    return is_writable(next(folder for folder in path.resolve().parents if folder.exists()))


def place_to_keep(path: Path) -> Path:
    """Where a file that can be made again is kept: at ``path``; in the user's cache where it is not there already and
    its folder cannot be written, as that of a run shared by others."""
    if path.is_file() or is_writable(path.parent):
        return path
    kept = cache_folder("descriptors") / path.name
    log.info("%s cannot be written; descriptors are kept in %s", path.parent, kept.parent)
    return kept


def cache_folder(name: str) -> Path:
    """The folder ``name`` for what can be made again: in the user's cache, or where VPR_CACHE_DIR moved it."""
    moved = os.environ.get("VPR_CACHE_DIR")
    return (Path(moved) if moved else user_cache_path("vpr")) / name
