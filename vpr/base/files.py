"""Files: atomic writes, locks, preallocation, and the cache folder."""

import contextlib
import errno
import hashlib
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
HOST = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())  # in temporary names: folders may be shared


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``. On success it is renamed to ``path``, otherwise it is removed.

    A symlink stays a symlink: its target is replaced. A pipe or a device is written to directly. Temporary files that
    killed processes of this machine left for the same path are removed.
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
    """Remove temporary files of a name, and of its temporary files, whose process on this machine has ended."""
    prefix, suffix = f"{name}.{HOST}.".lstrip("."), ".tmp"
    for entry in os.scandir(folder):
        bare = entry.name.lstrip(".")
        if not (entry.name.startswith(".") and bare.startswith(prefix) and bare.endswith(suffix)):
            continue
        process = bare[len(prefix) : -len(suffix)].partition("-")[0]
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


def preallocate(path: Path, size: int, start: int = 0) -> None:
    """Preallocate ``size`` bytes from ``start`` on, because a full disk cannot be reported through a memory map.

    Raises OSError if there is no space.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with path.open("ab") as file:
            os.posix_fallocate(file.fileno(), start, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system without preallocation
            return
        raise OSError(error.errno, f"{error.strerror}, {-(-size >> 20)} MiB needed") from None


@contextmanager
def write_lock(path: Path, wait: bool) -> Iterator[None]:
    """Hold an exclusive inter-process lock on ``path``; the lock file is hidden and lies beside it.

    wait: wait for another holder, and log that; otherwise raise VprError at once. The operating system releases the
    lock of a killed process.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise VprError(
                f"{path} is being written by another process",
                thing=path,
                remedy="wait until it ends, or choose another path",
            ) from None
        log.info("waiting for another process to finish writing %s", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def work_lock(lock: Path) -> Iterator[None]:
    """Hold an exclusive lock file; other processes of this machine wait for it.

    It saves repeated work and protects nothing: if the lock file cannot be created, the block runs without a lock.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held: FileLock | contextlib.nullcontext[None] = FileLock(lock, thread_local=False)
        held.__enter__()
    except (OSError, NotImplementedError):  # the latter from file systems without locks
        held = contextlib.nullcontext()
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file atomically."""
    with replace_file(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON atomically."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_utf8(name: str) -> bool:
    """Whether the name of a file is valid UTF-8; Linux allows names that are not."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_writable(folder: Path) -> bool:
    """Whether files can be created in a folder; a missing folder is created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def is_writable_at(path: Path) -> bool:
    """Whether a file can be created or replaced at a path. The folder may be missing. Nothing is changed."""
    if path.exists() and not path.is_file():  # a pipe or a device is written to
        return not path.is_dir() and os.access(path, os.W_OK)
    return is_writable(next(folder for folder in path.resolve().parents if folder.exists()))


def writable_path(path: Path) -> Path:
    """The path for a file of descriptors: ``path``, or one in the user's cache if the folder of ``path`` is read-only.

    The folder of a shared run may be read-only. A file that exists is used even if it is read-only.
    """
    if path.is_file() or is_writable(path.parent):
        return path
    cached = cache_folder("descriptors") / path.name
    log.info("%s cannot be written; descriptors are kept in %s", path.parent, cached.parent)
    return cached


def cache_folder(name: str) -> Path:
    """The folder ``name`` in the user's cache, or in VPR_CACHE_DIR if that is set. Its files can be recomputed."""
    moved = os.environ.get("VPR_CACHE_DIR")
    return (Path(moved) if moved else user_cache_path("vpr")) / name
