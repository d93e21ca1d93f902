"""Mini-retrieval: rendered birds of species that differ in a few traits, made on first use.

python -m datasets.mini_retrieval --out DIR [--layout cub|cars|sop|folders] [--seed N]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import NonNegativeInt, PositiveInt, option, output
from vpr.datasets.labels.layouts import Layout
from vpr.datasets.labels.mini import ensure_mini_retrieval


@dataclass(frozen=True)
class BirdOptions:
    """World."""

    out: Path | None = output(None, "folder of the set; the user's cache folder when left out", "folder")
    layout: Layout = option("folders", "how the images lie")
    seed: NonNegativeInt = option(0, "world number")
    workers: PositiveInt | None = option(None, "rendering processes; one for each core when left out")
    contact_sheet: Path | None = output(
        None, "also draw images (columns) of some species (rows) into this .png", "figure"
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    meaning = "Render mini-retrieval, birds of many species in the layout of an image retrieval set."
    return run_command("datasets.mini_retrieval", meaning, [BirdOptions], _work, argv)


def _work(options: BirdOptions) -> None:
    from vpr.datasets.bird_world.sheet import write_contact_sheet
    from vpr.datasets.labels import load

    root = ensure_mini_retrieval(options.out, options.layout, options.seed, options.workers)
    halves = load(options.layout, root)
    for name, side in (("train", halves.training), ("test", halves.testing)):
        print(f"{name:<6} {len(set(side.classes.tolist())):>4} classes {len(side.files):>6} images")
    if options.contact_sheet:
        write_contact_sheet(halves.testing, options.contact_sheet)
        print(f"contact sheet: {options.contact_sheet}")
    print(root)


if __name__ == "__main__":
    sys.exit(main())
