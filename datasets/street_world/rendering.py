"""A whole tree on disk: begun, continued, completed, or refused because it is another one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from datasets.errors import DatasetError
from datasets.rendered import Rendered
from datasets.street_world.config import MiniConfig
from datasets.street_world.pool import render_units
from datasets.street_world.tables import write_tables
from vpr.base.machine import usable_cores
from vpr.base.progress import progress


def tree_of(root: Path, config: MiniConfig) -> Rendered:
    """The folder that holds, or is going to hold, this world."""
    return Rendered(root, "mini-MSLS", config.identity())


def make_folders(root: Path, config: MiniConfig) -> None:
    """Write the note of what the tree is going to be, and make its folders."""
    tree_of(root, config).begin()
    for plan in config.cities:
        for side in ("query", "database"):
            images = root / plan.part / plan.name / side / "images"
            images.mkdir(parents=True, exist_ok=True)


def tree_digest(root: Path) -> str:
    """SHA-256 over the names and bytes of all images and tables; what killed writers left is removed."""
    digest = hashlib.sha256()
    for path in sorted(path for part in ("test", "train_val") for path in (root / part).rglob("*") if path.is_file()):
        if path.name.startswith("."):
            path.unlink(missing_ok=True)
            continue
        digest.update(str(path.relative_to(root)).encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def render(config: MiniConfig, root: Path, workers: int | None = None) -> Path:
    """Render the world into `root`, or continue where an earlier run stopped; return `root`.

    Args:
        config: the world.
        root: folder of the tree; created when missing.
        workers: rendering processes; None takes one for each usable core.

    Raises:
        DatasetError: `root` holds something else, or a rendering process failed.
    """
    root = Path(root)
    if workers is not None and workers < 1:
        raise DatasetError(f"at least one worker is needed: {workers}")
    tree = tree_of(root, config)
    if tree.is_complete():
        tree.begun.unlink(missing_ok=True)  # a kill may have come just before
        return root
    make_folders(root, config)
    units = [(city, street) for city, plan in enumerate(config.cities) for street in range(plan.streets + plan.strays)]
    processes = workers or usable_cores()
    with progress(total=len(units), unit="street", title="mini-MSLS") as bar:
        render_units(config, root.resolve(), units, processes, lambda images: bar.update())
    counts = write_tables(root, config)
    tree.finish({"counts": counts, "digest": tree_digest(root)})
    return root
