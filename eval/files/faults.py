"""The faults of a submission file, each with its kind and place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vpr.base.photo_files import ENDINGS
from vpr.datasets.msls.cities import official_split
from vpr.datasets.msls.dataset import MSLS
from vpr.eval.files.names import UNKNOWN, NameIndex, Role
from vpr.eval.files.prediction_file import SUFFIXES, PredictionError, Predictions, read_predictions

Fault = tuple[str, str]  # kind, such as 'missing query', and place


def find_faults(path: Path, dataset: MSLS) -> list[Fault]:
    """The faults of a submission for the queries and the database of a dataset; empty for a valid file.

    Kinds: unreadable file (not UTF-8, no rows, a zip without exactly one .csv at its root, another suffix), missing
    query, doubled query, query outside the protocol, doubled prediction, prediction outside the protocol, key with an
    extension, wrong split, unknown key, uneven rows.
    """
    if path.suffix not in SUFFIXES:
        return [("unreadable file", f"{path}: a submission is a .csv or a .zip")]
    try:
        predictions = read_predictions(path)
    except PredictionError as error:
        return [("unreadable file", str(error))]
    return _find_faults_of_rows(predictions, dataset)


def _find_faults_of_rows(predictions: Predictions, dataset: MSLS) -> list[Fault]:
    """The faults of a file that could be read."""
    index = NameIndex(dataset)
    faults = _missing_queries(predictions, dataset) + _doubled_queries(predictions)
    faults += _uneven_rows(predictions, index, dataset)
    for name, row, line in zip(predictions.queries, predictions.rows, predictions.lines.tolist()):
        if not index.is_query(name):
            faults.append(_name_fault(index, dataset, name, "query", line))
        repeated = [key for key, count in Counter(row).items() if count > 1]
        faults += [("doubled prediction", f"line {line}, {key}") for key in repeated]
        for prediction in dict.fromkeys(row):
            if index.database_anywhere(prediction) is None:
                faults.append(_name_fault(index, dataset, prediction, "database", line))
    return faults


def _missing_queries(predictions: Predictions, dataset: MSLS) -> list[Fault]:
    present = set(predictions.queries)
    return [("missing query", name) for name in dataset.retrieval_set.queries.names.tolist() if name not in present]


def _doubled_queries(predictions: Predictions) -> list[Fault]:
    return [
        ("doubled query", f"line {line}, {name} is already on line {first}")
        for name, first, line in predictions.repeated_queries()
    ]


def _uneven_rows(predictions: Predictions, index: NameIndex, dataset: MSLS) -> list[Fault]:
    """Rows without predictions, and rows with another number of predictions than most rows.

    A row may be shorter if it names the whole database of a small city. Such rows may be the majority, so the other
    rows are also counted by themselves.
    """
    lengths = [len(row) for row in predictions.rows]
    complete = [
        len(set(row)) == len(row) and len(row) in _database_sizes(name, index, dataset)
        for name, row in zip(predictions.queries, predictions.rows)
    ]
    others = [length for length, is_complete in zip(lengths, complete) if not is_complete]
    usual = max(_most_common(lengths), _most_common(others))
    return [
        ("uneven rows", f"line {line}, {length or 'no'} predictions, but most rows have {usual or 'none'}")
        for length, is_complete, line in zip(lengths, complete, predictions.lines.tolist())
        if not length or (length != usual and not is_complete)
    ]


def _most_common(lengths: list[int]) -> int:
    """The most common length of the rows that are not empty; 0 if all are empty."""
    return max(Counter(filter(None, lengths)).items(), key=lambda item: item[1], default=(0, 0))[0]


def _database_sizes(name: str, index: NameIndex, dataset: MSLS) -> set[int]:
    """The number of database entries of each city with a query of this name; empty if cities are merged."""
    if dataset.protocol.scope != "city":
        return set()
    return {len(index.database(city)) for city in index.cities(name)}


def _name_fault(index: NameIndex, dataset: MSLS, name: str, role: Role, line: int) -> Fault:
    """The fault of a name that is not a query (or a database entry) of the protocol."""
    word = "query" if role == "query" else "prediction"
    if any(key.lower().endswith(ENDINGS) for key in name.split(",")):
        return "key with an extension", f"line {line}, {word} {name}: keys have no file extension"
    reason = index.describe(name, role)
    if reason == UNKNOWN:
        return "unknown key", f"line {line}, {word} {name}"
    city = index.city_not_chosen(name)
    if city is not None and official_split(city) != dataset.protocol.split:
        split = official_split(city) or "no official"
        return "wrong split", f"line {line}, {word} {name} is of {city} ({split} split)"
    return f"{word} outside the protocol", f"line {line}, {name}: {reason}"
