"""``python -m vpr.extract``: global and patch descriptors of a dataset's images into an HDF5 cache."""

import sys
from dataclasses import dataclass
from pathlib import Path

from datasets.msls.options import DatasetOptions
from vpr.base.command import log_to, run_command
from vpr.base.machine import Device
from vpr.base.settings import NonNegativeInt, option, required
from vpr.cache import PatchType


@dataclass(frozen=True)
class ExtractOptions:
    """Model and cache."""

    cache: Path = required("the HDF5 file")
    run: Path = option(Path("runs/distill"), "run folder of the structural model, or 'builtin'")
    patches: PatchType = option("float16", "type of patch descriptors; int8 is half the size")
    overwrite: bool = option(False, "replace a cache that is damaged or another model's")
    device: Device = option("auto", "where to compute")
    workers: NonNegativeInt = option(0, "processes that decode images; 0 decodes in threads of the main process")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [ExtractOptions, DatasetOptions]
    return run_command("vpr.extract", "Describe a dataset's images into an HDF5 cache; resumes.", stages, _work, argv)


def _work(options: ExtractOptions, dataset_options: DatasetOptions) -> None:
    from vpr.base.machine import choose_device
    from vpr.description.into_cache import describe_into_cache
    from vpr.models.loading import load_student

    device = choose_device(options.device)
    model = load_student(options.run, device)
    if options.run.is_dir():
        log_to(options.run)
    data = dataset_options.load().retrieval_set
    cache, _, _ = describe_into_cache(
        options.cache, model, data.root, data.image_files(), device, options.workers, options.overwrite, options.patches
    )
    print(f"{options.cache}: {len(cache)} images, {cache.spec.patches} patches x {cache.spec.dim} {cache.spec.dtype}")


if __name__ == "__main__":
    sys.exit(main())
