"""The cost of describing a photo, with decoding: ``python -m benchmarks.describing [--run RUN ...] [--engine torch]``.

Each run describes JPEGs as the commands do, by the engine that they choose on a CPU. "decode" and "network" are the two
parts alone; their sum is the floor. The three take turns. Prints medians of milliseconds a photo, by the clock and of
the processor, and the ratio to the floor.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vpr.base.command import run_command
from vpr.base.settings import Names, PositiveInt, option
from vpr.models.onnx_network import Engine

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn


@dataclass(frozen=True)
class DescribingOptions:
    """Benchmark."""

    run: Names = option(Names(["builtin"]), "run folders of structural models, or 'builtin'")
    engine: Engine = option("auto", "what runs the network; auto chooses as the commands do")
    photos: PositiveInt = option(300, "number of photos")
    width: PositiveInt = option(1024, "of the photos, pixels; they are three quarters as high")
    repeats: PositiveInt = option(5, "number of measurements of each figure")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command("benchmarks.describing", "The cost of describing a photo.", [DescribingOptions], _work, argv)


def _work(options: DescribingOptions) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from vpr.description.batches import BATCH
    from vpr.description.describe import decode_in_threads, describe
    from vpr.description.image_files import ImageFiles
    from vpr.models.engine import network_of
    from vpr.run import load

    height = options.width * 3 // 4
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{number}.jpg" for number in range(options.photos)]
        for name in names:
            coarse = Image.fromarray(rng.integers(0, 256, (96, 128, 3), np.uint8))
            coarse.resize((options.width, height), Image.Resampling.BICUBIC).save(Path(folder) / name, quality=90)
        for run in options.run:
            model = load(run, "cpu", options.engine)
            images = ImageFiles.for_model(Path(folder), names, model.network)
            batches = [range(start, min(start + BATCH, len(images))) for start in range(0, len(images), BATCH)]
            tensors = [torch.stack([images[number] for number in batch]) for batch in batches]
            works: list[Callable[[], object]] = [
                lambda: [*describe(model.network, images, batches, model.device)],  # noqa: B023
                lambda: [*decode_in_threads(images, batches)],  # noqa: B023
                lambda: _run_network(model.network, tensors),  # noqa: B023
            ]
            clock, processor = _measure(works, options.repeats) / options.photos
            engine = "torch" if network_of(model.network) is None else "ONNX Runtime"
            for name, (both, decode, network) in (("clock", clock), ("processor", processor)):
                parts = f"decode {decode:.2f}, network {network:.2f}, {both / (decode + network):.2f} times both"
                print(f"{run} ({engine}), {options.width} x {height}, {name}: {both:.2f} ms a photo; {parts}")


def _measure(works: Sequence[Callable[[], object]], repeats: int) -> np.ndarray:
    """Medians (2, W), ms: the time and the processor time of each work, in turns, without the first, a warm-up."""
    import numpy as np

    times = np.zeros((repeats + 1, 2, len(works)))
    for turn in range(repeats + 1):
        for number, work in enumerate(works):
            start = time.perf_counter(), time.process_time()
            work()
            times[turn, :, number] = time.perf_counter() - start[0], time.process_time() - start[1]
    return 1000 * np.median(times[1:], axis=0)


def _run_network(model: nn.Module, batches: Sequence[torch.Tensor]) -> None:
    """Run a network on batches (b, 3, H, W) of decoded photos, as `vpr.description.describe.describe` does."""
    import torch

    from vpr.description.describe import describe_batch
    from vpr.models.engine import network_of

    network = network_of(model)
    for batch in batches:
        describe_batch(model, network, batch, torch.device("cpu"))


if __name__ == "__main__":
    sys.exit(main())
