"""Curves of Recall@N."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.command import printable
from vpr.base.figures import MORE_COLOURS, style
from vpr.eval.metrics import recall_at_k

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vpr.datasets.retrieval_set import RetrievalSet

BROKEN = (":", "-.", "--")  # styles of broken lines
MAX_N = 50


@dataclass(frozen=True, eq=False)
class RecallCurve:
    """A curve of one method or stage."""

    name: str
    rankings: Sequence[np.ndarray]  # (Q, K) of each training; their recalls are averaged
    solid: bool = True  # solid lines have a colour each; a broken line has the colour of the next solid one


def legend_text(name: str) -> str:
    """A name that matplotlib draws unchanged: formulas and control characters are escaped."""
    text = printable(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves labels with "_" out of the legend


def draw_recall(axes: Any, data: RetrievalSet, curves: Sequence[RecallCurve]) -> None:
    """Draw Recall@N against N, a line for each curve."""
    colour_number, broken = 0, itertools.cycle(BROKEN)
    for curve in curves:
        ks = range(1, min(MAX_N, *(ranked.shape[1] for ranked in curve.rankings)) + 1)
        recalls = [recall_at_k(ranked, data.answers, ks, data.unanswered) for ranked in curve.rankings]
        means = [100 * float(np.mean([recall[k] for recall in recalls])) for k in ks]
        colour = MORE_COLOURS[colour_number % len(MORE_COLOURS)]
        line = next(broken) if not curve.solid else "-" if colour_number < len(MORE_COLOURS) else "--"
        axes.plot(ks, means, line, label=legend_text(curve.name), color=colour)
        if curve.solid:
            colour_number, broken = colour_number + 1, itertools.cycle(BROKEN)
    axes.set(xlabel="N", ylabel="Recall@N, %")
    axes.legend(frameon=False)


def recall_figure(data: RetrievalSet, curves: Sequence[RecallCurve]) -> Figure:
    """A figure with the curves, as `draw_recall`."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(4.5, 3.4), layout="constrained")
        draw_recall(figure.subplots(), data, curves)
    return figure
