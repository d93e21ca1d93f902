"""``python -m vpr.extract``: global and patch descriptors of a dataset's images into an HDF5 cache."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import log_to, run_command
from vpr.base.machine import Device
from vpr.base.settings import NonNegativeInt, option, required_output
from vpr.cache import PatchType
from vpr.cluster.options import ClusterOptions
from vpr.datasets.msls.options import DatasetOptions
from vpr.models.settings import RUN, TRUST


@dataclass(frozen=True)
class ExtractOptions:
    """Model and cache."""

    cache: Path = required_output("HDF5 file to create or to continue", "cache")
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
    about = "Writes descriptors of a dataset's images to an HDF5 cache; an interrupted run continues."
    stages = [ExtractOptions, DatasetOptions, ClusterOptions]
    return run_command("vpr.extract", about, stages, _work, argv, parallel=True)


def _work(options: ExtractOptions, dataset_options: DatasetOptions, cluster_options: ClusterOptions) -> None:
    from vpr.base.errors import VprError
    from vpr.base.machine import choose_device
    from vpr.base.processes import launch_fabric, require_one_machine
    from vpr.cluster.describing import cluster_fill_options
    from vpr.description.cache_filling import CacheFillOptions, fill_cache
    from vpr.run import load

    require_one_machine()
    if cluster_options.cluster and os.environ.get("WORLD_SIZE", "1") != "1":
        raise VprError(
            "torchrun and --cluster both distribute the work", thing="--cluster", remedy="leave one of them out"
        )
    fabric = launch_fabric(choose_device(options.device))
    device = fabric.device
    model = load(options.run, device, trust=options.trust).network
    if options.run.is_dir() and fabric.is_global_zero:
        log_to(options.run)
    with fabric.rank_zero_first():  # the first process renders mini-MSLS if it is missing
        data = dataset_options.load().retrieval_set
    fill_options = CacheFillOptions(options.workers, options.overwrite, options.patches, options.rollout, fabric)
    with cluster_options.connect() as cluster:
        fill_options = cluster_fill_options(cluster, fill_options)
        cache = fill_cache(options.cache, model, data.root, data.image_files(), device, fill_options).cache
    weights = "" if cache.weights is None else ", with weights"
    patches = f"{cache.spec.patches} patches x {cache.spec.dim} {cache.spec.dtype}{weights}"
    fabric.print(f"{options.cache}: {len(cache)} images, {patches}")


if __name__ == "__main__":
    sys.exit(main())
