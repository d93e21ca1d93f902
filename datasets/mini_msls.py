"""Mini-MSLS: a rendered street world in the MSLS layout, made on first use.

python -m datasets.mini_msls --out DIR [--scale small|medium|large] [--seed N] [--textures FOLDER]
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import NonNegativeInt, PositiveInt, option, output
from vpr.datasets.default_data import SIZE, Scale, ensure_mini_msls, world_config


@dataclass(frozen=True)
class MiniOptions:
    """World."""

    out: Path | None = output(None, "folder of the tree; default: in the user's cache folder", "folder")
    scale: Scale = option("small", "number of streets: 1, 4 or 16 times")
    seed: NonNegativeInt = option(0, "random seed; another seed renders another world")
    size: PositiveInt = option(SIZE, "side of an image, pixels")
    textures: Path | None = option(
        None, "folder of photographed surfaces, made by datasets.textures; default: all surfaces are drawn"
    )
    workers: PositiveInt | None = option(None, "rendering processes; default: one for each core")
    contact_sheet: Path | None = output(
        None, "also draw places (rows) in their traverses (columns) into this .png file", "figure"
    )


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(
        "datasets.mini_msls", "Render mini-MSLS, a street world in the MSLS layout.", [MiniOptions], _work, argv
    )


def _work(options: MiniOptions) -> None:
    from vpr.datasets.street_world.rendering import world_folder
    from vpr.datasets.street_world.sheet import write_contact_sheet

    world = world_config(options.scale, options.seed, options.size, options.textures)
    root = ensure_mini_msls(
        options.out, options.scale, options.seed, options.workers, size=options.size, textures=options.textures
    )
    manifest = world_folder(root, world).manifest
    counts = json.loads(manifest.read_text())["counts"]
    for city, sides in counts.items():
        print(f"{city:<12} {sides['database']:>6} database {sides['query']:>6} query")
    if options.contact_sheet:
        write_contact_sheet(root, options.contact_sheet, world)
        print(f"contact sheet: {options.contact_sheet}")
    print(root)


if __name__ == "__main__":
    sys.exit(main())
