"""Look-up of the photos of a prediction file in a set of places.

A photo is named by its path within its folder, by the end of its whole path, or by a longer path; its ending may be
missing. A prediction that is no database photo, or is the query itself, moves to the end of its row.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vpr.datasets.places.lookup import AMBIGUOUS, PhotoIndex
from vpr.datasets.retrieval_set import Entries, RetrievalSet
from vpr.eval.files.foreign import without_repeats
from vpr.eval.files.prediction_file import PredictionError, Predictions, read_predictions
from vpr.eval.files.resolve import UNKNOWN_PREDICTION, Tally

log = logging.getLogger("vpr")


@dataclass(frozen=True, eq=False)
class PhotoNames:
    """The names of the photos of a set."""

    data: RetrievalSet

    @cached_property
    def _queries(self) -> PhotoIndex:
        return _index(self.data, self.data.queries)

    @cached_property
    def _database(self) -> PhotoIndex:
        return _index(self.data, self.data.database)

    def read_rankings(self, path: Path, strict: bool) -> np.ndarray:
        """The rankings (Q, K) of a prediction file, -1 behind. Problems are logged with their counts.

        Raises PredictionError for a file that cannot be read, for a query that the set does not have or that has two
        rows, for a scored query without a row, for a name of several photos, and with ``strict`` for any problem.
        """
        predictions, tally = read_predictions(path), Tally()
        for name, first, line in predictions.repeated_queries():
            fault = f"query {name} is already on line {first}; keep one row for each query"
            raise PredictionError(f"{path}, line {line}: {fault}")
        width = max(1, *(len(row) for row in predictions.rows))
        ranked = np.full((len(self.data.queries), width), -1, np.int64)
        covered = np.zeros(len(ranked), bool)
        for name, row, line in zip(predictions.queries, predictions.rows, predictions.lines.tolist()):
            tally.at_line(line)
            query = self._find(self._queries, name, predictions, line)
            if query is None:
                raise PredictionError(f"{path}, line {line}: the set has no query {name}; is the file for another set?")
            if covered[query]:
                raise PredictionError(f"{path}, line {line}: query {name} has an earlier row; keep one for each query")
            covered[query] = True
            numbers = self._look_up(row, query, predictions, line, tally)
            ranked[query, : len(numbers)] = numbers
        self._check_coverage(path, covered)
        for problem in tally.problems():
            if strict:
                raise PredictionError(f"{path}: {problem}; remove them, or leave --strict out")
            log.warning("%s: %s", path, problem)
        return ranked

    def read_shortlist(self, path: Path, depth: int) -> np.ndarray:
        """The first ``depth`` of each ranking, (Q, K), each entry once. Errors as `read_rankings`."""
        return without_repeats(self.read_rankings(path, strict=False))[:, :depth]

    def _look_up(self, row: list[str], query: int, predictions: Predictions, line: int, tally: Tally) -> list[int]:
        """The database numbers of the valid predictions of a row, in their order. The others are tallied."""
        own = -1 if self.data.own is None else int(self.data.own[query])
        numbers = list[int]()
        for name in row:
            number = self._find(self._database, name, predictions, line)
            if number is None:
                tally.add(UNKNOWN_PREDICTION, name)
            elif number == own:
                tally.add("prediction moved to the end of its row, the query itself", name)
            else:
                if number in numbers:
                    tally.add("prediction repeated in its row", name)
                numbers.append(number)
        return numbers

    def _find(self, index: PhotoIndex, name: str, predictions: Predictions, line: int) -> int | None:
        number = index.find(name)
        if number == AMBIGUOUS:
            raise PredictionError(f"{predictions.path}, line {line}: {name} could be several photos; write its path")
        return number

    def _check_coverage(self, path: Path, covered: np.ndarray) -> None:
        scored = self.data.scored
        missing = scored[~covered[scored]]
        if len(missing):
            name = self.data.queries.names[missing[0]]
            raise PredictionError(
                f"{path}: {len(missing)} of {len(scored)} scored queries have no row, such as {name}; add them"
            )


def _index(data: RetrievalSet, side: Entries) -> PhotoIndex:
    """The photos of a side; their absolute paths are those below the root."""
    root = data.root.as_posix().rstrip("/")
    return PhotoIndex([f"{root}/{image}" for image in side.images[:, 0].tolist()], side.names.tolist())
