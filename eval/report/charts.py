"""The figures of a page: SVG in the colour of the text around them, light or dark."""

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from vpr.base.figures import COLOURS, style
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.comparison.recall_curves import RecallCurve, draw_recall
from vpr.eval.confidence import confidence_baselines, first_is_right
from vpr.eval.report.subject import Stage
from vpr.retrieval.reliability import probability_bins

INK = "#010203"  # replaced by the colour of the text around the figure
PRECISION = 0.95  # in the line below the calibration figure


def recall_curves(stages: tuple[Stage, ...], data: RetrievalSet) -> str:
    """Recall@N of each stage against N."""
    curves = [RecallCurve(stage.name, stage.rankings) for stage in stages]
    return _svg("recall", lambda axes: draw_recall(axes, data, curves))


def precision_recall(stage: Stage, data: RetrievalSet) -> str:
    """Precision against recall for the confidence of the first answers, and for the usual baselines."""
    from sklearn.metrics import precision_recall_curve

    rows = data.scored
    right = first_is_right(stage.ranked[rows], data, rows)
    measures = {"ours": stage.separation}
    if stage.global_similarity is not None:
        measures |= confidence_baselines(stage.global_similarity, data.places(stage.ranked))

    def draw(axes: Any) -> None:
        present = {name: measure for name, measure in measures.items() if measure is not None and right.any()}
        for (name, measure), colour in zip(present.items(), (COLOURS[2], COLOURS[1], COLOURS[3], COLOURS[0])):
            precision, recall, _ = precision_recall_curve(right, measure[rows])
            axes.plot(100 * recall, 100 * precision, label=name if name == "ours" else name.upper(), color=colour)
        axes.set(xlabel="share of the right answers kept, %", ylabel="precision, %")
        axes.legend(frameon=False, loc="lower left")

    return _svg("precision", draw)


def reliability(probability: np.ndarray, right: np.ndarray) -> str:
    """The share of right answers against the predicted probability, by bins; probability (S,), right (S,) bool."""
    bins = probability_bins(probability)
    predicted, observed = ([100 * values[members].mean() for members in bins] for values in (probability, right))

    def draw(axes: Any) -> None:
        axes.plot([0, 100], [0, 100], ":", color=INK, linewidth=1)
        axes.plot(predicted, observed, color=COLOURS[2], linewidth=1)
        axes.scatter(predicted, observed, [15 + 200 * members.mean() for members in bins], color=COLOURS[2])
        axes.set(xlabel="probability, %", ylabel="right, %", xlim=(-4, 104), ylim=(-4, 104))

    return _svg("reliability", draw)


def precision_line(probability: np.ndarray, right: np.ndarray) -> str:
    """One line: the smallest percentage p for which a share of `PRECISION` of the answers with p or more is right.

    probability (S,), right (S,) bool. Probabilities are rounded down to whole percentages, as the line shows them.
    """
    percent = np.searchsorted(np.arange(101) / 100, probability, side="right") - 1  # exact, but 100 * 0.29 is below 29
    for least in np.unique(percent):
        chosen = percent >= least
        precision, count = right[chosen].mean(), int(chosen.sum())
        if precision >= PRECISION:
            return (
                f"Of the answers with a probability of {least} % or more, {100 * precision:.1f} % are right: "
                f"{count} of {len(right)} queries ({100 * count / len(right):.0f} %)."
            )
    return f"There is no probability above which {100 * PRECISION:.0f} % of the answers are right."


def _svg(name: str, draw: Callable[[Any], None]) -> str:
    """A drawing as an SVG element. Its lines and texts have the colour of the text around it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings: dict[Any, Any] = {**dict.fromkeys(inked, INK), "svg.hashsalt": name, "svg.fonttype": "none"}
    buffer = io.StringIO()
    with style(), mpl.rc_context(settings):
        figure = Figure(figsize=(4, 2.9), layout="constrained")
        draw(figure.subplots())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', f'class="chart" role="img" aria-label="{name}"', text, count=1)
