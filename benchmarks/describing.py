"""The cost of describing a photo, with decoding: ``python -m benchmarks.describing [--run RUN ...] [--photos N]``.

Each run describes JPEGs of 1024 x 768 pixels as the commands do. Prints medians of milliseconds a photo. "decode" and
"network" are the two parts alone. Both use all cores, so their sum is a lower bound.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import Names, PositiveInt, option


@dataclass(frozen=True)
class DescribingOptions:
    """Benchmark."""

    run: Names = option(Names(["builtin"]), "run folders of structural models, or 'builtin'")
    photos: PositiveInt = option(300, "number of photos")
    repeats: PositiveInt = option(5, "number of measurements of each figure")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command("benchmarks.describing", "The cost of describing a photo.", [DescribingOptions], _work, argv)


def _work(options: DescribingOptions) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from vpr.base.machine import choose_device
    from vpr.description.describe import BATCH, decode_in_threads, evaluation_mode, global_descriptors
    from vpr.description.image_files import ImageFiles
    from vpr.models.loading import load_student

    def measure_ms(work: Callable[[], object]) -> float:
        times = []
        for _ in range(options.repeats + 1):
            start = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - start) / options.photos)
        return float(np.median(times[1:]))  # without the first, a warm-up

    device, rng = choose_device("cpu"), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{number}.jpg" for number in range(options.photos)]
        for name in names:
            coarse = Image.fromarray(rng.integers(0, 256, (96, 128, 3), np.uint8))
            coarse.resize((1024, 768), Image.Resampling.BICUBIC).save(Path(folder) / name, quality=90)
        for run in options.run:
            model = load_student(Path(run), device)
            images = ImageFiles.for_model(Path(folder), names, model)
            batches = [range(start, min(start + BATCH, len(images))) for start in range(0, len(images), BATCH)]
            tensors = [
                torch.stack([images[number] for number in batch]).to(memory_format=torch.channels_last)
                for batch in batches
            ]

            def network(model: torch.nn.Module = model, ready: list[torch.Tensor] = tensors) -> None:
                with evaluation_mode(model):
                    for batch in ready:
                        model(batch)

            both = measure_ms(lambda: global_descriptors(model, images, device))  # noqa: B023  called at once
            decode = measure_ms(lambda: list(decode_in_threads(images, batches)))  # noqa: B023
            print(f"{run}: {both:.2f} ms a photo; decode {decode:.2f}, network {measure_ms(network):.2f}")


if __name__ == "__main__":
    sys.exit(main())
