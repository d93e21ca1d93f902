"""The labelled set of a command: that of ``--data``, or mini-retrieval, rendered on first use."""

import logging
from pathlib import Path

from vpr.base.files import cache_folder
from vpr.datasets.labels.layouts import Layout

log = logging.getLogger("vpr")


def labelled_root(data: Path | None, layout: Layout) -> Path:
    """The folder of ``--data``; without it the folder of mini-retrieval in that layout, which the log names.

    Raises DatasetError if mini-retrieval cannot be rendered.
    """
    if data is not None:
        return data
    root = ensure_mini_retrieval(layout=layout)
    log.info("data: mini-retrieval at %s (pass --data for another set)", root)
    return root


def ensure_mini_retrieval(
    out: Path | None = None, layout: Layout = "folders", seed: int = 0, workers: int | None = None
) -> Path:
    """The folder of a complete mini-retrieval; missing images are rendered first.

    out: the folder; None takes one in the user's cache. workers: rendering processes; None takes one for each core.
    Raises DatasetError if ``out`` holds something else.
    """
    from vpr.datasets.bird_world.config import VERSION, BirdConfig
    from vpr.datasets.bird_world.rendering import render

    folder = cache_folder("mini_retrieval") / f"{layout}-{seed}-v{VERSION}" if out is None else Path(out)
    return render(BirdConfig(layout, seed), folder, workers)
