"""The dataset of a command: the one that is named, or mini-MSLS, rendered on first use."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from vpr.base.files import cache_folder

Scale = Literal["small", "medium", "large"]
NOTE = "mini_msls.partial.json"  # in a tree that is not complete
log = logging.getLogger("vpr")


def data_root(data: Path | None, cities: Sequence[str] | None = None, official: Sequence[str] = ()) -> Path:
    """The root of the MSLS tree that ``--data`` names; without one mini-MSLS, and the log says so.

    cities: the cities of mini-MSLS to render; None renders all. official: more of them, left out if mini-MSLS lacks
    them. If ``data`` is a mini-MSLS that is not complete, its cities are rendered in the same way.
    Raises DatasetError when mini-MSLS cannot be rendered or lacks a city.
    """
    if data is not None:
        begun = _begun(data)
        return data if begun is None else ensure_mini_msls(data, *begun, cities=cities, official=official)
    root = ensure_mini_msls(cities=cities, official=official)
    log.info("data: mini-MSLS at %s (pass --data for another MSLS tree)", root)
    return root


def _begun(root: Path) -> tuple[Scale, int] | None:
    """Scale and seed of a mini-MSLS that is not complete; None for any other folder."""
    try:
        config = json.loads((root / NOTE).read_text(encoding="utf-8"))["config"]
        return (config["scale"], config["seed"]) if config["scale"] in get_args(Scale) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def ensure_mini_msls(
    out: Path | None = None,
    scale: Scale = "small",
    seed: int = 0,
    workers: int | None = None,
    cities: Sequence[str] | None = None,
    official: Sequence[str] = (),
) -> Path:
    """The folder of mini-MSLS; what is missing of the wanted cities is rendered first.

    out: the folder; None takes one in the user's cache, which the variable VPR_CACHE_DIR moves. seed: number of the
    world. workers: rendering processes; None takes one for each usable core. cities, official: as in `data_root`.
    Raises DatasetError for an unknown scale or city, and when ``out`` holds something else.
    """
    from vpr.datasets.street_world.config import VERSION, scale_config
    from vpr.datasets.street_world.rendering import render

    folder = cache_folder("mini_msls") / f"{scale}-{seed}-v{VERSION}" if out is None else Path(out)
    config = scale_config(scale, seed)
    if cities is not None:
        there = {plan.name for plan in config.cities}
        cities = [*cities, *(name for name in official if name in there)]
    return render(config, folder, workers, cities)
