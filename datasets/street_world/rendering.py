"""Renders a tree, or some of its cities, into a folder; an interrupted rendering continues."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from vpr.base.machine import usable_cores
from vpr.base.progress import progress
from vpr.datasets.errors import DatasetError
from vpr.datasets.rendered_folder import RenderedFolder
from vpr.datasets.street_world.config import CityPlan, MiniConfig
from vpr.datasets.street_world.pool import render_units
from vpr.datasets.street_world.tables import count_images, is_rendered, write_tables


def world_folder(root: Path, config: MiniConfig) -> RenderedFolder:
    """The folder of this world, with its manifests."""
    return RenderedFolder(root, "mini-MSLS", config.identity())


def make_folders(root: Path, config: MiniConfig, cities: Sequence[CityPlan]) -> None:
    """Write the partial manifest of the tree, and make the folders of some of its cities."""
    world_folder(root, config).begin({"textures": config.textures} if config.textures else None)
    for plan in cities:
        for side in ("query", "database"):
            images = root / plan.part / plan.name / side / "images"
            images.mkdir(parents=True, exist_ok=True)


def tree_digest(root: Path) -> str:
    """SHA-256 over the names and bytes of all images and tables. Files that killed processes left are removed."""
    digest = hashlib.sha256()
    for path in sorted(path for part in ("test", "train_val") for path in (root / part).rglob("*") if path.is_file()):
        if path.name.startswith("."):
            path.unlink(missing_ok=True)
            continue
        digest.update(str(path.relative_to(root)).encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def render(config: MiniConfig, root: Path, workers: int | None = None, cities: Sequence[str] | None = None) -> Path:
    """Render the world into `root`, or continue where an earlier run stopped; return `root`.

    Args:
        config: the world.
        root: folder of the tree; created if missing.
        workers: rendering processes; None takes one for each usable core.
        cities: names of the cities to render; the others stay as they are. None takes all.

    Raises:
        DatasetError: `root` holds something else, the world lacks a city, or a rendering process failed.
    """
    root = Path(root)
    if workers is not None and workers < 1:
        raise DatasetError(f"at least one worker is needed: {workers}")
    tree, wanted = world_folder(root, config), _select_plans(config, cities)
    if tree.is_complete():
        tree.partial_manifest.unlink(missing_ok=True)  # an earlier run may have been killed before it did this
        return root
    todo = [plan for plan in wanted if not is_rendered(root, plan)]
    if todo:
        make_folders(root, config, todo)
        units = [
            (number, street)
            for number, plan in enumerate(config.cities) if plan in todo
            for street in range(plan.streets + plan.strays)
        ]  # fmt: skip
        title = f"rendering mini-MSLS ({', '.join(plan.name for plan in todo)})"
        with progress(total=len(units), unit="street", title=title) as bar:
            render_units(config, root.resolve(), units, workers or usable_cores(), lambda images: bar.update())
        for plan in todo:
            write_tables(root, config, plan)
    if all(is_rendered(root, plan) for plan in config.cities):
        tree.finish({"counts": count_images(root, config), "digest": tree_digest(root)})
    return root


def _select_plans(config: MiniConfig, cities: Sequence[str] | None) -> list[CityPlan]:
    """The plans of the cities of these names; raises DatasetError for one that the world lacks."""
    plans = {plan.name: plan for plan in config.cities}
    if cities is None:
        return [*plans.values()]
    if unknown := [name for name in cities if name not in plans]:
        raise DatasetError(f"mini-MSLS has no city '{unknown[0]}'; it holds {', '.join(plans)}")
    return [plan for name, plan in plans.items() if name in cities]
