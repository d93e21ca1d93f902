"""Worker processes that render streets in parallel."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import vpr.base
from vpr.base.files import cache_folder, work_lock
from vpr.datasets.errors import DatasetError
from vpr.datasets.street_world.config import MiniConfig

log = logging.getLogger("vpr")
PACKAGE_ROOT = Path(vpr.base.__file__).resolve().parents[2]


def kernel_folder() -> Path:
    """The folder of compiled kernels, another one for each state of the sources.

    Numba checks only the file of the function that Python calls, and would not notice a change in another file.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return cache_folder("kernels") / digest.hexdigest()[:16]


def start_worker(config: MiniConfig, root: Path) -> subprocess.Popen:
    """Start one process and send it the configuration."""
    paths = [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(path for path in paths if path),
        OMP_NUM_THREADS="1",
        OPENBLAS_NUM_THREADS="1",
        NUMBA_CACHE_DIR=str(kernel_folder()),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "vpr.datasets.street_world.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    process.stdin.write(json.dumps({"config": asdict(config), "root": str(root)}) + "\n")
    process.stdin.flush()
    return process


def feed(process: subprocess.Popen, units: queue.SimpleQueue, replies: queue.SimpleQueue) -> None:
    """Give units to one process until none is left; put its answers into `replies`."""
    try:
        while True:
            unit = units.get_nowait()
            process.stdin.write(json.dumps(unit) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            replies.put(json.loads(line) if line else {"error": "a rendering process died"})
    except queue.Empty:
        process.stdin.close()
    except OSError as error:
        replies.put({"error": f"a rendering process died ({error})"})


def render_units(
    config: MiniConfig, root: Path, units: list[tuple[int, int]], workers: int, report: Callable[[int], None]
) -> None:
    """Render all units (city index, street number); call `report` with the number of new images after each.

    Raises:
        DatasetError: a process died or could not write. The images so far stay, and the same call continues from there.
    """
    todo: queue.SimpleQueue = queue.SimpleQueue()
    replies: queue.SimpleQueue = queue.SimpleQueue()
    for unit in units:
        todo.put(unit)
    processes: list[subprocess.Popen] = []

    def start() -> None:
        processes.append(start_worker(config, root))
        threading.Thread(target=feed, args=(processes[-1], todo, replies), daemon=True).start()

    def take(count: int) -> None:
        for _ in range(count):
            reply = replies.get()
            if "error" in reply:
                raise DatasetError(f"{reply['error']}; run the same command again to resume")
            report(reply["images"])

    kernels, remaining = kernel_folder(), len(units)
    try:
        if not (kernels / "compiled").exists():  # one process compiles, and the others load the result
            with work_lock(kernels / ".compiling.lock"):
                if not (kernels / "compiled").exists():
                    log.info("compiling the renderer for this processor, once (about half a minute)")
                start()
                take(1)
                with contextlib.suppress(OSError):  # if the folder cannot be written, the next run compiles again
                    (kernels / "compiled").touch()
            remaining -= 1
        while len(processes) < min(workers, len(units)):
            start()
        take(remaining)
    except BaseException:
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.wait()
