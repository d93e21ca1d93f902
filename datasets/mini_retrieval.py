"""Mini-retrieval: rendered birds of species that differ in a few traits, made on first use.

python -m datasets.mini_retrieval --out DIR [--layout cub|cars|sop|folders] [--seed N]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import NonNegativeInt, PositiveInt, option, output
from vpr.datasets.labels.default_data import ensure_mini_retrieval
from vpr.datasets.labels.layouts import Layout


@dataclass(frozen=True)
class BirdOptions:
    """World."""

    out: Path | None = output(None, "folder of the set; default: in the user's cache folder", "folder")
    layout: Layout = option(
        "folders", "layout to write: that of CUB-200-2011, Cars-196 or Online Products (sop), or class folders"
    )
    seed: NonNegativeInt = option(0, "random seed; another seed renders other birds")
    workers: PositiveInt | None = option(None, "rendering processes; default: one for each core")
    contact_sheet: Path | None = output(
        None, "also draw images (columns) of some species (rows) into this .png file", "figure"
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    meaning = "Render mini-retrieval, birds of many species in the layout of an image retrieval set."
    return run_command("datasets.mini_retrieval", meaning, [BirdOptions], _work, argv)


def _work(options: BirdOptions) -> None:
    from vpr.datasets.bird_world.sheet import write_contact_sheet
    from vpr.datasets.labels import load

    root = ensure_mini_retrieval(options.out, options.layout, options.seed, options.workers)
    split = load(options.layout, root)
    for name, side in (("train", split.training), ("test", split.testing)):
        print(f"{name:<6} {len(set(side.classes.tolist())):>4} classes {len(side.files):>6} images")
    if options.contact_sheet:
        write_contact_sheet(split.testing, options.contact_sheet)
        print(f"contact sheet: {options.contact_sheet}")
    print(root)


if __name__ == "__main__":
    sys.exit(main())
