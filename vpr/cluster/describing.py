"""Describing photos on the machines of a cluster, with Ray Data; the calling process writes the cache.

A worker is a process that holds the model. It gets the names of a batch of photos, reads them from paths that all
machines share, and returns their descriptors. Batches are the same as on one machine, so the cache file is the same.
"""

from __future__ import annotations

import copy
import json
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.numpy import load, save

from vpr.base.errors import VprError
from vpr.base.machine import limit_cores
from vpr.base.progress import progress
from vpr.cluster.connecting import Cluster, require_code
from vpr.cluster.errors import ClusterError
from vpr.description.batches import ImageDescriptors
from vpr.description.cache_filling import DEFAULT_FILL, CacheFillOptions
from vpr.description.describe import describe
from vpr.description.image_files import ImageFiles, TolerantImages
from vpr.description.images import ImageError, Size
from vpr.models.engine import network_of
from vpr.models.published.network import PublishedModel
from vpr.models.settings import Crop, Interpolation

BLOCKS = 4096  # maximum number of tasks; a task is one batch, or several of a large set
Batches = Sequence[Sequence[int]]


@dataclass(frozen=True)
class PhotoReader:
    """How a worker reads photos: the fields of `ImageFiles` without the names."""

    root: str  # absolute path
    size: Size
    interpolation: Interpolation
    crop: Crop

    def files(self, names: list[str]) -> ImageFiles:
        """The photos of a batch."""
        return ImageFiles(Path(self.root), names, self.size, self.interpolation, self.crop)


def cluster_fill_options(cluster: Cluster | None, options: CacheFillOptions = DEFAULT_FILL) -> CacheFillOptions:
    """The options for filling a cache, so that photos are described on the cluster; unchanged without a cluster."""
    return options if cluster is None else replace(options, describe=partial(_describe, cluster))


def _describe(
    cluster: Cluster,
    model: torch.nn.Module,
    images: ImageFiles | TolerantImages,
    batches: Batches,
    device: torch.device,
    workers: int,
    title: str | None,
) -> Iterator[tuple[Sequence[int], ImageDescriptors]]:
    """Each batch with its descriptors, in the order of arrival.

    Workers decode in their own threads; ``workers`` is ignored. They compute on the kind of device given, which every
    machine must have. Raises ImageError if a worker cannot read a photo, ClusterError if the workers fail.
    """
    if not batches:
        return
    if isinstance(model, PublishedModel):
        problem = f"{model.name} is code of others, which runs on this machine alone"
        raise ClusterError(problem, remedy="leave --cluster out")
    import ray
    from ray.exceptions import RayError

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    network_of(model)  # made here, so that the workers need not
    shared_model = ray.put(copy.deepcopy(model).cpu())
    tolerant = isinstance(images, TolerantImages)
    files = cast(ImageFiles, images.images if isinstance(images, TolerantImages) else images)
    names = [{"number": n, "names": "\0".join(files.paths[row] for row in rows)} for n, rows in enumerate(batches)]
    cuda = device.type == "cuda"
    count = int(ray.cluster_resources().get("GPU", 0)) if cuda else cluster.cores
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, min(count, len(names))))
    reader = PhotoReader(os.path.abspath(files.root), files.size, files.interpolation, files.crop)
    described = ray.data.from_items(names, override_num_blocks=min(len(names), BLOCKS)).map_batches(
        Worker, fn_constructor_args=([shared_model], reader, device.type, cluster.code, tolerant), compute=pool,
        batch_size=1, batch_format="pyarrow", num_cpus=1, num_gpus=1 if cuda else 0,
    )  # fmt: skip
    try:
        tables = described.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0)
        for table in progress(tables, title=title, unit="batch", total=len(names)):
            row = table.to_pylist()[0]
            if row["error"]:
                raise ImageError(row["error"])
            parts, batch = load(row["descriptors"]), batches[row["number"]]
            if isinstance(images, TolerantImages):
                images.unreadable |= {batch[int(place)]: why for place, why in json.loads(row["unreadable"]).items()}
            yield batch, ImageDescriptors(parts["globals"], parts.get("patches"), parts.get("weights"))
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ClusterError(
            f"the workers of the cluster failed ({reason})", remedy="check that vpr is installed on every machine"
        ) from error


class Worker:
    """A worker in its own process: it holds the model and describes photos."""

    def __init__(self, shared_model: list[Any], reader: PhotoReader, device: str, code: str, tolerant: bool) -> None:
        """shared_model: a Ray reference, in a list so that Ray does not resolve it. tolerant: leave out photos that
        cannot be decoded."""
        import ray

        limit_cores(1)
        self.code, self.reader, self.device, self.tolerant = code, reader, torch.device(device), tolerant
        self.model = ray.get(shared_model[0]).to(self.device).eval()

    def __call__(self, table: Any) -> Any:
        """The names of a batch to its descriptors, both as tables of one row; an error is part of the answer."""
        import pyarrow

        row = table.to_pylist()[0]
        descriptors, unreadable, error = b"", dict[int, str](), ""
        try:
            require_code(self.code)
            descriptors, unreadable = self._describe(row["names"].split("\0"))
        except VprError as wrong:
            error = f"{wrong} (read on {socket.gethostname()}: photos lie at the same paths on every machine)"
        columns = {"number": [row["number"]], "error": [error], "unreadable": [json.dumps(unreadable)]}
        binary = pyarrow.array([descriptors], pyarrow.large_binary())
        return pyarrow.table(
            {**{name: pyarrow.array(column) for name, column in columns.items()}, "descriptors": binary}
        )

    def _describe(self, names: list[str]) -> tuple[bytes, dict[int, str]]:
        """The descriptors of a batch, and the problems of photos that are left out, by position in the batch."""
        files = self.reader.files(names)
        images = TolerantImages(files, files.size) if self.tolerant else files
        found = next(describe(self.model, images, [range(len(names))], self.device))
        parts = {"globals": found.globals_, "patches": found.patches, "weights": found.weights}
        descriptors = save({name: part for name, part in parts.items() if part is not None})
        return descriptors, images.unreadable if isinstance(images, TolerantImages) else {}
