"""The options of numba's compiler, and the key of its cache.

For each compiled function numba's cache checks the file of that function. It does not check the files of the functions
that it calls, or the constants that it reads. So only the functions that Python calls are cached. Each of them holds
SOURCES, a digest of all files of the compiled code, as a variable of its closure, which is part of the cache's key. The
functions that they call are compiled with OPTIONS and not cached.

Compiled code is kept in the folder __pycache__ beside these files. If that is read-only, it is kept in the user's
cache, or in the folder VPR_CACHE_DIR. If that is read-only too, it is kept in memory.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llvmlite.binding import get_host_cpu_features, get_host_cpu_name
from numba import config

from vpr.base.files import cache_folder, is_writable, work_lock
from vpr.transport import geometry_reference, marginals, problem

log = logging.getLogger("vpr")


def find_cache() -> bool:
    """Set numba's folder of compiled code, unless NUMBA_CACHE_DIR does; returns whether it can be written."""
    if not config.CACHE_DIR and not is_writable(Path(__file__).parent / "__pycache__"):
        config.CACHE_DIR = str(cache_folder("numba"))
    return not config.CACHE_DIR or is_writable(Path(config.CACHE_DIR))


# The compiler may reorder sums into vectors and turn divisions into products. NaN must stay NaN, because a score of NaN
# shows a bad descriptor.
OPTIONS = {"fastmath": {"reassoc", "contract", "nsz", "arcp", "afn"}, "nogil": True}
ENTRY = {**OPTIONS, "cache": find_cache()}  # for a function that Python calls
EXACT = {**OPTIONS, "fastmath": {"contract"}}  # for code in which the order of sums must stay
CONSTANTS = (
    problem,
    marginals,
    geometry_reference,
)  # modules outside this folder whose constants the compiled code reads


def cpu_has(feature: str) -> bool:
    """Whether the processor that code is compiled for has a feature, by LLVM's name.

    It is the processor of this machine, or the one that NUMBA_CPU_FEATURES describes.
    """
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return bool(get_host_cpu_features().get(feature))


@contextlib.contextmanager
def compile_once(function: Any) -> Iterator[None]:
    """Context of a call of a cached function, so that one process of a machine compiles it.

    The first process logs that it compiles. Other processes wait, and then load the compiled code.
    """
    if function.signatures or not function.stats.cache_path:
        yield
        return
    folder = Path(function.stats.cache_path)
    done = folder / f".{function.py_func.__name__}-{processor_digest()}.compiled"
    if done.exists():
        yield
        return
    with work_lock(folder / ".compiling.lock"):
        if not done.exists():
            log.info("compiling the optimal transport for this processor, once (about half a minute)")
        yield
        with contextlib.suppress(OSError):  # if nothing can be written, the next process compiles again
            done.touch()


def processor_digest() -> str:
    """Digest of the sources and of the processor that they are compiled for."""
    features = config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features().flatten()
    return hashlib.sha256(f"{SOURCES} {config.CPU_NAME or get_host_cpu_name()} {features}".encode()).hexdigest()[:16]


def digest_sources() -> str:
    """SHA-256 of the files of the compiled code: those of this folder, and those of CONSTANTS.

    If any of them changes, numba compiles again.
    """
    files = sorted(Path(__file__).parent.glob("*.py")) + [Path(str(module.__file__)) for module in CONSTANTS]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


SOURCES = digest_sources()
