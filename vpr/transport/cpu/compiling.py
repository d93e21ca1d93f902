"""The options of numba's compiler, and the key of its cache.

Numba's cache of a compiled function looks at the file of that function, not at the files of the functions that it calls
or the constants that it reads. So only the functions that Python calls are cached. Each holds SOURCES, a digest of all
files that the compiled code is made of, as a variable of its closure, which numba makes part of the cache's key. The
functions that they call are compiled with OPTIONS and not cached.

Compiled code is kept in the folder __pycache__ beside these files. If that cannot be written, it is kept in the user's
cache, or where VPR_CACHE_DIR moved it. If that cannot be written either, it is kept in memory.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llvmlite.binding import get_host_cpu_features, get_host_cpu_name
from numba import config

from vpr.base.files import cache_folder, is_writable, only_one
from vpr.transport import marginals, problem

log = logging.getLogger("vpr")


def find_cache() -> bool:
    """Tell numba where to keep compiled code, unless NUMBA_CACHE_DIR does; returns whether it can be kept."""
    if not config.CACHE_DIR and not is_writable(Path(__file__).parent / "__pycache__"):
        config.CACHE_DIR = str(cache_folder("numba"))
    return not config.CACHE_DIR or is_writable(Path(config.CACHE_DIR))


# Sums may be reordered into vectors and divisions turned into products; NaN must stay NaN, so that a bad
# descriptor is seen in the score.
OPTIONS = {"fastmath": {"reassoc", "contract", "nsz", "arcp", "afn"}, "nogil": True}
ENTRY = {**OPTIONS, "cache": find_cache()}  # for a function that Python calls
EXACT = {**OPTIONS, "fastmath": {"contract"}}  # for sums whose order must stay
CONSTANTS = (problem, marginals)  # modules outside this folder whose constants the compiled code reads


def cpu_has(feature: str) -> bool:
    """Whether code is compiled for a processor with a feature, given by LLVM's name.

    That is the processor of this machine, or the one that NUMBA_CPU_FEATURES describes.
    """
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return bool(get_host_cpu_features().get(feature))


@contextlib.contextmanager
def compiling_alone(function: Any) -> Iterator[None]:
    """Around the call of a function that Python calls. The first call on a machine compiles it: the log says so, and
    other processes wait for the compiled code instead of compiling it too. Later calls pass at once."""
    if function.signatures or not function.stats.cache_path:
        yield
        return
    folder = Path(function.stats.cache_path)
    done = folder / f".{function.py_func.__name__}-{processor_digest()}.compiled"
    if done.exists():
        yield
        return
    with only_one(folder / ".compiling.lock"):
        if not done.exists():
            log.info("compiling the optimal transport for this processor, once (about half a minute)")
        yield
        with contextlib.suppress(OSError):  # it is compiled again if nothing can be kept
            done.touch()


def processor_digest() -> str:
    """A digest of the sources and of the processor that they are compiled for."""
    features = config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features().flatten()
    return hashlib.sha256(f"{SOURCES} {config.CPU_NAME or get_host_cpu_name()} {features}".encode()).hexdigest()[:16]


def digest_sources() -> str:
    """SHA-256 over the files that the compiled code is made of: those of this folder, and those of CONSTANTS.

    A change in any of them makes numba compile again.
    """
    files = sorted(Path(__file__).parent.glob("*.py")) + [Path(str(module.__file__)) for module in CONSTANTS]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


SOURCES = digest_sources()
