"""A city of altered views of photographs, in the MSLS layout.

python -m datasets.photo_views --photos DIR --out TREE [--views N]
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpr.base.command import run_command
from vpr.base.settings import PositiveInt, option, required, required_output


@dataclass(frozen=True)
class ViewOptions:
    """Views."""

    photos: Path = required("folder of photographs; its subfolders are searched too")
    out: Path = required_output("root of an MSLS tree, new or existing, to which the city is added", "folder")
    city: str = option("photos", "name of the city")
    places: PositiveInt = option(1200, "places, at most; each is a square of a photograph")
    change: Literal["viewpoint", "time"] = option(
        "viewpoint", "how queries differ: seen from elsewhere in other light, or by the same camera at another time"
    )
    views: PositiveInt = option(1, "queries of a place")
    size: PositiveInt = option(160, "side of a view, pixels")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    meaning = "Make a city of altered views of photographs, in the MSLS layout."
    return run_command("datasets.photo_views", meaning, [ViewOptions], _work, argv)


def _work(options: ViewOptions) -> None:
    from vpr.datasets.view_city import ViewCity

    city = ViewCity(options.photos, options.places, options.views, options.size, options.change)
    places = city.write(options.out, options.city)
    print(f"{options.city:<12} {places:>6} database {places * options.views:>6} query")
    print(options.out)


if __name__ == "__main__":
    sys.exit(main())
