"""The dataset of a command: that of ``--data``, or mini-MSLS, rendered on first use."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from vpr.base.files import cache_folder

if TYPE_CHECKING:
    from vpr.datasets.street_world.config import MiniConfig

Scale = Literal["small", "medium", "large"]
SIZE = 112  # side of an image, pixels
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
        return data if settings is None else ensure_mini_msls(data, **settings, cities=cities, official=official)
    root = ensure_mini_msls(cities=cities, official=official)
    log.info("data: mini-MSLS at %s (pass --data for another MSLS tree)", root)
    return root


def is_mini_msls(root: Path) -> bool:
    """Whether a tree is a rendered one, complete or not."""
    return any((root / marker).exists() for marker in (MANIFEST, PARTIAL_MANIFEST))


def _partial_settings(root: Path) -> dict[str, Any] | None:
    """The settings of an incomplete mini-MSLS; None for any other folder."""
    try:
        content = json.loads((root / PARTIAL_MANIFEST).read_text(encoding="utf-8"))
        config, textures = content["config"], content.get("textures")
        if config["scale"] not in get_args(Scale):
            return None
        settings = {name: config[name] for name in ("scale", "seed", "size")}
        return {**settings, "textures": Path(textures) if textures else None}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def world_config(scale: Scale, seed: int, size: int = SIZE, textures: Path | None = None) -> MiniConfig:
    """The world of these settings, as in `ensure_mini_msls`. Raises DatasetError as it does."""
    from vpr.datasets.photographed.folder import read_textures
    from vpr.datasets.street_world.config import scale_config

    config = replace(scale_config(scale, seed), size=size)
    if textures is None:
        return config
    return replace(config, textures=str(textures.resolve()), photographs=read_textures(textures.resolve()).digest)


def ensure_mini_msls(
    out: Path | None = None,
    scale: Scale = "small",
    seed: int = 0,
    workers: int | None = None,
    cities: Sequence[str] | None = None,
    official: Sequence[str] = (),
    size: int = SIZE,
    textures: Path | None = None,
) -> Path:
    """The folder of mini-MSLS; missing images of the wanted cities are rendered first.

    out: the folder; None takes one in the user's cache folder (or that of VPR_CACHE_DIR). seed: number of the world.
    workers: rendering processes; None takes one for each usable core. cities, official: as in `data_root`. size: side
    of an image, pixels. textures: folder of `vpr.datasets.textures`; None draws all surfaces. Raises DatasetError for
    an unknown scale or city, a folder without textures, or if ``out`` holds something else.
    """
    from vpr.datasets.street_world.config import VERSION
    from vpr.datasets.street_world.rendering import render

    config = world_config(scale, seed, size, textures)
    extra = "".join([f"-{size}px" * (size != SIZE), f"-{config.photographs[:12]}" * bool(config.photographs)])
    folder = cache_folder("mini_msls") / f"{scale}-{seed}-v{VERSION}{extra}" if out is None else Path(out)
    if cities is not None:
        known = {plan.name for plan in config.cities}
        cities = [*cities, *(name for name in official if name in known)]
    return render(config, folder, workers, cities)
