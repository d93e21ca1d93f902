"""Names of a prediction file looked up in a loaded dataset, and every oddity named and counted.

What the official evaluator does is kept, with its faults put right:

- A query that is to be scored and has no row is an error, and so is a query with two rows.
- A prediction that is no database entry of the protocol (a panorama, another subtask, a name that is no
  sequence of this length, a query image, an unknown key) moves to the end of its row, in every row. The
  official tool means to do so, but does it only in rows where all predictions are such.
- A prediction from another loaded city is a wrong answer that holds its rank, whichever the scope;
  in scope ``city`` it is named and counted, as it shows that the file came from a merged search.
- A repeated prediction is named, counted, and right at most once. The official tool refuses it, but
  looks at other rows than it means to.
- Rows of queries without positives, and of queries outside the protocol, are left aside.
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
    """One kind of oddity: how often, and where it stands first."""

    kind: str  # e.g. 'panorama as prediction'
    count: int
    examples: tuple[str, ...]  # up to three names, in the order of the file
    line: int  # of the first one

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count} x {self.kind}, first on line {self.line}: {', '.join(self.examples)}{more}"


@dataclass(frozen=True, eq=False)
class Resolved:
    """Rankings in the numbers of the retrieval set: Q queries of all cities, K the longest row."""

    ranked: np.ndarray  # (Q, K) int32 database numbers, -1 where there is no valid prediction
    covered: np.ndarray  # (Q,) bool, the queries that have a row in the file
    problems: tuple[Problem, ...]  # what was named and counted


class _Tally:
    """Collects oddities by kind, each with its name and the current line."""

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
    """Rankings of every query of ``dataset`` from the rows of a prediction file.

    ``unknown``: keys in no city of the tree. ``filtered``: keys of the tree that are no query or
    database entry under this protocol, repeats, uneven rows, and in scope ``city`` predictions from
    other cities. ``count`` names them in ``problems``, ``error`` raises PredictionError for the first
    kind. A doubled query, and a scored query without a row, raise PredictionError always.
    """
    for name, first, line in predictions.repeated_queries():
        fault = f"query {name} stands already on line {first}; keep one row for each query"
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
    try:
        return index.query(name)
    except KeyError as cities:
        fault = f"query {name} is in several cities ({cities.args[0]}); score one city at a time"
        raise PredictionError(f"{predictions.path}, line {line}: {fault}") from None


def _look_up(index: NameIndex, row: list[str], city: int, scope: Scope, tally: _Tally) -> list[int]:
    """Database numbers of the valid predictions in their order; the others are tallied."""
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
    for problem in problems:
        is_unknown = problem.kind in (UNKNOWN_QUERY, UNKNOWN_PREDICTION)
        if (unknown if is_unknown else filtered) == "error":
            remedy = "is the file for another dataset?" if is_unknown else "remove them, or leave --strict out"
            hint = _hint(problem.examples[0]) if is_unknown else ""
            raise PredictionError(f"{predictions.path}: {problem}; {remedy}{hint}")


def _hint(name: str) -> str:
    """What often makes a name unknown."""
    if "." in name:
        return ", keys carry no file extension"
    return ", names are separated by spaces, and commas join those of a sequence" if "," in name else ""


def _check_coverage(predictions: Predictions, dataset: MSLS, covered: np.ndarray) -> None:
    data = dataset.retrieval_set
    scored = data.scored
    missing = scored[~covered[scored]]
    if len(missing):
        name = data.queries.names[missing[0]]
        raise PredictionError(
            f"{predictions.path}: {len(missing)} of {len(scored)} queries to be scored have no row, e.g. {name};"
            " add them, or choose the cities, task and subtask that the file was made for"
        )
