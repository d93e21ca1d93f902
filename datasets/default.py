"""The dataset of a command: the one that is named, or mini-MSLS, rendered on first use."""

import logging
from pathlib import Path

from datasets.mini_msls import ensure_mini_msls

log = logging.getLogger("vpr")


def data_root(data: str) -> Path:
    """The root of the MSLS tree that ``--data`` names; without one, mini-MSLS in the user's cache folder, and says so.

    Raises DatasetError when mini-MSLS cannot be rendered.
    """
    if data:
        return Path(data)
    root = ensure_mini_msls()
    log.info("data: mini-MSLS at %s (pass --data for another MSLS tree)", root)
    return root
