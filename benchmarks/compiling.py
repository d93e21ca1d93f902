"""``python -m benchmarks.compiling``: the cost of compiling at the first use on a machine, and of loading later.

Each figure is of a new process: seconds of processor time from its start to the first result, without and with compiled
code on disk.
"""

import os
import resource
import subprocess
import sys
import tempfile

TRANSPORT = """
import numpy as np
from vpr.similarity import structural_similarity
patches = np.eye(9, 16, dtype=np.float32)
structural_similarity(patches, patches[None], patches[0], patches[:1], backend="numba", threads=1)
"""
RENDERER = """
import sys
from pathlib import Path
from vpr.datasets.street_world.config import tiny_config
from vpr.datasets.street_world.rendering import make_folders
from vpr.datasets.street_world.work import render_street
config = tiny_config()
make_folders(Path(sys.argv[1]), config, config.cities)
render_street(config, config.cities[0], 0, Path(sys.argv[1]))
"""


def processor_seconds(script: str, cache: str) -> float:
    """Processor time of a new process that runs the script. cache: the folder of its compiled code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.executable, "-c", script, out], check=True, env={**os.environ, "NUMBA_CACHE_DIR": cache})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """The command."""
    print(f"{'':<12} {'first':>8} {'later':>8}   seconds of processor time")
    for name, script in (("transport", TRANSPORT), ("renderer", RENDERER)):
        with tempfile.TemporaryDirectory() as cache:
            first, later = (processor_seconds(script, cache) for _ in range(2))
        print(f"{name:<12} {first:8.1f} {later:8.1f}")


if __name__ == "__main__":
    main()
