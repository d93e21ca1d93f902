"""The style of all figures (small, plain, safe for colour-blind readers), and writing them to files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr.base.errors import VprError
from vpr.base.files import replace_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#8da0b6", "#d55e00", "#0072b2", "#009e73")  # grey, then colours of Okabe and Ito
MORE_COLOURS = (*COLOURS[1:], "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # for several curves in one plot
UNDATED = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {},
}  # metadata by format, without the date


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
        "pdf.fonttype": 42,
    }
    with mpl.rc_context(settings):
        yield


def format_of(path: Path) -> str:
    """The figure format by file extension; raises VprError if it is not supported."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in UNDATED:
        raise VprError(
            f"{path}: a figure is written as .png, .pdf or .svg", thing=path, remedy="use one of these extensions"
        )
    return kind


def save(figure: Figure, path: Path, dpi: int = 200) -> None:
    """Write a figure atomically. The same figure gives the same bytes. Errors as `format_of`."""
    kind = format_of(path)
    with style(), replace_file(path) as temporary:  # hatches and SVG ids are read when it is saved
        figure.savefig(temporary, format=kind, dpi=dpi, metadata=UNDATED[kind])
