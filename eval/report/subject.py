"""The content of a report: a retrieval set, the rankings that answer it, and facts about its queries."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.settings import PositiveInt, option, output

if TYPE_CHECKING:
    from vpr.datasets.retrieval_set import RetrievalSet
    from vpr.eval.evaluator import Answers


@dataclass(frozen=True)
class ReportOptions:
    """Report."""

    report: Path | None = output(None, "write an HTML page with figures, a map, the queries and their matches", "html")
    report_queries: PositiveInt = option(
        1000, "maximum number of queries on the page, drawn at random if there are more"
    )
    report_mb: PositiveInt = option(
        40, "maximum size of the page, MB; the thumbnails shrink first, then queries are left out"
    )


@dataclass(frozen=True, eq=False)
class Stage:
    """One ranking of the database for each query."""

    name: str
    ranked: np.ndarray  # (Q, K) int64 database numbers, -1 after the last candidate
    global_similarity: np.ndarray | None = None  # (Q, K) float32 S_global of the ranked
    structural: np.ndarray | None = None  # (Q, K) float32 S_struct of the ranked, NaN if only a bound is known
    separation: np.ndarray | None = None  # (Q,) confidence of the first answer
    probability: np.ndarray | None = None  # (Q,) that the first answer is right, NaN if unknown
    others: tuple[np.ndarray, ...] = ()  # rankings of other trainings of the same method

    @property
    def rankings(self) -> tuple[np.ndarray, ...]:
        """The rankings of all trainings, this one's first."""
        return (self.ranked, *self.others)


@dataclass(frozen=True, eq=False)
class Subject:
    """The content of a page."""

    title: str
    lines: tuple[str, ...]  # under the title: the protocol, the counts, the re-ranking
    data: RetrievalSet
    stages: tuple[Stage, ...]  # the first is "before", the last "after"
    results: dict[str, dict[str, Any]]  # metrics by stage, with the names that --json uses; empty without ground truth
    facets: dict[str, np.ndarray] = field(default_factory=dict)  # (Q,) str labels of queries, by name
    tables: tuple[Table, ...] = ()  # after the headline and the facets
    answers: Answers | None = None  # source of the matches of patches
    versus: bool = False  # whether the stages are methods to compare
    matched: str = ""  # the method that the matches belong to; empty if there is only one


@dataclass(frozen=True)
class Table:
    """A table of the page."""

    title: str
    columns: tuple[str, ...]  # titles of the columns after the first, which has the names of the rows
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def natural_key(label: str) -> list[tuple[int, str]]:
    """A sort key for labels that compares numbers by their value.

    >>> sorted(["10 to 15 m", "5 to 10 m"], key=natural_key)
    ['5 to 10 m', '10 to 15 m']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", label)]


def answer_stages(answers: Answers) -> tuple[Stage, ...]:
    """The shortlist, and its re-ranking if there is one."""
    shortlist, reranking = answers.shortlist, answers.reranking
    first = Stage(
        name="shortlist",
        ranked=shortlist.ranked,
        global_similarity=shortlist.similarity,
        separation=shortlist.separation,
        probability=_probability(answers, "shortlist"),
    )
    if reranking is None:
        return (first,)
    structural, exact = reranking.structural, answers.rerank_config.prune
    if exact:
        structural = np.where(np.arange(structural.shape[1]) < exact, structural, np.nan)
    second = Stage(
        name="rerank",
        ranked=reranking.ranked,
        global_similarity=reranking.similarity,
        structural=structural,
        separation=reranking.separation,
        probability=_probability(answers, "rerank"),
    )
    return first, second


def _probability(answers: Answers, stage: str) -> np.ndarray | None:
    """The probabilities of a stage; None if all are unknown."""
    probability = answers.probability(stage)
    return None if np.isnan(probability).all() else probability
