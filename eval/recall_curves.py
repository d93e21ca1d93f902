"""Curves of Recall@N."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.command import printable
from vpr.base.figures import MORE_COLOURS, style
from vpr.eval.metrics import recall_at_k

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vpr.datasets.retrieval_set import RetrievalSet

BROKEN = (":", "-.", "--")  # lines
DEEPEST = 50  # N


def plain(name: str) -> str:
    """A name as matplotlib shows it unchanged: no formulas, no characters that steer the text."""
    shown = printable(name).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown  # which would leave it out of the legend


def draw_recall(axes: Any, data: RetrievalSet, rows: Sequence[tuple[str, Sequence[np.ndarray], bool]]) -> None:
    """Recall@N against N, a line for each row: its name, the rankings (Q, K) of its trainings, and whether its line is
    solid and of a colour of its own; broken lines have the colour of the next solid one."""
    place, broken = 0, itertools.cycle(BROKEN)
    for name, rankings, solid in rows:
        ks = range(1, min(DEEPEST, *(ranked.shape[1] for ranked in rankings)) + 1)
        recalls = [recall_at_k(ranked, data.answers, ks) for ranked in rankings]
        means = [100 * float(np.mean([found[k] for found in recalls])) for k in ks]
        colour = MORE_COLOURS[place % len(MORE_COLOURS)]
        line = next(broken) if not solid else "-" if place < len(MORE_COLOURS) else "--"
        axes.plot(ks, means, line, label=plain(name), color=colour)
        if solid:
            place, broken = place + 1, itertools.cycle(BROKEN)
    axes.set(xlabel="N", ylabel="Recall@N, %")
    axes.legend(frameon=False)


def recall_curves(data: RetrievalSet, rows: Sequence[tuple[str, Sequence[np.ndarray], bool]]) -> Figure:
    """`draw_recall` in a figure of its own."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(4.5, 3.4), layout="constrained")
        draw_recall(figure.subplots(), data, rows)
    return figure
