"""``python -m vpr.extract``: global and patch descriptors of a dataset's images into an HDF5 cache."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import log_to, run_command
from vpr.base.machine import Device
from vpr.base.settings import NonNegativeInt, option, required
from vpr.cache import PatchType
from vpr.cluster.options import ClusterOptions
from vpr.datasets.msls.options import DatasetOptions


@dataclass(frozen=True)
class ExtractOptions:
    """Model and cache."""

    cache: Path = required("the HDF5 file")
    run: Path = option(Path("runs/distill"), "run folder of the structural model, or 'builtin'")
    patches: PatchType = option("float16", "type of patch descriptors; int8 is half the size")
    rollout: bool = option(False, "with a weight for each patch, which rollout marginals need (vision transformers)")
    overwrite: bool = option(False, "replace a cache that is damaged or another model's")
    device: Device = option("auto", "where to compute")
    workers: NonNegativeInt = option(0, "processes that decode images; 0 decodes in threads of the main process")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages, meaning = (
        [ExtractOptions, DatasetOptions, ClusterOptions],
        "Describe a dataset's images into an HDF5 cache; resumes.",
    )
    return run_command("vpr.extract", meaning, stages, _work, argv, parallel=True)


def _work(options: ExtractOptions, dataset_options: DatasetOptions, cluster_options: ClusterOptions) -> None:
    from vpr.base.errors import VprError
    from vpr.base.machine import choose_device
    from vpr.base.processes import join, of_one_machine
    from vpr.cluster.describing import filled_on
    from vpr.description.into_cache import Filling, describe_into_cache
    from vpr.models.loading import load_student

    of_one_machine()
    if cluster_options.cluster and os.environ.get("WORLD_SIZE", "1") != "1":
        raise VprError("torchrun and --cluster both share the work out; leave one of them out")
    fabric = join(choose_device(options.device))
    device = fabric.device
    model = load_student(options.run, device)
    if options.run.is_dir() and fabric.is_global_zero:
        log_to(options.run)
    with fabric.rank_zero_first():  # mini-MSLS may have to be rendered
        data = dataset_options.load().retrieval_set
    how = Filling(options.workers, options.overwrite, options.patches, options.rollout, fabric)
    with cluster_options.joined() as cluster:
        how = filled_on(cluster, how)
        cache = describe_into_cache(options.cache, model, data.root, data.image_files(), device, how).cache
    weights = "" if cache.weights is None else ", with weights"
    patches = f"{cache.spec.patches} patches x {cache.spec.dim} {cache.spec.dtype}{weights}"
    fabric.print(f"{options.cache}: {len(cache)} images, {patches}")


if __name__ == "__main__":
    sys.exit(main())
