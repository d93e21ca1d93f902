"""Photos described by the machines of a cluster, with Ray Data; the process that asks writes the cache.

A worker is a process that holds the model. It gets the names of a batch of photos, reads them at the paths that all
machines share, and sends their descriptors back. Batches are the same as on one machine, so the file is too.
"""

from __future__ import annotations

import copy
import json
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from vpr.description.describe import Described, describe
from vpr.description.images import ImageError, ImageFiles, Tolerant
from vpr.description.into_cache import USUAL, Filling

BLOCKS = 4096  # tasks at most; a task is one batch, of many photos several
Batches = Sequence[Sequence[int]]


def filled_on(cluster: Cluster | None, how: Filling = USUAL) -> Filling:
    """How a cache is filled where the machines of a cluster describe; as given without one."""
    return how if cluster is None else replace(how, describe=partial(_describe, cluster))


def _describe(
    cluster: Cluster,
    model: torch.nn.Module,
    images: ImageFiles | Tolerant,
    batches: Batches,
    device: torch.device,
    workers: int,
    title: str | None,
) -> Iterator[tuple[Sequence[int], Described]]:
    """Each batch with its descriptors, as they come in.

    Workers decode in their own threads, whatever ``workers`` says. They compute on the kind of device given, which
    every machine must have. Raises ImageError for a photo that a worker cannot read, ClusterError where they cannot
    work.
    """
    import ray
    from ray.exceptions import RayError

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    held = ray.put(copy.deepcopy(model).cpu())
    tolerant = isinstance(images, Tolerant)
    files = cast(ImageFiles, images.images if isinstance(images, Tolerant) else images)
    names = [{"number": n, "names": "\0".join(files.paths[row] for row in rows)} for n, rows in enumerate(batches)]
    cuda = device.type == "cuda"
    count = int(ray.cluster_resources().get("GPU", 0)) if cuda else cluster.cores
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, min(count, len(names))))
    look = (os.path.abspath(files.root), files.size, files.interpolation, files.crop)
    described = ray.data.from_items(names, override_num_blocks=min(len(names), BLOCKS)).map_batches(
        Worker, fn_constructor_args=([held], look, device.type, cluster.code, tolerant), compute=pool, batch_size=1,
        batch_format="pyarrow", num_cpus=1, num_gpus=1 if cuda else 0,
    )  # fmt: skip
    try:
        tables = described.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0)
        for table in progress(tables, title=title, unit="batch", total=len(names)):
            row = table.to_pylist()[0]
            if row["error"]:
                raise ImageError(row["error"])
            parts, batch = load(row["descriptors"]), batches[row["number"]]
            if isinstance(images, Tolerant):
                images.unreadable |= {batch[int(place)]: why for place, why in json.loads(row["unreadable"]).items()}
            yield batch, Described(parts["globals"], parts.get("patches"), parts.get("weights"))
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ClusterError(
            f"the workers of the cluster cannot describe ({reason}); see that vpr is installed on every machine"
        ) from error


class Worker:
    """In a process of its own: the model, and descriptors of the photos that it is given."""

    def __init__(
        self, held: list[Any], look: tuple[str, Any, Any, Any], device: str, code: str, tolerant: bool
    ) -> None:
        """held: a reference to the model. look: the root of the photos, and how the model takes them. tolerant: leave
        out photos that cannot be decoded."""
        import ray

        limit_cores(1)
        self.code, self.look, self.device, self.tolerant = code, look, torch.device(device), tolerant
        self.model = ray.get(held[0]).to(self.device).eval()

    def __call__(self, table: Any) -> Any:
        """A batch's names to its descriptors, both as tables of one row; what is wrong with a photo is an answer."""
        import pyarrow

        row = table.to_pylist()[0]
        descriptors, unreadable, error = b"", dict[int, str](), ""
        try:
            require_code(self.code)
            descriptors, unreadable = self._described(row["names"].split("\0"))
        except VprError as wrong:
            error = f"{wrong} (read on {socket.gethostname()}: photos lie at the same paths on every machine)"
        columns = {"number": [row["number"]], "error": [error], "unreadable": [json.dumps(unreadable)]}
        binary = pyarrow.array([descriptors], pyarrow.large_binary())
        return pyarrow.table(
            {**{name: pyarrow.array(column) for name, column in columns.items()}, "descriptors": binary}
        )

    def _described(self, names: list[str]) -> tuple[bytes, dict[int, str]]:
        """The descriptors of a batch, and what is wrong with photos of it that are left out, by place."""
        root, *how = self.look
        files = ImageFiles(Path(root), names, *how)
        images = Tolerant(files, files.size) if self.tolerant else files
        found = next(describe(self.model, images, [range(len(names))], self.device))
        parts = {"globals": found.globals_, "patches": found.patches, "weights": found.weights}
        descriptors = save({name: part for name, part in parts.items() if part is not None})
        return descriptors, images.unreadable if isinstance(images, Tolerant) else {}
