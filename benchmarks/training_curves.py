"""The course of trainings as a figure: ``python -m benchmarks.training_curves RUN [RUN ...] --out FILE``.

A panel for each loss and each recall of the validations, against steps, from the training.csv of each run. FILE ends
with .png, .pdf or .svg.
"""

import argparse
import itertools
from pathlib import Path

import pandas as pd

from vpr.base.figures import MORE_COLOURS, save, style
from vpr.distill.training.training_log import LEARNING_RATE

STEP = "step"


def main() -> None:
    """Draw the figure."""
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    courses = {str(run): pd.read_csv(run / "training.csv") for run in arguments.runs}
    columns = [
        name
        for name in dict.fromkeys(column for course in courses.values() for column in course.columns)
        if name not in (STEP, LEARNING_RATE)
        and not all(course.get(name, pd.Series(dtype=float)).isna().all() for course in courses.values())
    ]
    with style():
        figure = Figure(figsize=(2.6 * len(columns), 2.4), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns):
            for (run, course), colour in zip(courses.items(), itertools.cycle(MORE_COLOURS)):
                if name in course:
                    values = course[[STEP, name]].dropna()
                    axes.plot(values[STEP], values[name], "." if len(values) < 10 else "-", color=colour, label=run)
            axes.set(xlabel="step", title=name)
        lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
        figure.legend(lines.values(), lines, loc="outside upper left", frameon=False, ncols=2)
    save(figure, arguments.out)


if __name__ == "__main__":
    main()
