"""How the compiled modules are compiled and cached, and for what.

Numba's cache of a compiled function looks at the file of that function, not at the files of those it calls. So only the
functions that Python calls are cached, and each holds SOURCES, a digest of all these files, as a variable of its closure,
which numba makes part of the cache's key. The functions that they call are compiled with OPTIONS and not cached.
"""

import hashlib
from pathlib import Path

from llvmlite.binding import get_host_cpu_features
from numba import config

# Sums may be reordered into vectors and divisions turned into products; NaN must stay NaN, so that a bad
# descriptor is seen in the score.
OPTIONS = {"fastmath": {"reassoc", "contract", "nsz", "arcp", "afn"}, "nogil": True}
ENTRY = {**OPTIONS, "cache": True}  # of a function that Python calls
EXACT = {**OPTIONS, "fastmath": {"contract"}}  # for sums whose order is their meaning


def cpu_has(feature: str) -> bool:
    """Whether code is compiled for a processor with a feature, by LLVM's name; NUMBA_CPU_FEATURES goes before the host."""
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return bool(get_host_cpu_features().get(feature))


def digest_sources() -> str:
    """Digest of the files of compiled code."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


SOURCES = digest_sources()
