"""Every fault of a submission file, each with its kind and place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vpr.datasets.msls.cities import official_split
from vpr.datasets.msls.dataset import MSLS
from vpr.eval.files.names import UNKNOWN, NameIndex, Role
from vpr.eval.files.prediction_file import SUFFIXES, PredictionError, Predictions, read_predictions

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

Fault = tuple[str, str]  # kind, e.g. 'missing query', and where


def faults_of_file(path: Path, dataset: MSLS) -> list[Fault]:
    """All faults of the file for the dataset's queries and database, none for a valid file.

    Kinds: unreadable file (not UTF-8, no rows, a zip that does not hold one .csv at its root, another
    suffix), missing query, doubled query, query outside the protocol, doubled prediction, prediction
    outside the protocol, key with an extension, wrong split, unknown key, uneven rows.
    """
    if path.suffix not in SUFFIXES:
        return [("unreadable file", f"{path}: a submission is a .csv or a .zip")]
    try:
        predictions = read_predictions(path)
    except PredictionError as error:
        return [("unreadable file", str(error))]
    return faults_of_predictions(predictions, dataset)


def faults_of_predictions(predictions: Predictions, dataset: MSLS) -> list[Fault]:
    """As ``faults_of_file``, for a file that was read."""
    index = NameIndex(dataset)
    faults = _missing(predictions, dataset) + _doubled_queries(predictions) + _uneven(predictions, index, dataset)
    for name, row, line in zip(predictions.queries, predictions.rows, predictions.lines.tolist()):
        if not index.is_query(name):
            faults.append(_foreign(index, dataset, name, "query", line))
        for repeat in (key for key, count in Counter(row).items() if count > 1):
            faults.append(("doubled prediction", f"line {line}, {repeat}"))
        for prediction in dict.fromkeys(row):
            if index.database_anywhere(prediction) is None:
                faults.append(_foreign(index, dataset, prediction, "database", line))
    return faults


def _missing(predictions: Predictions, dataset: MSLS) -> list[Fault]:
    present = set(predictions.queries)
    return [("missing query", name) for name in dataset.retrieval_set.queries.names.tolist() if name not in present]


def _doubled_queries(predictions: Predictions) -> list[Fault]:
    return [
        ("doubled query", f"line {line}, {name} stands already on line {first}")
        for name, first, line in predictions.repeated_queries()
    ]


def _uneven(predictions: Predictions, index: NameIndex, dataset: MSLS) -> list[Fault]:
    """Rows without predictions, and rows of another length than most of the others have; a row that names all of a
    small city's database is right. Such rows may be the majority, so the others are counted by themselves too."""
    lengths = [len(row) for row in predictions.rows]
    whole = [
        len(set(row)) == len(row) and len(row) in _whole(name, index, dataset)
        for name, row in zip(predictions.queries, predictions.rows)
    ]
    others = [length for length, is_whole in zip(lengths, whole) if not is_whole]
    usual = max(_most_common(lengths), _most_common(others))
    return [
        ("uneven rows", f"line {line}, {length or 'no'} predictions where most rows have {usual or 'none'}")
        for length, is_whole, line in zip(lengths, whole, predictions.lines.tolist())
        if not length or (length != usual and not is_whole)
    ]


def _most_common(lengths: list[int]) -> int:
    """The length that most rows have, without empty ones; 0 if there are none."""
    return max(Counter(filter(None, lengths)).items(), key=lambda item: item[1], default=(0, 0))[0]


def _whole(name: str, index: NameIndex, dataset: MSLS) -> set[int]:
    """How many entries the cities have that hold a query of this name, each searched by itself."""
    if dataset.protocol.scope != "city":
        return set()
    return {len(index.database(city)) for city in index.cities(name)}


def _foreign(index: NameIndex, dataset: MSLS, name: str, role: Role, line: int) -> Fault:
    """The fault of a name that is no query (or no database entry) of the protocol."""
    word = "query" if role == "query" else "prediction"
    if any(key.lower().endswith(IMAGE_SUFFIXES) for key in name.split(",")):
        return "key with an extension", f"line {line}, {word} {name}: keys carry no file extension"
    reason = index.describe(name, role)
    if reason == UNKNOWN:
        return "unknown key", f"line {line}, {word} {name}"
    city = index.city_not_chosen(name)
    if city is not None and official_split(city) != dataset.protocol.split:
        split = official_split(city) or "no official"
        return "wrong split", f"line {line}, {word} {name} is of {city} ({split} split)"
    return f"{word} outside the protocol", f"line {line}, {name}: {reason}"
