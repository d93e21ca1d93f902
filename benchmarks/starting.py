"""The cost of starting commands: ``python -m benchmarks.starting [--checkout DIR]``.

Makes a map of photos of noise, and runs commands that do little work, each in a process of its own on one core. Prints
medians of wall time, processor time and peak memory. File caches, compiled kernels and kept networks are warm, because
the first round is not counted. Other checkouts run the same commands in turns, by the same Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.settings import Names, PositiveInt, option

HERE = Path(__file__).resolve().parents[1]
SERVED = b"is served at"
COMMANDS = {
    "vpr.locate MAP PHOTO": ["vpr.locate", "map", "photos/000.jpg"],
    "vpr.map MAP info": ["vpr.map", "map", "info"],
    "vpr.map MAP add, nothing new": ["vpr.map", "map", "add", "photos"],
    "vpr.match PHOTO PHOTO": ["vpr.match", "photos/000.jpg", "photos/001.jpg", "--out", "match.png"],
    "vpr.serve MAP, until it serves": ["vpr.serve", "map", "--port", "0"],
    "vpr.locate --help": ["vpr.locate", "--help"],
    "vpr.eval.msls --help": ["vpr.eval.msls", "--help"],
}


@dataclass(frozen=True)
class StartingOptions:
    """Benchmark."""

    checkout: Names = option(Names(), "folders of other checkouts, to compare with this one")
    photos: PositiveInt = option(400, "number of photos of the map")
    repeats: PositiveInt = option(5, "number of measurements of each command")


class Cost(NamedTuple):
    """The cost of one process."""

    wall_s: float
    processor_s: float
    peak_mb: float


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command("benchmarks.starting", "The cost of starting commands.", [StartingOptions], _work, argv)


def _work(options: StartingOptions) -> None:
    import numpy as np

    checkouts = [HERE, *(Path(folder).resolve() for folder in options.checkout)]
    with tempfile.TemporaryDirectory() as folder:
        places = [_prepare(Path(folder) / str(number), options.photos) for number in range(len(checkouts))]
        for checkout, place in zip(checkouts, places):
            _measure(checkout, place, ["vpr.map", "map", "add", "photos", "--device", "cpu"])
        for name, command in COMMANDS.items():
            rounds = [
                [_measure(checkout, place, command) for checkout, place in zip(checkouts, places)]
                for _ in range(options.repeats + 1)
            ]
            for checkout, costs in zip(checkouts, np.median(rounds[1:], axis=0)):  # without the first round, a warm-up
                wall, processor, peak = costs
                print(f"{name:32} {wall:6.2f} s, {processor:6.2f} s of the processor, {peak:6.0f} MB   {checkout}")


def _prepare(folder: Path, photos: int) -> Path:
    """A folder for one checkout, with photos of noise on a meridian."""
    import numpy as np
    from PIL import Image

    from tools.photo_folder import gps_exif

    (folder / "photos").mkdir(parents=True)
    for number in range(photos):
        coarse = Image.fromarray(np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8))
        photo, exif = coarse.resize((640, 480), Image.Resampling.BICUBIC), gps_exif(47 + number * 3e-4, 8.0)
        photo.save(folder / "photos" / f"{number:03d}.jpg", exif=exif)
    return folder


def _measure(checkout: Path, folder: Path, command: list[str]) -> Cost:
    """Run a command of a checkout in a folder; raises VprError if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "VPR_CACHE_DIR": str(folder / "cache")}
    serves = command[0] == "vpr.serve"
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, preexec_fn=_take_one_core,
    )  # fmt: skip
    assert process.stdout is not None
    ready = start
    with process.stdout as lines:
        for line in lines:
            if serves and SERVED in line:
                ready = time.perf_counter()
                process.terminate()
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = (ready if serves else time.perf_counter()) - start
    process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here, and not by `Popen`
    if process.returncode and not serves:
        raise VprError(f"{' '.join(command)} of {checkout} failed; run it by itself for the reason")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _take_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    sys.exit(main())
