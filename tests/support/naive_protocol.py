"""The MSLS protocol and its metrics once more, in plain loops over rows: what the tests compare with.

Written from the protocol's description and sharing nothing with the package.
"""

import itertools
import math

import pandas as pd


def sequences(rows: pd.DataFrame, length: int) -> list[list[int]]:
    """Row numbers of each run of ``length`` rows with one sequence_key and frame numbers rising by 1."""
    names, numbers = rows["sequence_key"].tolist(), rows["frame_number"].tolist()
    half, found = length // 2, []
    for centre in range(len(rows)):
        if centre - half < 0 or centre + half >= len(rows):
            continue
        members = list(range(centre - half, centre + half + 1))
        same = all(names[member] == names[centre] for member in members)
        rising = all(numbers[after] - numbers[before] == 1 for before, after in itertools.pairwise(members))
        if same and rising:
            found.append(members)
    return found


def kept_sequences(rows: pd.DataFrame, length: int, subtask: str | None) -> list[list[int]]:
    """Sequences whose centre frame has the subtask flag (None: no such filter) and is no panorama."""
    return [
        members
        for members in sequences(rows, length)
        if (subtask is None or rows[subtask][members[length // 2]]) and not rows["pano"][members[length // 2]]
    ]


def near(
    query: pd.DataFrame,
    query_sequences: list[list[int]],
    database: pd.DataFrame,
    database_sequences: list[list[int]],
    radius_m: float,
) -> list[list[int]]:
    """For each query sequence the database sequences with any frame within the radius of any frame."""
    return [
        [
            index
            for index, members in enumerate(database_sequences)
            if any(_distance(query, q, database, d) <= radius_m for q in wanted for d in members)
        ]
        for wanted in query_sequences
    ]


def _distance(query: pd.DataFrame, q: int, database: pd.DataFrame, d: int) -> float:
    return math.hypot(query["easting"][q] - database["easting"][d], query["northing"][q] - database["northing"][d])


def recall(ranked: list[list[int]], positives: list[list[int]], k: int) -> float:
    """Share of the queries with positives whose first k hold one."""
    answered = [any(p in wanted for p in row[:k]) for row, wanted in zip(ranked, positives) if len(wanted)]
    return sum(answered) / len(answered)


def mean_average_precision(ranked: list[list[int]], positives: list[list[int]], k: int) -> float:
    """Mean of AP@k over the queries with positives."""
    values = []
    for row, wanted in zip(ranked, positives):
        if not len(wanted):
            continue
        hits, total, seen = 0, 0.0, set()
        for rank, prediction in enumerate(row[:k], start=1):
            if prediction in wanted and prediction not in seen:
                seen.add(prediction)
                hits += 1
                total += hits / rank
        values.append(total / min(len(wanted), k))
    return sum(values) / len(values)
