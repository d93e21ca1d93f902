"""Starting on the whole of MSLS: ``python -m benchmarks.big_tree --out DIR [--photos N] [--only distill ...]``.

Makes a tree of 1.4 million photos in the 22 training cities and the two of the validation split: tables of drives along
roads, and rendered photos of mini-MSLS as hard links. It takes about 90 seconds and stays in DIR for the next call.

Then it runs, each in a new process,

- ``load``: the reader of the training cities, first without the metadata cache, then with it;
- ``scratch``, ``distill``, ``netvlad``: the training commands, the last two with ``--teacher builtin`` and with a
  VGG-16 NetVLAD of random weights. They are stopped after ``--steps`` steps;
- ``predictions``: ``eval.msls --predictions`` of a file with 20 predictions for each query.

Prints seconds to the first step and the processor time until then, steps a second from there on, the longest time
without a log line, and the peak memory. Linux only, since it reads ``/proc``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchvision.models import vgg16

from benchmarks.metadata import make_city
from vpr.base.progress import progress
from vpr.datasets.default_data import ensure_mini_msls
from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.cities import TRAIN_CITIES, VAL_CITIES
from vpr.eval.files.prediction_file import write_predictions
from vpr.eval.files.submission import name_rankings

SOURCES = 1000  # files that are linked; ext4 allows 65,000 links to each
MARK = "photos.json"  # written last, in a complete tree
CLUSTERS, DIM = 64, 128  # of the VGG-16 NetVLAD, as mapillary_WPCA128.pth.tar
PREDICTIONS = 20
STEP = re.compile(r"step (\d+) of \d+\b")
LONGEST_S = 1500.0  # a training is stopped then


def make_tree(root: Path, photos: int) -> None:
    """Write the tree, or leave it if it is complete already."""
    mark = root / MARK
    if mark.is_file() and json.loads(mark.read_text()) == photos:
        return
    shutil.rmtree(root, ignore_errors=True)
    sources = copy_sources(root / "sources", min(SOURCES, photos))
    rng, cities = np.random.default_rng(0), (*TRAIN_CITIES, *VAL_CITIES)
    for city in progress(cities, title="making the tree", unit="city"):
        folder = root / "train_val" / city
        for side, keys in make_city(folder, rng, photos // len(cities)).items():
            (folder / side / "images").mkdir()
            for number, key in enumerate(keys):
                os.link(sources[number % len(sources)], folder / side / "images" / f"{key}.jpg")
    mark.write_text(json.dumps(photos))


def copy_sources(folder: Path, count: int) -> list[Path]:
    """Copies of rendered photos on the file system of the tree."""
    folder.mkdir(parents=True)
    rendered = sorted(ensure_mini_msls(cities=TRAIN_CITIES[:1]).glob(f"train_val/{TRAIN_CITIES[0]}/*/images/*.jpg"))
    return [Path(shutil.copy(path, folder)) for path in rendered[:count]]


def make_checkpoint(path: Path) -> None:
    """A VGG-16 NetVLAD of random weights, in the format of Patch-NetVLAD's checkpoints."""
    torch.manual_seed(0)
    weights = {f"encoder.{name}": value for name, value in vgg16(weights=None).features[:-2].state_dict().items()}
    weights |= {"pool.conv.weight": torch.randn(CLUSTERS, 512, 1, 1), "pool.centroids": torch.randn(CLUSTERS, 512)}
    weights |= {"WPCA.0.weight": torch.randn(DIM, CLUSTERS * 512, 1, 1), "WPCA.0.bias": torch.randn(DIM)}
    torch.save({"state_dict": weights}, path)


def make_predictions(root: Path, path: Path) -> None:
    """Predictions for every query of the validation cities."""
    data = load(root, Protocol(cities=VAL_CITIES)).retrieval_set
    rows = np.empty((len(data.queries), PREDICTIONS), np.int64)
    for queries, entries in data.spans():
        first = np.arange(queries.stop - queries.start)[:, None]
        rows[queries] = entries.start + (first + 7 * np.arange(PREDICTIONS)) % (entries.stop - entries.start)
    write_predictions(path, *name_rankings(data, rows))


class Lines(NamedTuple):
    """What a training process logged, until it was stopped."""

    first_step_s: float | None
    processor_s: float  # until the first step
    steps: int
    steps_a_second: float
    longest_silence_s: float


def processor_seconds(process: int) -> float:
    """The processor time of a running process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def peak_gb(process: int) -> float:
    """The peak memory of a running process; that of its parent, which `os.wait4` includes, does not count."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e9 if found else 0.0  # an ended process has none


def read_log(process: subprocess.Popen[str], steps: int) -> Lines:
    """Read the log of a training up to the last of some steps."""
    assert process.stderr is not None
    lines, processor = iter(process.stderr.readline, ""), 0.0
    start = last = time.monotonic()
    first: tuple[float, int] | None = None
    done, rate, silence = 0, 0.0, 0.0
    for line in lines:
        now = time.monotonic()
        silence, last = max(silence, now - last), now
        print(f"    {now - start:6.1f} s  {line.rstrip()}", flush=True)
        if found := STEP.match(line):
            done = int(found[1])
            if first is None:
                first, processor = (now, done), processor_seconds(process.pid)
            elif done > first[1]:
                rate = (done - first[1]) / (now - first[0])
        if done >= steps or now - start > LONGEST_S:
            break
    return Lines(None if first is None else first[0] - start, processor, done, rate, silence)


def time_training(command: list[str], steps: int) -> str:
    """Run a training until its last step; returns the cells of a table."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    log = read_log(process, steps)
    memory = peak_gb(process.pid)
    process.kill()
    process.communicate()
    first = "none" if log.first_step_s is None else f"{log.first_step_s:.0f} s ({log.processor_s:.0f} s)"
    return f"{first} | {log.steps_a_second:.2f} | {log.longest_silence_s:.0f} s | {memory:.2f} GB"


def time_command(command: list[str], **environment: str) -> str:
    """Run a command to its end; returns the cells of a table."""
    start = time.monotonic()
    process, memory = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **environment}), 0.0
    while process.poll() is None:
        memory = max(memory, peak_gb(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed")
    return f"{time.monotonic() - start:.1f} s in all | | | {memory:.2f} GB"


def measure(name: str, out: Path, steps: int) -> Iterator[tuple[str, str]]:
    """Yield each row of one measurement: its name, and its cells."""
    root, runs = out / "tree", out / "runs"
    python = [sys.executable, "-m"]
    if name == "load":
        command = [*python, "benchmarks.big_tree", "--out", str(out), "--load"]
        shutil.rmtree(out / "cache", ignore_errors=True)
        for state in ("cold", "warm"):
            yield f"load, {state}", time_command(command, VPR_CACHE_DIR=str(out / "cache"))
    elif name == "predictions":
        path = out / "predictions.csv"
        make_predictions(root, path)
        yield name, time_command([*python, "vpr.eval.msls", "--data", str(root), "--predictions", str(path)])
    else:
        teacher = {"scratch": [], "distill": ["--teacher", "builtin"], "netvlad": ["--teacher", str(out / "vgg.pth")]}[
            name
        ]
        if name == "netvlad":
            make_checkpoint(out / "vgg.pth")
        shutil.rmtree(runs / name, ignore_errors=True)
        command = [*python, "vpr.distill" if teacher else "vpr.scratch", *teacher, "--data", str(root)]
        yield name, time_training([*command, "--out", str(runs / name), "--steps", str(steps)], steps)


def main() -> None:
    """Make the tree, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("/tmp/big_tree"), help="folder of the tree and of the runs")
    parser.add_argument("--photos", type=int, default=1_400_000, help="photos of all cities together")
    parser.add_argument("--steps", type=int, default=20, help="steps of a training")
    names = ("load", "scratch", "distill", "netvlad", "predictions")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="what to measure")
    parser.add_argument("--load", action="store_true", help="(internal) load the training cities")
    arguments = parser.parse_args()
    if arguments.load:
        load(arguments.out / "tree", Protocol(split="train"))
        return
    start = time.monotonic()
    make_tree(arguments.out / "tree", arguments.photos)
    print(f"tree of {arguments.photos:,} photos: {time.monotonic() - start:.0f} s", flush=True)
    rows = [row for name in arguments.only for row in measure(name, arguments.out, arguments.steps)]
    print("| | first step (processor time) | steps/s | longest silence | peak memory |\n|---|---|---|---|---|")
    for name, cells in rows:
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
