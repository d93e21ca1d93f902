"""The dataset of a command: that of ``--data``, or mini-MSLS, rendered on first use."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from vpr.base.files import cache_folder

Scale = Literal["small", "medium", "large"]
MANIFEST = "mini_msls.json"  # in a complete rendered tree
PARTIAL_MANIFEST = "mini_msls.partial.json"  # in a tree that is not yet complete
log = logging.getLogger("vpr")


def data_root(data: Path | None, cities: Sequence[str] | None = None, official: Sequence[str] = ()) -> Path:
    """The root of ``--data``; without it the root of mini-MSLS, which the log names.

    cities: the cities of mini-MSLS to render; None renders all. official: more cities, ignored if mini-MSLS lacks
    them. If ``data`` is an incomplete mini-MSLS, its cities are rendered in the same way.
    Raises DatasetError if mini-MSLS cannot be rendered or lacks a city.
    """
    if data is not None:
        settings = _partial_settings(data)
        return data if settings is None else ensure_mini_msls(data, *settings, cities=cities, official=official)
    root = ensure_mini_msls(cities=cities, official=official)
    log.info("data: mini-MSLS at %s (pass --data for another MSLS tree)", root)
    return root


def is_mini_msls(root: Path) -> bool:
    """Whether a tree is a rendered one, complete or not."""
    return any((root / marker).exists() for marker in (MANIFEST, PARTIAL_MANIFEST))


def _partial_settings(root: Path) -> tuple[Scale, int] | None:
    """Scale and seed of an incomplete mini-MSLS; None for any other folder."""
    try:
        config = json.loads((root / PARTIAL_MANIFEST).read_text(encoding="utf-8"))["config"]
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
    """The folder of mini-MSLS; missing images of the wanted cities are rendered first.

    out: the folder; None takes one in the user's cache folder (or that of VPR_CACHE_DIR). seed: number of the world.
    workers: rendering processes; None takes one for each usable core. cities, official: as in `data_root`. Raises
    DatasetError for an unknown scale or city, or if ``out`` holds something else.
    """
    from vpr.datasets.street_world.config import VERSION, scale_config
    from vpr.datasets.street_world.rendering import render

    folder = cache_folder("mini_msls") / f"{scale}-{seed}-v{VERSION}" if out is None else Path(out)
    config = scale_config(scale, seed)
    if cities is not None:
        known = {plan.name for plan in config.cities}
        cities = [*cities, *(name for name in official if name in known)]
    return render(config, folder, workers, cities)
