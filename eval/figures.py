"""The one style of all figures: small, plain, colour-blind safe."""

import contextlib
from collections.abc import Iterator
from typing import Any

COLOURS = ("#8da0b6", "#d55e00", "#0072b2", "#009e73")  # of Okabe and Ito, but the first, which is grey


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for a figure in a paper's column."""
    import matplotlib as mpl

    settings: dict[Any, Any] = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "errorbar.capsize": 3,
        "svg.hashsalt": "vpr",
    }
    with mpl.rc_context(settings):
        yield
