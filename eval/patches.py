"""``python -m eval.patches``: the similarity of the patches of an image by depth, and semantic correspondence.

Writes patches.json, .csv and .png, and a figure pairN.png for each ``--pair`` of photos.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.files import replace_file, write_json
from vpr.base.machine import Device, choose_device
from vpr.base.settings import Names, NonNegativeInt, PositiveInt, names_option, option, output
from vpr.datasets.msls.options import DatasetOptions
from vpr.eval.tables import show
from vpr.models.settings import TRUST
from vpr.retrieval.settings import TransportOptions

if TYPE_CHECKING:
    import torch

    from vpr.eval.patch_studies.correspondence import PatchIndex
    from vpr.eval.patch_studies.depth import Layer, Network
    from vpr.models.settings import Crop
    from vpr.retrieval.matching import Match
    from vpr.run import Run

DEFAULT_RUN = "runs/distill"


@dataclass(frozen=True)
class PatchesOptions:
    """Study."""

    run: Names = names_option(
        Names(), f"run folders of structural models, 'builtin', or timm:NAME (default: {DEFAULT_RUN})"
    )
    model: Names = names_option(Names(), "names of timm networks")
    weights: str = option("", "weights of --model: 'imagenet', or a .safetensors or .pth file; default: random weights")
    image_size: NonNegativeInt = option(
        0, "height and width of the images for --model, pixels; 0 takes the default of each network"
    )
    images: PositiveInt = option(64, "number of images to average over, drawn at random")
    photos: Path | None = option(None, "a photo or a folder of photos to use instead of the dataset")
    pair: Names = names_option(Names(), "A.jpg,B.jpg: draw where the mass of patches of A goes in B")
    patch: Names = names_option(Names(), "ROW,COLUMN of a patch of A, from 0; default: the patches that move most mass")
    marks: PositiveInt = option(3, "number of patches that are drawn if --patch is left out")
    seed: NonNegativeInt = option(0, "seed for the choice of images and for random weights")
    out: Path = output(Path("runs/patches"), "folder for the table and the figures", "folder")
    trust: bool = option(False, TRUST)
    device: Device = option("auto", "device for the computation")


@dataclass(frozen=True, eq=False)
class PairMatches:
    """The matches of a pair of photos."""

    photos: tuple[Path, Path]
    matches: dict[str, Match]  # by run
    patches: list[PatchIndex]  # of the first photo, on the grid of the first run


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Similarity of an image's patches by depth, and semantic correspondence."
    return run_command("eval.patches", about, [PatchesOptions, DatasetOptions, TransportOptions], _work, argv)


def _work(study: PatchesOptions, dataset: DatasetOptions, problem: TransportOptions) -> None:
    from vpr.eval.patch_studies.networks import run_network, timm_network
    from vpr.run import load

    pairs, patches = _parse_pairs(study), _parse_patches(study)
    device = choose_device(study.device)
    names = study.run or (() if study.model else (DEFAULT_RUN,))
    if pairs and not names:
        raise VprError("--pair compares the patch descriptors of a run; pass --run too")
    runs = {name: load(name, device, trust=study.trust) for name in names}
    networks = [run_network(name, run.network) for name, run in runs.items()]
    networks += [timm_network(name, study.weights, study.image_size, study.seed, device) for name in study.model]
    crops: set[Crop] = {run.network.crop for run in runs.values()}
    if pairs and len(crops) > 1:
        raise VprError("--pair: the runs take different parts of a photo (--crop); give one run at a time")
    matched = [_match_pair(pair, runs, patches, study.marks, problem) for pair in pairs]
    root, files = _choose_images(study, dataset)
    images = f"{len(files)} images of {study.photos or root}"
    show(images)
    layers = {network.label: _measure(network, root, files, device) for network in networks}
    drawn = [
        _draw_pair(study.out / f"pair{number}.png", pair_matches, *crops)
        for number, pair_matches in enumerate(matched, 1)
    ]
    _write(study, images, layers, drawn)
    show(f"written: {study.out}/patches.json, .csv, .png" + "".join(f", pair{n + 1}.png" for n in range(len(pairs))))


def _parse_pairs(study: PatchesOptions) -> list[tuple[Path, Path]]:
    """The pairs of photos; raises VprError for files that are missing."""
    from vpr.retrieval.matching import require_files

    if len(study.pair) % 2:
        raise VprError(f"--pair: give two photos, A.jpg,B.jpg, and not {','.join(study.pair)}")
    require_files(tuple(Path(photo) for photo in study.pair))
    return [(Path(first), Path(second)) for first, second in zip(study.pair[::2], study.pair[1::2])]


def _parse_patches(study: PatchesOptions) -> list[PatchIndex]:
    """The chosen patches; raises VprError for text that is not a row and a column."""
    text = ",".join(study.patch)
    if study.patch and not study.pair:
        raise VprError(f"--patch {text} is a patch of the first photo of a --pair; pass --pair A.jpg,B.jpg too")
    if len(study.patch) % 2 or not all(number.isdecimal() and number.isascii() for number in study.patch):
        raise VprError(f"--patch: {text!r} is not ROW,COLUMN")
    return [(int(row), int(column)) for row, column in zip(study.patch[::2], study.patch[1::2])]


def _choose_images(study: PatchesOptions, dataset: DatasetOptions) -> tuple[Path, list[str]]:
    """A root and image files under it, drawn at random by the seed; raises VprError if there are none."""
    import numpy as np

    from vpr.description.photos import find_photo_files

    if study.photos is not None and dataset.data is not None:
        raise VprError("--photos and --data: give one of them")
    if study.photos is not None:
        root, files = Path(), [str(path) for path in find_photo_files(study.photos)]
    else:
        data = dataset.load().retrieval_set
        root, files = data.root, np.unique(np.concatenate([data.queries.images, data.database.images], None)).tolist()
    chosen = np.random.default_rng(study.seed).permutation(len(files))[: study.images]
    return root, [files[number] for number in sorted(chosen.tolist())]


def _measure(network: Network, root: Path, files: list[str], device: torch.device) -> list[Layer]:
    """The similarities of one network by layer; a line is printed."""
    from vpr.description.image_files import ImageFiles
    from vpr.eval.patch_studies.depth import similarity_by_depth

    layers = similarity_by_depth(
        network, ImageFiles(root, files, (network.side, network.side), crop=network.crop), device
    )
    blocks = [layer for layer in layers if layer.depth <= 1]
    ends = f"{blocks[0].similarity:.3f} after the first, {blocks[-1].similarity:.3f} after the last"
    head = "".join(f", {layer.similarity:.3f} of the patch descriptors" for layer in layers if layer.depth > 1)
    show(f"{network.label}, {network.side} pixels: {len(blocks)} blocks, similarity {ends}{head}")
    return layers


def _match_pair(
    photos: tuple[Path, Path],
    runs: dict[str, Run],
    patches: list[PatchIndex],
    marks: int,
    problem: TransportOptions,
) -> PairMatches:
    """Match two photos by each run.

    patches: of the first photo; if empty, the ``marks`` patches that move most mass. Raises VprError for a patch
    outside of the grid, and ImageError for a photo that cannot be decoded.
    """
    from vpr.eval.patch_studies.correspondence import heaviest_patches
    from vpr.retrieval.pairs import match_photos

    first, grid = next((name, run.network.config.grid) for name, run in runs.items())
    for row, column in patches:
        if max(row, column) >= grid:
            raise VprError(f"--patch {row},{column}: rows and columns of {first} go from 0 to {grid - 1}")
    matches = {
        name: match_photos(run.network, photos, problem.config(run.calibration), run.device).match
        for name, run in runs.items()
    }
    return PairMatches(photos, matches, patches or heaviest_patches(matches[first], marks))


def _draw_pair(path: Path, pair: PairMatches, crop: Crop) -> dict[str, Any]:
    """Draw a pair of photos, cropped as a model takes them; returns its entry of patches.json."""
    from vpr.base.figures import save
    from vpr.description.photos import read_for_display
    from vpr.eval.patch_studies.correspondence import correspondences, draw_correspondences

    photos = read_for_display(pair.photos[0], crop=crop), read_for_display(pair.photos[1], crop=crop)
    save(draw_correspondences(photos, pair.matches, pair.patches), path, dpi=150)
    by_run = {
        run: [one.as_json() for one in by_patch]
        for run, by_patch in correspondences(pair.matches, pair.patches).items()
    }
    return {"photos": [str(photo) for photo in pair.photos], "correspondences": by_run}


def _write(study: PatchesOptions, images: str, layers: dict[str, list[Layer]], pairs: list[dict[str, Any]]) -> None:
    """Write the numbers as JSON, the layers as CSV, and their figure."""
    import pandas as pd

    rows = [{"network": label, **asdict(layer)} for label, by_layer in layers.items() for layer in by_layer]
    networks = {label: [asdict(layer) for layer in by_layer] for label, by_layer in layers.items()}
    record = {"images": images, "seed": study.seed, "networks": networks, "pairs": pairs}
    write_json(study.out / "patches.json", record)
    with replace_file(study.out / "patches.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    _draw_depths(study.out / "patches.png", layers)


def _draw_depths(path: Path, layers: dict[str, list[Layer]]) -> None:
    """Draw a curve for each network over its relative depth; patch descriptors are hollow, one step deeper."""
    from matplotlib.figure import Figure

    from vpr.base.figures import MORE_COLOURS, save, style

    with style():
        figure = Figure(figsize=(5, 2.8 + 0.2 * len(layers)), layout="constrained")
        axes = figure.subplots()
        for number, (label, by_layer) in enumerate(layers.items()):
            colour, marker = MORE_COLOURS[number % len(MORE_COLOURS)], "osD^v"[number % 5]
            curve = [(layer.depth, layer.similarity, layer.deviation) for layer in by_layer if layer.depth <= 1]
            depths, means, deviations = zip(*curve)
            axes.plot(depths, means, "-", marker=marker, markersize=3.5, color=colour, label=label)
            low, high = ([mean + sign * half for mean, half in zip(means, deviations)] for sign in (-1, 1))
            axes.fill_between(depths, low, high, color=colour, alpha=0.12, linewidth=0)
            for head in (layer for layer in by_layer if layer.depth > 1):
                axes.plot([1, 1.08], [means[-1], head.similarity], ":", color=colour)
                axes.plot(1.08, head.similarity, marker, markersize=5, color=colour, markerfacecolor="white")
        beyond = any(layer.depth > 1 for by_layer in layers.values() for layer in by_layer)
        axes.set_xlabel("depth, as a share of the blocks" + " (hollow: patch descriptors)" * beyond)
        axes.set_ylabel("mean cosine of an image's patches")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
        save(figure, path)


if __name__ == "__main__":
    sys.exit(main())
