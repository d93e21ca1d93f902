"""Look-up of the names of a prediction file in a loaded dataset. Problems are counted by kind.

The rules are those of the official evaluator, without its faults:

- It is an error if a scored query has no row, or if a query has two rows.
- A prediction that is not a database entry of the protocol (a panorama, another subtask, not a sequence of this length,
  a query image, an unknown key) moves to the end of its row: the later ones move up. The official tool is meant to do
  this in every row, but does it only in rows that have no valid prediction.
- A prediction from another loaded city is a wrong answer and keeps its rank. In scope ``city`` it is reported, because
  the file then comes from a merged search.
- A repeated prediction is reported, and is right at most once. The official tool refuses it, but checks the wrong rows.
- Rows of queries without positives, and of queries outside the protocol, are counted and ignored, or refused if the
  caller wants that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.msls.protocol import Scope
from vpr.eval.files.names import UNKNOWN, NameIndex
from vpr.eval.files.prediction_file import PredictionError, Predictions

ProblemPolicy = Literal["count", "error"]

UNKNOWN_QUERY = "unknown query"
UNKNOWN_PREDICTION = "unknown prediction"
SHORT_ROW = "row shorter than the longest"
EXAMPLES = 3


@dataclass(frozen=True)
class Problem:
    """A kind of problem, its count, and the line of its first occurrence."""

    kind: str  # such as 'prediction repeated in its row'
    count: int
    examples: tuple[str, ...]  # up to three names, in the order of the file
    line: int  # of the first one

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count} x {self.kind}, first on line {self.line}: {', '.join(self.examples)}{more}"


@dataclass(frozen=True, eq=False)
class ResolvedPredictions:
    """Rankings as database numbers of the retrieval set. Q: queries of all cities; K: length of the longest row."""

    ranked: np.ndarray  # (Q, K) int32 database numbers, filled up with -1
    covered: np.ndarray  # (Q,) bool, whether a query has a row in the file
    problems: tuple[Problem, ...]  # one for each kind


class Tally:
    """Collects problems by kind, each with the name and the line where it occurred."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[str, int]]] = {}
        self._line = 0

    def at_line(self, line: int) -> None:
        """The line of the problems that follow."""
        self._line = line

    def add(self, kind: str, name: str) -> None:
        """Count a problem."""
        self._found.setdefault(kind, []).append((name, self._line))

    def problems(self) -> tuple[Problem, ...]:
        """The problems, one for each kind."""
        return tuple(
            Problem(kind, len(found), tuple(dict.fromkeys(name for name, _ in found))[:EXAMPLES], found[0][1])
            for kind, found in self._found.items()
        )


def resolve(
    predictions: Predictions,
    dataset: MSLS,
    unknown: ProblemPolicy = "error",
    filtered: ProblemPolicy = "count",
) -> ResolvedPredictions:
    """The rankings of every query of the dataset, from the rows of a prediction file.

    unknown: what to do with keys that no city of the tree has. filtered: what to do with keys of the tree that are not
    a query or database entry of the protocol, with repeats and uneven rows, and in scope ``city`` with predictions from
    other cities. ``count`` lists them in ``problems``; ``error`` raises PredictionError for the first such problem.
    Always raises PredictionError for a doubled query, and for a scored query without a row.
    """
    for name, first, line in predictions.repeated_queries():
        fault = f"query {name} is already on line {first}; keep one row for each query"
        raise PredictionError(f"{predictions.path}, line {line}: {fault}")
    index, tally = NameIndex(dataset), Tally()
    width = max(len(row) for row in predictions.rows)
    ranked = np.full((len(index.query_city), max(1, width)), -1, np.int32)
    covered = np.zeros(len(ranked), bool)
    for name, row, line in zip(predictions.queries, predictions.rows, predictions.lines.tolist()):
        tally.at_line(line)
        if len(row) != width:
            tally.add(SHORT_ROW, name)
        query = _query_number(predictions, index, name, line)
        if query is None:
            description = index.describe(name, "query")
            tally.add(UNKNOWN_QUERY if description == UNKNOWN else f"query ignored, {description}", name)
            continue
        covered[query] = True
        numbers = _look_up(index, row, index.query_city[query], dataset.protocol.scope, tally)
        ranked[query, : len(numbers)] = numbers
    problems = tally.problems()
    _raise_if_refused(predictions, problems, unknown, filtered)
    _check_coverage(predictions, dataset, covered)
    return ResolvedPredictions(ranked, covered, problems)


def _query_number(predictions: Predictions, index: NameIndex, name: str, line: int) -> int | None:
    """As `NameIndex.query`; raises PredictionError for an ambiguous query."""
    try:
        return index.query(name)
    except KeyError as error:
        cities = error.args[0]
        fault = f"query {name} is in several cities ({cities}); score one city at a time"
        raise PredictionError(f"{predictions.path}, line {line}: {fault}") from None


def _look_up(index: NameIndex, row: list[str], city: int, scope: Scope, tally: Tally) -> list[int]:
    """The database numbers of the valid predictions, in their order. The others are tallied."""
    if len(set(row)) != len(row):
        for position, name in enumerate(row):
            if name in row[:position]:
                tally.add("prediction repeated in its row", name)
    in_city = index.database(city)
    numbers = [in_city.get(name) for name in row]
    if None not in numbers:
        return cast("list[int]", numbers)
    for position, name in enumerate(row):
        if numbers[position] is not None:
            continue
        numbers[position] = index.database_anywhere(name)
        if numbers[position] is None:
            description = index.describe(name, "database")
            moved = f"prediction moved to the end of its row, {description}"
            tally.add(UNKNOWN_PREDICTION if description == UNKNOWN else moved, name)
        elif scope == "city":
            tally.add("prediction from another city", name)
    return [number for number in numbers if number is not None]


def _raise_if_refused(
    predictions: Predictions, problems: tuple[Problem, ...], unknown: ProblemPolicy, filtered: ProblemPolicy
) -> None:
    """Raise PredictionError for the first problem whose policy is ``error``."""
    for problem in problems:
        is_unknown = problem.kind in (UNKNOWN_QUERY, UNKNOWN_PREDICTION)
        if (unknown if is_unknown else filtered) == "error":
            remedy = _remedy_for_unknown(problem.examples[0]) if is_unknown else _remedy_for(problem)
            raise PredictionError(f"{predictions.path}: {problem}; {remedy}")


def _remedy_for(problem: Problem) -> str:
    remedy = "give every row the same number of predictions" if problem.kind == SHORT_ROW else "remove them"
    return f"{remedy}, or leave --strict out"


def _remedy_for_unknown(name: str) -> str:
    """By the usual reason why a name is unknown."""
    if "." in name:
        return "remove the file extension from the keys"
    if "," in name:
        return "separate the names by spaces; commas join the names of a sequence"
    return "is the file for another dataset?"


def _check_coverage(predictions: Predictions, dataset: MSLS, covered: np.ndarray) -> None:
    """Raise PredictionError if a scored query has no row."""
    data = dataset.retrieval_set
    scored = data.scored
    missing = scored[~covered[scored]]
    if len(missing):
        name = data.queries.names[missing[0]]
        raise PredictionError(
            f"{predictions.path}: {len(missing)} of {len(scored)} scored queries have no row, such as {name};"
            " add them, or pass the --cities, --task and --subtask that the file was made for"
        )
