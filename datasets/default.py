"""The dataset of a command: the one that is named, or mini-MSLS, rendered on first use."""

import logging
from pathlib import Path
from typing import Literal

from vpr.base.files import cache_folder

Scale = Literal["small", "medium", "large"]
log = logging.getLogger("vpr")


def data_root(data: Path | None) -> Path:
    """The root of the MSLS tree that ``--data`` names; without one mini-MSLS, and the log says so.

    Raises DatasetError when mini-MSLS cannot be rendered.
    """
    if data is not None:
        return data
    root = ensure_mini_msls()
    log.info("data: mini-MSLS at %s (pass --data for another MSLS tree)", root)
    return root


def ensure_mini_msls(
    out: Path | None = None, scale: Scale = "small", seed: int = 0, workers: int | None = None
) -> Path:
    """The folder of a complete mini-MSLS; it, or what is missing of it, is rendered first.

    out: the folder; None takes one in the user's cache, which the variable VPR_CACHE_DIR moves. seed: number of the
    world. workers: rendering processes; None takes one for each usable core. Raises DatasetError for an unknown scale,
    and when ``out`` holds something else.
    """
    from datasets.street_world.config import VERSION, scale_config
    from datasets.street_world.rendering import render

    folder = cache_folder("mini_msls") / f"{scale}-{seed}-v{VERSION}" if out is None else Path(out)
    return render(scale_config(scale, seed), folder, workers)
