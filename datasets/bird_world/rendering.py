"""Mini-retrieval on disk, in one of the layouts of the published sets."""

from __future__ import annotations

from pathlib import Path

from joblib import Parallel, delayed

from vpr.base.files import write_bytes
from vpr.base.machine import usable_cores
from vpr.base.progress import progress
from vpr.datasets.bird_world.config import BirdConfig
from vpr.datasets.bird_world.scene import photograph
from vpr.datasets.bird_world.species import make_species
from vpr.datasets.labels.layouts import CUB_FOLDER, CUB_TRAIN, SOP_TABLES
from vpr.datasets.rendered_folder import RenderedFolder
from vpr.datasets.street_world.seeds import rng_for


def render(config: BirdConfig, root: Path, workers: int | None = None) -> Path:
    """Render the set into ``root``, or continue where an earlier run stopped; returns ``root``.

    workers: processes; None takes one for each usable core. Raises DatasetError if ``root`` holds something else.
    """
    tree = RenderedFolder(Path(root), "mini-retrieval", config.identity())
    if tree.is_complete():
        tree.partial_manifest.unlink(missing_ok=True)  # an earlier run may have been killed before it did this
        return tree.root
    tree.begin()
    jobs = (delayed(render_class)(config, tree.root, number) for number in range(config.classes))
    results = Parallel(workers or usable_cores(), return_as="generator")(jobs)
    for _ in progress(results, total=config.classes, unit="class", title="mini-retrieval"):
        pass
    if config.layout == "sop":
        _write_tables(config, tree.root)
    tree.finish({"classes": config.classes, "images": config.classes * config.images})
    return tree.root


def render_class(config: BirdConfig, root: Path, number: int) -> None:
    """Render the missing images of a class, each atomically."""
    species = make_species(config.seed, number)
    for image in range(config.images):
        path = root / image_path(config, number, image)
        if not path.exists():
            write_bytes(path, photograph(species, config.size, rng_for(config.seed, "photo", number, image)))


def is_training(config: BirdConfig, number: int) -> bool:
    """Whether a class is one of the training half."""
    return number < config.classes // 2


def image_path(config: BirdConfig, number: int, image: int) -> str:
    """The path of an image in the layout."""
    name, half = f"bird_{number:03d}", config.classes // 2
    if config.layout == "cub":  # which half a class belongs to follows from its number
        order = number + 1 if number < half else CUB_TRAIN + number - half + 1
        return f"{CUB_FOLDER}/images/{order:03d}.{name}/{name}_{image:04d}.jpg"
    if config.layout == "sop":
        return f"birds_final/{name}_{image}.jpg"
    folder = "images/" if config.layout == "cars" else ""
    return f"{folder}{name}/{image:05d}.jpg"


def _write_tables(config: BirdConfig, root: Path) -> None:
    """The two tables of Online Products."""
    for table, wanted in zip(SOP_TABLES, (True, False)):
        rows = [
            f"{1 + number * config.images + image} {1 + number} {1 + number // 4} {image_path(config, number, image)}"
            for number in range(config.classes)
            for image in range(config.images)
            if is_training(config, number) == wanted
        ]
        content = "\n".join(["image_id class_id super_class_id path", *rows]) + "\n"
        write_bytes(root / table, content.encode())
