"""The cost of describing a photo, with decoding: ``python -m benchmarks.describing [--run RUN ...] [--engine torch]``.

Each run describes JPEGs of 1024 x 768 pixels as the commands do, by the engine that they choose on a CPU. Prints
medians of milliseconds a photo. "decode" and "network" are the two parts alone. Both use all cores, so their sum is a
lower bound.
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
    import torch
    from torch import nn


@dataclass(frozen=True)
class DescribingOptions:
    """Benchmark."""

    run: Names = option(Names(["builtin"]), "run folders of structural models, or 'builtin'")
    engine: Engine = option("auto", "what runs the network; auto chooses as the commands do")
    photos: PositiveInt = option(300, "number of photos")
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

    def measure_ms(work: Callable[[], object]) -> float:
        times = []
        for _ in range(options.repeats + 1):
            start = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - start) / options.photos)
        return float(np.median(times[1:]))  # without the first, a warm-up

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{number}.jpg" for number in range(options.photos)]
        for name in names:
            coarse = Image.fromarray(rng.integers(0, 256, (96, 128, 3), np.uint8))
            coarse.resize((1024, 768), Image.Resampling.BICUBIC).save(Path(folder) / name, quality=90)
        for run in options.run:
            model = load(run, "cpu", options.engine)
            images = ImageFiles.for_model(Path(folder), names, model.network)
            batches = [range(start, min(start + BATCH, len(images))) for start in range(0, len(images), BATCH)]
            tensors = [torch.stack([images[number] for number in batch]) for batch in batches]
            both = measure_ms(lambda: [*describe(model.network, images, batches, model.device)])  # noqa: B023
            decode = measure_ms(lambda: [*decode_in_threads(images, batches)])  # noqa: B023
            network = measure_ms(lambda: _run_network(model.network, tensors))  # noqa: B023
            engine = "torch" if network_of(model.network) is None else "ONNX Runtime"
            print(f"{run}: {both:.2f} ms a photo ({engine}); decode {decode:.2f}, network {network:.2f}")


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
