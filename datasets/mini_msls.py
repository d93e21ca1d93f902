"""Mini-MSLS: a rendered street world in the MSLS layout, made on first use.

python -m datasets.mini_msls --out DIR [--scale small|medium|large] [--seed N]
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import NonNegativeInt, PositiveInt, option, output
from vpr.datasets.default import Scale, ensure_mini_msls


@dataclass(frozen=True)
class MiniOptions:
    """World."""

    out: Path | None = output(None, "folder of the tree; the user's cache folder when left out", "folder")
    scale: Scale = option("small", "number of streets: x1, x4, x16")
    seed: NonNegativeInt = option(0, "world number")
    workers: PositiveInt | None = option(None, "rendering processes; one for each core when left out")
    contact_sheet: Path | None = output(
        None, "also draw places (rows) under their traverses (columns) into this .png", "figure"
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(
        "datasets.mini_msls", "Render mini-MSLS, a street world in the MSLS layout.", [MiniOptions], _work, argv
    )


def _work(options: MiniOptions) -> None:
    from vpr.datasets.street_world.config import scale_config
    from vpr.datasets.street_world.rendering import tree_of
    from vpr.datasets.street_world.sheet import write_contact_sheet

    root = ensure_mini_msls(options.out, options.scale, options.seed, options.workers)
    manifest = tree_of(root, scale_config(options.scale, options.seed)).manifest
    counts = json.loads(manifest.read_text())["counts"]
    for city, sides in counts.items():
        print(f"{city:<12} {sides['database']:>6} database {sides['query']:>6} query")
    if options.contact_sheet:
        write_contact_sheet(root, options.contact_sheet, scale_config(options.scale, options.seed))
        print(f"contact sheet: {options.contact_sheet}")
    print(root)


if __name__ == "__main__":
    sys.exit(main())
