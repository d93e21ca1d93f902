"""What a report is about: a retrieval set, the rankings that answer it, and what is known beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.errors import VprError
from vpr.base.settings import PositiveInt, option

if TYPE_CHECKING:
    from vpr.datasets.retrieval_set import RetrievalSet
    from vpr.eval.evaluation import Answers


@dataclass(frozen=True)
class ReportOptions:
    """Report."""

    report: Path | None = option(None, "write one HTML page: figures, map, gallery, matches")
    report_queries: PositiveInt = option(1000, "queries shown in its gallery; of more, as many are drawn at random")
    report_mb: PositiveInt = option(40, "the most that the page may take, MB; thumbnails shrink, then queries fall out")

    def check(self) -> None:
        """Raise VprError where no page can be written, before anything is computed."""
        if self.report is not None and self.report.is_dir():
            raise VprError(
                f"--report {self.report}: is a directory; name a file, such as {self.report / 'report.html'}"
            )


@dataclass(frozen=True, eq=False)
class Stage:
    """One ranking of the database for each query."""

    name: str
    ranked: np.ndarray  # (Q, K) int64 database numbers, -1 where there are fewer
    global_: np.ndarray | None = None  # (Q, K) float32 S_global of the ranked
    structural: np.ndarray | None = None  # (Q, K) float32 S_struct of the ranked, no number where it is not exact
    separation: np.ndarray | None = None  # (Q,) how sure the first answer is
    probability: np.ndarray | None = None  # (Q,) that it is right, NaN where unknown
    others: tuple[np.ndarray, ...] = ()  # rankings of other trainings of the same method

    @property
    def rankings(self) -> tuple[np.ndarray, ...]:
        """Of every training, this one's first."""
        return (self.ranked, *self.others)


@dataclass(frozen=True, eq=False)
class Subject:
    """All that a page is made from."""

    title: str
    said: tuple[str, ...]  # protocol, counts, how it was re-ranked
    data: RetrievalSet
    stages: tuple[Stage, ...]  # the first is "before", the last "after"
    results: dict[str, dict[str, Any]]  # metrics by stage, as --json has them; empty without ground truth
    facets: dict[str, np.ndarray] = field(default_factory=dict)  # (Q,) str labels of queries, by name
    tables: tuple[Table, ...] = ()  # beside the headline
    answers: Answers | None = None  # whose patches the matches are made from
    versus: bool = False  # whether the stages are methods to compare
    matched: str = ""  # the method whose patches the matches are made from, where that is not plain


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    title: str
    columns: tuple[str, ...]  # of the figures; the first column has the rows' names
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def in_order(label: str) -> list[tuple[int, str]]:
    """The key by which labels are sorted: numbers in them by their size.

    >>> sorted(["10 to 15 m", "5 to 10 m"], key=in_order)
    ['5 to 10 m', '10 to 15 m']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", label)]


def stages_of(answers: Answers) -> tuple[Stage, ...]:
    """The shortlist, and its re-ranking where there is one."""
    short, again = answers.shortlist, answers.reranking
    stages = [Stage("shortlist", short.ranked, short.similarity, None, short.separation, _known(answers, "shortlist"))]
    if again is not None:
        structural, exact = again.structural, answers.compared.prune
        if exact:
            structural = np.where(np.arange(structural.shape[1]) < exact, structural, np.nan)
        probability = _known(answers, "rerank")
        stages.append(Stage("rerank", again.ranked, again.similarity, structural, again.separation, probability))
    return tuple(stages)


def _known(answers: Answers, name: str) -> np.ndarray | None:
    probability = answers.probability(name)
    return None if np.isnan(probability).all() else probability
