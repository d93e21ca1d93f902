"""A whole tree on disk: begun, continued, completed, or refused because it is another one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from datasets.errors import DatasetError
from datasets.street_world.config import MiniConfig
from datasets.street_world.pool import render_units
from datasets.street_world.tables import write_tables
from vpr.base.files import write_json
from vpr.base.machine import usable_cores
from vpr.base.progress import progress

MANIFEST = "mini_msls.json"  # its presence says that the tree is complete
BEGUN = "mini_msls.partial.json"  # what an unfinished tree is going to be


def read_identity(path: Path) -> dict | None:
    """The identity in a manifest, or None without the file.

    Raises:
        DatasetError: the file is not a manifest.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())["config"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise DatasetError(f"{path} is not a mini-MSLS manifest; remove its folder or choose another --out") from None


def check_folder(root: Path, config: MiniConfig) -> bool:
    """Whether the tree is complete already; a folder that holds anything else is refused.

    Raises:
        DatasetError: the folder holds another world, or files that this generator did not write.
    """
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root} is a file; choose a folder for --out")
    wanted = json.loads(json.dumps(config.identity()))
    for name in (MANIFEST, BEGUN):
        found = read_identity(root / name)
        if found is not None and found != wanted:
            raise DatasetError(
                f"{root} holds mini-MSLS scale {found.get('scale')} seed {found.get('seed')} version "
                f"{found.get('version')}, this run wants scale {config.scale} seed {config.seed} version "
                f"{wanted['version']}; choose another --out or remove that folder"
            )
        if found is not None:
            return name == MANIFEST
    if root.exists() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise DatasetError(f"{root} is not empty and not a mini-MSLS tree; choose an empty or new folder for --out")
    return False


def make_folders(root: Path, config: MiniConfig) -> None:
    """Write the note of what the tree is going to be, without which it would be a stranger's, and make its folders."""
    write_json(root / BEGUN, {"config": config.identity()})
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
    if check_folder(root, config):
        (root / BEGUN).unlink(missing_ok=True)  # a kill may have come just before
        return root
    make_folders(root, config)
    units = [(city, street) for city, plan in enumerate(config.cities) for street in range(plan.streets + plan.strays)]
    processes = workers or usable_cores()
    with progress(total=len(units), unit="street", title="mini-MSLS") as bar:
        render_units(config, root.resolve(), units, processes, lambda images: bar.update())
    counts = write_tables(root, config)
    manifest = {"config": config.identity(), "counts": counts, "digest": tree_digest(root)}
    write_json(root / MANIFEST, manifest)
    (root / BEGUN).unlink(missing_ok=True)
    return root
