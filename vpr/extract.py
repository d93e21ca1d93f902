"""``python -m vpr.extract``: global and patch descriptors of a dataset's images into an HDF5 cache."""

import argparse
import sys
from pathlib import Path
from typing import get_args
from typing import get_args

import numpy as np

from datasets.default import data_root
from datasets.errors import DatasetError
from datasets.msls import load
from eval.options import ProtocolConfig
from eval.ranking import frame_paths
from vpr.cache import PatchType
from vpr.command import fill, log_to, make_parser, run
from vpr.device import Device, choose_device
from vpr.extraction import fill_cache
from vpr.runs import load_student


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = make_parser("vpr.extract", "Describe a dataset's images into an HDF5 cache; resumes.", ProtocolConfig)
    parser.add_argument("--run", type=Path, default=Path("runs/distill"), help="run folder of the structural model")
    parser.add_argument("--data", default="", help="root of an MSLS tree; mini-MSLS when left out")
    parser.add_argument("--cache", type=Path, required=True, help="the HDF5 file")
    kinds = get_args(PatchType)
    parser.add_argument("--patches", choices=kinds, default=kinds[0], help="type of patch descriptors; int8 is half the size")
    parser.add_argument("--overwrite", action="store_true", help="replace a cache that is damaged or another model's")
    parser.add_argument("--device", choices=get_args(Device), default="auto", help="where to compute")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that decode images; 0 decodes in the main process"
    )
    return run(_work, parser, argv, (DatasetError,))


def _work(arguments: argparse.Namespace) -> int:
    device = choose_device(arguments.device)
    model = load_student(arguments.run, device)
    log_to(arguments.run)
    dataset = load(data_root(arguments.data), fill(ProtocolConfig, arguments).protocol())
    keys = np.concatenate([paths.ravel() for paths in frame_paths(dataset)])
    cache = fill_cache(
        arguments.cache, model, dataset.root, keys, device, arguments.workers, arguments.overwrite, arguments.patches
    )
    print(f"{arguments.cache}: {len(cache)} images, {cache.spec.patches} patches x {cache.spec.dim} {cache.spec.dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
