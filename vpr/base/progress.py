"""Progress bars of long work: drawn on terminals only."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(
    items: Iterable[Any] | None = None, *, title: str | None, unit: str, total: int | None = None, done: int = 0
) -> tqdm:
    """A bar over the items, or to be updated up to ``total`` from ``done`` on; none without a title."""
    hidden = True if title is None else None  # None: hidden where stderr is no terminal
    return tqdm(items, title, total, initial=done, unit=unit, disable=hidden, dynamic_ncols=True)
