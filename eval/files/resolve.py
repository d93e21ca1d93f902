"""Look-up of the names of a prediction file in a loaded dataset. Problems are counted by kind.

The rules are those of the official evaluator, without its faults:

- It is an error if a scored query has no row, or if a query has two rows.
- A prediction that is not a database entry of the protocol (a panorama, another subtask, not a sequence of this length,
  a query image, an unknown key) moves to the end of its row. The official tool is meant to do this in every row, but
  does it only in rows that have no other predictions.
- A prediction from another loaded city is a wrong answer and keeps its rank. In scope ``city`` it is reported, because
  the file then comes from a merged search.
- A repeated prediction is reported, and is right at most once. The official tool refuses it, but checks the wrong rows.
- Rows of queries without positives, and of queries outside the protocol, are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from vpr.datasets.msls.dataset import MSLS
from vpr.datasets.msls.protocol import Scope
from vpr.eval.files.names import UNKNOWN, NameIndex
from vpr.eval.files.prediction_file import PredictionError, Predictions

Leniency = Literal["count", "error"]

UNKNOWN_QUERY = "unknown query"
UNKNOWN_PREDICTION = "unknown prediction"
EXAMPLES = 3


@dataclass(frozen=True)
class Problem:
    """A kind of problem, with its count and its first line."""

    kind: str  # such as 'prediction repeated in its row'
    count: int
    examples: tuple[str, ...]  # up to three names, in the order of the file
    line: int  # of the first one

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count} x {self.kind}, first on line {self.line}: {', '.join(self.examples)}{more}"


@dataclass(frozen=True, eq=False)
class Resolved:
    """Rankings by the numbers of the retrieval set. Q: queries of all cities; K: length of the longest row."""

    ranked: np.ndarray  # (Q, K) int32 database numbers, filled up with -1
    covered: np.ndarray  # (Q,) bool, whether a query has a row in the file
    problems: tuple[Problem, ...]  # one for each kind


class _Tally:
    """Collects problems by kind, each with its name and the current line."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[str, int]]] = {}
        self._line = 0

    def at_line(self, line: int) -> None:
        self._line = line

    def add(self, kind: str, name: str) -> None:
        self._found.setdefault(kind, []).append((name, self._line))

    def problems(self) -> tuple[Problem, ...]:
        return tuple(
            Problem(kind, len(found), tuple(dict.fromkeys(name for name, _ in found))[:EXAMPLES], found[0][1])
            for kind, found in self._found.items()
        )


def resolve(
    predictions: Predictions,
    dataset: MSLS,
    unknown: Leniency = "error",
    filtered: Leniency = "count",
) -> Resolved:
    """The rankings of every query of the dataset, from the rows of a prediction file.

    unknown: for keys that no city of the tree has. filtered: for keys of the tree that are not a query or database
    entry of the protocol, for repeats and uneven rows, and in scope ``city`` for predictions from other cities.
    ``count`` reports them in ``problems``; ``error`` raises PredictionError for the first kind. Always raises
    PredictionError for a doubled query, and for a scored query without a row.
    """
    for name, first, line in predictions.repeated_queries():
        fault = f"query {name} is already on line {first}; keep one row for each query"
        raise PredictionError(f"{predictions.path}, line {line}: {fault}")
    index, tally = NameIndex(dataset), _Tally()
    width = max(len(row) for row in predictions.rows)
    ranked = np.full((len(index.query_city), max(1, width)), -1, np.int32)
    covered = np.zeros(len(ranked), bool)
    for name, row, line in zip(predictions.queries, predictions.rows, predictions.lines.tolist()):
        tally.at_line(line)
        if len(row) != width:
            tally.add("row shorter than the longest", name)
        query = _query(predictions, index, name, line)
        if query is None:
            description = index.describe(name, "query")
            tally.add(UNKNOWN_QUERY if description == UNKNOWN else f"query ignored, {description}", name)
            continue
        covered[query] = True
        found = _look_up(index, row, index.query_city[query], dataset.protocol.scope, tally)
        ranked[query, : len(found)] = found
    problems = tally.problems()
    _refuse(predictions, problems, unknown, filtered)
    _check_coverage(predictions, dataset, covered)
    return Resolved(ranked, covered, problems)


def _query(predictions: Predictions, index: NameIndex, name: str, line: int) -> int | None:
    """As `NameIndex.query`; raises PredictionError for an ambiguous query."""
    try:
        return index.query(name)
    except KeyError as cities:
        fault = f"query {name} is in several cities ({cities.args[0]}); score one city at a time"
        raise PredictionError(f"{predictions.path}, line {line}: {fault}") from None


def _look_up(index: NameIndex, row: list[str], city: int, scope: Scope, tally: _Tally) -> list[int]:
    """The database numbers of the valid predictions, in their order. The others are tallied."""
    if len(set(row)) != len(row):
        for position, name in enumerate(row):
            if name in row[:position]:
                tally.add("prediction repeated in its row", name)
    own = index.database(city)
    found = [own.get(name) for name in row]
    if None not in found:
        return cast("list[int]", found)
    for position, name in enumerate(row):
        if found[position] is not None:
            continue
        found[position] = index.database_anywhere(name)
        if found[position] is None:
            description = index.describe(name, "database")
            moved = f"prediction moved to the end of its row, {description}"
            tally.add(UNKNOWN_PREDICTION if description == UNKNOWN else moved, name)
        elif scope == "city":
            tally.add("prediction from another city", name)
    return [at for at in found if at is not None]


def _refuse(predictions: Predictions, problems: tuple[Problem, ...], unknown: Leniency, filtered: Leniency) -> None:
    """Raise PredictionError for the first problem that is to be an error."""
    for problem in problems:
        is_unknown = problem.kind in (UNKNOWN_QUERY, UNKNOWN_PREDICTION)
        if (unknown if is_unknown else filtered) == "error":
            remedy = "is the file for another dataset?" if is_unknown else "remove them, or leave --strict out"
            hint = _hint(problem.examples[0]) if is_unknown else ""
            raise PredictionError(f"{predictions.path}: {problem}; {remedy}{hint}")


def _hint(name: str) -> str:
    """The usual reason why a name is unknown; empty if there is none."""
    if "." in name:
        return ", keys have no file extension"
    return ", names are separated by spaces, and commas join those of a sequence" if "," in name else ""


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
