"""``python -m vpr.extract``: global and patch descriptors of a dataset's images into an HDF5 cache."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpr.base.command import log_to, run_command
from vpr.base.machine import Device
from vpr.base.settings import NonNegativeInt, option, required_output
from vpr.cache import PatchType
from vpr.cluster.options import ClusterOptions
from vpr.datasets.msls.options import DatasetOptions
from vpr.models.builtin import split_run
from vpr.models.settings import RUN, TRUST


@dataclass(frozen=True)
class ExtractOptions:
    """Model and cache."""

    cache: Path = required_output("HDF5 file to create or to continue; with --format hloc, to create", "cache")
    format: Literal["cache", "hloc"] = option(
        "cache",
        "what the file holds. cache: global and patch descriptors, for this software. hloc: global descriptors as hloc "
        "reads them, a group for each photo with global_descriptor",
    )
    photos: Path | None = option(None, "folder of photos to describe, in place of --data")
    run: Path = option(Path("runs/distill"), RUN)
    patches: PatchType = option(
        "float16", "type of patch descriptors; int8 takes half the space, pq28 and pq14 take 28 and 14 bytes a patch"
    )
    rollout: bool = option(False, "also store a weight per patch, for rollout marginals (vision transformers only)")
    overwrite: bool = option(False, "replace a cache that is damaged or of another model")
    trust: bool = option(False, TRUST)
    device: Device = option("auto", "device to compute on")
    workers: NonNegativeInt = option(0, "processes that decode images; 0 decodes in threads of the main process")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Writes descriptors of a dataset's images, or of a folder of photos, to HDF5; an interrupted run continues."
    stages = [ExtractOptions, DatasetOptions, ClusterOptions]
    return run_command("vpr.extract", about, stages, _work, argv, parallel=True)


def _work(options: ExtractOptions, dataset_options: DatasetOptions, cluster_options: ClusterOptions) -> None:
    from vpr.base.errors import VprError
    from vpr.base.machine import choose_device
    from vpr.base.processes import launch_fabric, require_one_machine
    from vpr.cluster.describing import cluster_fill_options
    from vpr.description.cache_filling import CacheFillOptions, fill_cache
    from vpr.description.foreign_files import NamedVectors, check_names, require_features, write_hloc
    from vpr.run import load

    require_one_machine()
    if cluster_options.cluster and os.environ.get("WORLD_SIZE", "1") != "1":
        raise VprError(
            "torchrun and --cluster both distribute the work", thing="--cluster", remedy="leave one of them out"
        )
    fabric = launch_fabric(choose_device(options.device))
    device = fabric.device
    model = load(options.run, device, trust=options.trust).network
    run = split_run(options.run)[0]
    if run.is_dir() and fabric.is_global_zero:
        log_to(run)
    with fabric.rank_zero_first():  # the first process renders mini-MSLS if it is missing
        root, images = _images(options, dataset_options)
    file = options.cache
    check_names(file, images)
    if options.format == "hloc":
        require_features(file)
        file = file.with_name(f".{file.stem}-cache.h5")  # continues after an interruption
    fill_options = CacheFillOptions(options.workers, options.overwrite, options.patches, options.rollout, fabric)
    with cluster_options.connect() as cluster:
        fill_options = cluster_fill_options(cluster, fill_options)
        cache = fill_cache(file, model, root, images, device, fill_options).cache
    if options.format == "hloc":
        if fabric.is_global_zero:
            names = [*dict.fromkeys(images)]
            write_hloc(options.cache, [NamedVectors(names, cache.globals_[cache.rows(names)])])
            file.unlink()
            print(f"{options.cache}: {len(names)} images, {cache.globals_.shape[1]} numbers each, for hloc")
        return
    weights = "" if cache.weights is None else ", with weights"
    patches = f"{cache.spec.patches} patches x {cache.spec.dim} {cache.spec.dtype}{weights}"
    fabric.print(f"{options.cache}: {len(cache)} images, {patches}")


def _images(options: ExtractOptions, dataset_options: DatasetOptions) -> tuple[Path, list[str]]:
    """The folder of the images, and their paths in it. Raises VprError for two sources, and for none."""
    from vpr.base.errors import VprError
    from vpr.description.photos import find_photo_files

    if options.photos is None:
        data = dataset_options.load().retrieval_set
        return data.root, data.image_files().tolist()
    if dataset_options != DatasetOptions():
        raise VprError("--photos and the options of the dataset: give one of them", thing="--photos")
    if not options.photos.is_dir():
        raise VprError(f"--photos {options.photos} is no folder", thing=options.photos, remedy="check the path")
    return options.photos, [file.relative_to(options.photos).as_posix() for file in find_photo_files(options.photos)]


if __name__ == "__main__":
    sys.exit(main())
