"""Mini-MSLS: a rendered street world in the MSLS layout, made on first use.

    python -m datasets.mini_msls --out DIR [--scale small|medium|large] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from datasets.errors import DatasetError
from datasets.street_world.config import SCALES, VERSION, MiniConfig, scale_config, tiny_config
from datasets.street_world.pool import cache_base
from datasets.street_world.sheet import write_contact_sheet
from datasets.street_world.tree import MANIFEST, render

__all__ = ["MiniConfig", "default_folder", "ensure_mini_msls", "main", "render", "scale_config", "tiny_config"]


def default_folder(scale: str, seed: int) -> Path:
    """Return the folder of a world in the user's cache; the variable VPR_CACHE_DIR moves that cache."""
    return cache_base() / "mini_msls" / f"{scale}-{seed}-v{VERSION}"


def ensure_mini_msls(out: Path | None = None, scale: str = "small", seed: int = 0, workers: int | None = None,
                     progress: bool = True) -> Path:
    """Return the folder of a complete tree, rendering it (or what is missing of it) first.

    Args:
        out: folder; None takes `default_folder`.
        scale: small, medium or large.
        seed: world number, not negative.
        workers: rendering processes; None takes one for each usable core.
        progress: show a progress bar on stderr.

    Raises:
        DatasetError: unknown scale, or `out` holds something else.
    """
    config = scale_config(scale, seed)
    return render(config, Path(out) if out is not None else default_folder(scale, seed), workers, progress)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m datasets.mini_msls", description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the tree; without it, the user's cache folder")
    parser.add_argument("--scale", choices=list(SCALES), default="small", help="number of streets: x1, x4, x16")
    parser.add_argument("--seed", type=int, default=0, help="world number")
    parser.add_argument("--workers", type=int, help="rendering processes; without it, one for each core")
    parser.add_argument("--contact-sheet", type=Path, metavar="FILE.png",
                        help="also draw places (rows) under their traverses (columns)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parse_arguments(argv)
    try:
        root = ensure_mini_msls(args.out, args.scale, args.seed, args.workers)
        counts = json.loads((root / MANIFEST).read_text())["counts"]
        for city, sides in counts.items():
            print(f"{city:<12} {sides['database']:>6} database {sides['query']:>6} query")
        if args.contact_sheet:
            write_contact_sheet(root, args.contact_sheet, scale_config(args.scale, args.seed))
            print(f"contact sheet: {args.contact_sheet}")
        print(root)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return 130
    except (DatasetError, OSError) as error:
        if args.debug:
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
