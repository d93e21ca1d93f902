"""``python -m tools.geometry_picture``: the picture of docs/reference/geometry.md, of a right and of a wrong pair.

It draws the grid of the query's patches, and where the map that its matches follow places it in a photo of the same
place, and in one of another place.
"""

import argparse
from pathlib import Path

import torch

from vpr.base.figures import save, style
from vpr.description.photos import read_for_display
from vpr.retrieval.drawing import draw_map, photo_grid, show_photo
from vpr.retrieval.pairs import match_photos
from vpr.run import load

CPU = torch.device("cpu")
EXAMPLE = Path("docs/example")


def main() -> None:
    """Match both pairs, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--query", type=Path, default=EXAMPLE / "a.jpg")
    parser.add_argument("--right", type=Path, default=EXAMPLE / "b.jpg")
    parser.add_argument("--wrong", type=Path, default=EXAMPLE / "photos/47.jpg")
    parser.add_argument("--out", type=Path, default=Path("docs/images/geometry.png"))
    options = parser.parse_args()
    run = load("builtin", CPU)
    names = options.query, options.right, options.wrong
    photos = [read_for_display(path, crop=run.network.crop) for path in names]
    config = run.calibration.config()
    pairs = [match_photos(run.network, (options.query, path), config, CPU).match for path in names[1:]]
    with style():
        figure, axes = photo_grid(tuple(photos), [""])
        for part, photo in zip(axes[0], photos):
            show_photo(part, photo)
        for place, match in enumerate(pairs, 1):
            geometry = match.geometry
            if geometry is None:
                raise SystemExit("the patches of the model are no square grid")
            shown = (axes[0][0], axes[0][place]), (photos[0], photos[place])
            draw_map(*shown, geometry.transform[0], match.plan.shape)
            title = f"{'another place' if place > 1 else 'the same place'}   geometry {geometry.score[0]:.2f}"
            axes[0][place].set_title(title, loc="left", fontsize=9, pad=3)
            print(f"{names[place]}: S_struct {match.score:.3f}, geometry {geometry.score[0]:.2f}")
        axes[0][0].set_title("query", loc="left", fontsize=9, pad=3)
    save(figure, options.out, dpi=70)


if __name__ == "__main__":
    main()
