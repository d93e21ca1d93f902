"""``python -m eval.patches``: how alike the patches of an image are by depth, and where the mass of a patch goes.

Writes patches.json, .csv and .png, and for each ``--pair`` of photos a figure pairN.png.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.files import replacing, write_json
from vpr.base.machine import Device, choose_device
from vpr.base.settings import Names, NonNegativeInt, PositiveInt, option, repeated
from vpr.datasets.msls.options import DatasetOptions
from vpr.eval.tables import show
from vpr.retrieval.settings import ProblemOptions

if TYPE_CHECKING:
    import torch

    from vpr.eval.correspondence import Place
    from vpr.eval.depth import Layer, Network
    from vpr.models.settings import Crop
    from vpr.models.structural import StructuralModel
    from vpr.retrieval.matching import Match

    Told = tuple[dict[str, Match], list[Place]]

DEFAULT_RUN = "runs/distill"


@dataclass(frozen=True)
class PatchesOptions:
    """Study."""

    run: Names = repeated(Names(), f"run folders of structural models, or 'builtin' (default: {DEFAULT_RUN})")
    model: Names = repeated(Names(), "timm networks by name")
    weights: str = option("", "of --model: 'imagenet', or a .safetensors or .pth file; random ones if left out")
    image_size: NonNegativeInt = option(0, "input height and width of --model, pixels; 0: what it was made for")
    images: PositiveInt = option(64, "images that are averaged over, drawn by the seed")
    photos: Path | None = option(None, "a photo, or a folder of photos, to take them from, instead of the dataset")
    pair: Names = repeated(Names(), "A.jpg,B.jpg: draw where the mass of patches of A goes in B")
    patch: Names = repeated(Names(), "ROW,COLUMN of a patch of A, from 0; the weightiest ones if left out")
    marks: PositiveInt = option(3, "how many of the weightiest patches")
    seed: NonNegativeInt = option(0, "of the images, and of random weights")
    out: Path = option(Path("runs/patches"), "folder of the table and the figures")
    device: Device = option("auto", "where to compute")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Similarity of an image's patches by depth, and semantic correspondence."
    return run_command("eval.patches", about, [PatchesOptions, DatasetOptions, ProblemOptions], _work, argv)


def _work(study: PatchesOptions, dataset: DatasetOptions, problem: ProblemOptions) -> None:
    from vpr.eval.networks import of_name, of_run
    from vpr.models.loading import load_student

    pairs, patches = _pairs(study), _patches(study)
    device = choose_device(study.device)
    runs = study.run or (() if study.model else (DEFAULT_RUN,))
    if pairs and not runs:
        raise VprError("--pair goes by the patch descriptors of a run; pass --run too")
    models = {run: load_student(Path(run), device) for run in runs}
    networks = [of_run(run, model) for run, model in models.items()]
    networks += [of_name(name, study.weights, study.image_size, study.seed, device) for name in study.model]
    crops: set[Crop] = {model.crop for model in models.values()}
    if pairs and len(crops) > 1:
        raise VprError("--pair: the runs see different parts of a photo (--crop); give them one by one")
    told = [_told(pair, models, patches, study.marks, problem) for pair in pairs]
    root, files = _images(study, dataset)
    said = f"{len(files)} images of {study.photos or root}"
    show(said)
    layers = {network.label: _measured(network, root, files, device) for network in networks}
    drawn = [
        _draw_pair(study.out / f"pair{number}.png", *pair, *crops) for number, pair in enumerate(zip(pairs, told), 1)
    ]
    _write(study.out, {"images": said, "seed": study.seed}, layers, drawn)
    show(f"written: {study.out}/patches.json, .csv, .png" + "".join(f", pair{n + 1}.png" for n in range(len(pairs))))


def _pairs(study: PatchesOptions) -> list[tuple[Path, Path]]:
    """The pairs of photos; raises VprError for files that are missing."""
    from vpr.retrieval.pairs import require_files

    if len(study.pair) % 2:
        raise VprError(f"--pair: give two photos, A.jpg,B.jpg, and not {','.join(study.pair)}")
    require_files(tuple(Path(photo) for photo in study.pair))
    return [(Path(first), Path(second)) for first, second in zip(study.pair[::2], study.pair[1::2])]


def _patches(study: PatchesOptions) -> list[Place]:
    """The chosen patches; raises VprError for what is no row and column."""
    given = ",".join(study.patch)
    if study.patch and not study.pair:
        raise VprError(f"--patch {given} is of the first photo of a --pair; pass --pair A.jpg,B.jpg too")
    if len(study.patch) % 2 or not all(number.isdecimal() and number.isascii() for number in study.patch):
        raise VprError(f"--patch: {given!r} is no ROW,COLUMN")
    return [(int(row), int(column)) for row, column in zip(study.patch[::2], study.patch[1::2])]


def _images(study: PatchesOptions, dataset: DatasetOptions) -> tuple[Path, list[str]]:
    """A root, and files under it, drawn by the seed; raises VprError where there are none."""
    import numpy as np

    from vpr.description.shown import photos_in

    if study.photos is not None and dataset.data is not None:
        raise VprError("--photos and --data: give one of them")
    if study.photos is not None:
        root, files = Path(), [str(path) for path in photos_in(study.photos)]
    else:
        data = dataset.load().retrieval_set
        root, files = data.root, np.unique(np.concatenate([data.queries.images, data.database.images], None)).tolist()
    chosen = np.random.default_rng(study.seed).permutation(len(files))[: study.images]
    return root, [files[number] for number in sorted(chosen.tolist())]


def _measured(network: Network, root: Path, files: list[str], device: torch.device) -> list[Layer]:
    """The layers of one network, which are said."""
    from vpr.description.images import ImageFiles
    from vpr.eval.depth import similarity_by_depth

    layers = similarity_by_depth(
        network, ImageFiles(root, files, (network.side, network.side), crop=network.crop), device
    )
    blocks = [layer for layer in layers if layer.depth <= 1]
    ends = f"{blocks[0].similarity:.3f} after the first, {blocks[-1].similarity:.3f} after the last"
    head = "".join(f", {layer.similarity:.3f} of the patch descriptors" for layer in layers if layer.depth > 1)
    show(f"{network.label}, {network.side} pixels: {len(blocks)} blocks, similarity {ends}{head}")
    return layers


def _told(pair: tuple[Path, Path], models: dict[str, StructuralModel], patches: list[Place], marks: int,
          problem: ProblemOptions) -> Told:  # fmt: skip
    """The match of two photos by each run, and the patches to look at, on the grid of the first run.

    Raises VprError for a patch that lies outside, and for what is no image.
    """
    from vpr.eval.correspondence import weightiest
    from vpr.retrieval.calibration import calibration_of
    from vpr.retrieval.pairs import match_photos

    run, model = next(iter(models.items()))
    for row, column in patches:
        if max(row, column) >= model.config.grid:
            last = model.config.grid - 1
            raise VprError(f"--patch {row},{column}: rows and columns of {run} go from 0 to {last}")
    matches = {}
    for run, model in models.items():
        config, device = problem.config(calibration_of(Path(run))), next(model.parameters()).device
        matches[run] = match_photos(model, pair, config, device).match
    return matches, patches or weightiest(next(iter(matches.values())), marks)


def _draw_pair(path: Path, pair: tuple[Path, Path], told: Told, crop: Crop) -> dict[str, Any]:
    """Draw one pair of photos as a model with this crop sees them; returns what patches.json holds of it."""
    from vpr.base.figures import save
    from vpr.description.shown import read_shown
    from vpr.eval.correspondence import correspondences, draw_correspondences

    photos = read_shown(pair[0], crop=crop), read_shown(pair[1], crop=crop)
    save(draw_correspondences(photos, *told), path, dpi=150)
    found = {run: [one.as_json() for one in of_run] for run, of_run in correspondences(*told).items()}
    return {"photos": [str(photo) for photo in pair], "correspondences": found}


def _write(out: Path, said: dict[str, Any], layers: dict[str, list[Layer]], pairs: list[dict[str, Any]]) -> None:
    """The numbers as JSON, the layers as CSV, and their figure."""
    import pandas as pd

    rows = [{"network": label, **asdict(layer)} for label, found in layers.items() for layer in found]
    by_network = {label: [asdict(layer) for layer in found] for label, found in layers.items()}
    write_json(out / "patches.json", {**said, "networks": by_network, "pairs": pairs})
    with replacing(out / "patches.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    _draw_depths(out / "patches.png", layers)


def _draw_depths(path: Path, layers: dict[str, list[Layer]]) -> None:
    """A curve for each network over its relative depth; the patch descriptors of a run hollow, one step beyond."""
    from matplotlib.figure import Figure

    from vpr.base.figures import MORE_COLOURS, save, style

    with style():
        figure = Figure(figsize=(5, 2.8 + 0.2 * len(layers)), layout="constrained")
        axes = figure.subplots()
        for number, (label, found) in enumerate(layers.items()):
            colour, marker = MORE_COLOURS[number % len(MORE_COLOURS)], "osD^v"[number % 5]
            curve = [(layer.depth, layer.similarity, layer.deviation) for layer in found if layer.depth <= 1]
            depths, means, deviations = zip(*curve)
            axes.plot(depths, means, "-", marker=marker, markersize=3.5, color=colour, label=label)
            low, high = ([mean + sign * by for mean, by in zip(means, deviations)] for sign in (-1, 1))
            axes.fill_between(depths, low, high, color=colour, alpha=0.12, linewidth=0)
            for head in (layer for layer in found if layer.depth > 1):
                axes.plot([1, 1.08], [means[-1], head.similarity], ":", color=colour)
                axes.plot(1.08, head.similarity, marker, markersize=5, color=colour, markerfacecolor="white")
        beyond = any(layer.depth > 1 for found in layers.values() for layer in found)
        axes.set_xlabel("depth, as a share of the blocks" + " (hollow: patch descriptors)" * beyond)
        axes.set_ylabel("mean cosine of an image's patches")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
        save(figure, path)


if __name__ == "__main__":
    sys.exit(main())
