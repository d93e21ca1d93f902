"""Both sides of a set with what is right, by its layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.object_arrays import read_array
from vpr.datasets.places.arrays import ArraySet, prefix_of, read_arrays, read_arrays_of
from vpr.datasets.places.layout import BENCH_TRUTH, Places
from vpr.datasets.places.listed_positions import listed_positions
from vpr.datasets.places.lookup import PhotoIndex
from vpr.datasets.places.notes import missing_notes, unknown_notes, unnamed_notes, with_positions
from vpr.datasets.places.photos import (
    Photos,
    PlacedPhotos,
    is_list,
    list_photos,
    place_by_names,
    place_photos,
    read_side,
    unplaced,
)
from vpr.datasets.places.rules import Layout, PlaceRules
from vpr.datasets.places.truth import (
    Rows,
    has_pairs,
    is_number_pairs,
    read_name_pairs,
    read_number_pairs,
    read_number_rows,
)
from vpr.positions.errors import ColumnError
from vpr.positions.tables import read_list

QUERY_SIDES, DATABASE_SIDES = ("query", "queries", "q"), ("database", "reference", "gallery", "ref", "db", "map")


@dataclass
class Labelled:
    """Both sides with what is right."""

    layout: Layout
    queries: PlacedPhotos
    database: PlacedPhotos
    rows: Rows | None = None  # for each query; None if positions decide, or nothing
    notes: list[str] = field(default_factory=list)


def read_labelled(places: Places, rules: PlaceRules) -> Labelled:
    """The photos of both sides, and what is right. Photos without a position are left out if positions decide.

    Raises DatasetError for files that are missing or damaged, and MapError for a list that cannot be read.
    """
    labelled = _read(places, rules)
    if rules.labels:
        return labelled
    return Labelled("no labels", labelled.queries, labelled.database, None, labelled.notes)


def _read(places: Places, rules: PlaceRules) -> Labelled:
    if places.arrays:
        return _read_arrays(places, rules)
    if places.both is not None:
        return _read_both(places.both, rules)
    assert places.database is not None and places.queries is not None
    listed = places.truth if places.truth is not None and is_list(places.truth) else None
    is_pairs = listed is not None and has_pairs(listed)
    positions = None if is_pairs else listed
    by_position = rules.labels and (places.truth is None or positions is not None)
    (queries, missing), (database, also_missing) = (
        read_side(place, rules.crs) for place in (places.queries, places.database)
    )
    if by_position and positions is None:
        queries, database = place_photos([queries, database], rules.crs)
    notes = missing_notes(places.queries, missing) + missing_notes(places.database, also_missing)
    if rules.labels and positions is not None:
        try:
            queries, database, unknown = listed_positions(queries.photos, database.photos, positions, rules.crs)
        except ColumnError as error:
            remedy = ("write the columns query and database, or two names in each line; or a column file with latitude "
                      "and longitude, or easting and northing")  # fmt: skip
            what = f"{positions} has neither pairs nor positions ({error.what})"
            raise DatasetError(what, thing=positions, remedy=remedy) from error
        notes += unknown_notes(positions, unknown)
    if not rules.labels or places.truth is None or positions is not None:
        return _by_position(queries, database, notes)
    return _by_truth(places.truth, queries, database, rules, notes)


def _by_position(queries: PlacedPhotos, database: PlacedPhotos, notes: list[str]) -> Labelled:
    """Sides whose positions decide what is right; without labels if either side has no position."""
    sides = {"query": queries, "database photo": database}
    without = [name for name, side in sides.items() if not side.coordinates.known.any()]
    if without:
        if len(without) == 1:
            notes.append(f"no {without[0]} has a position, so nothing can be scored")
        return Labelled("no labels", queries, database, None, notes)
    kept = [with_positions(side, name, notes) for name, side in sides.items()]
    sources = {side.source for side in kept}
    layout: Layout = "names" if sources == {"names"} else "EXIF" if "EXIF" in sources else "list"
    return Labelled(layout, kept[0], kept[1], None, notes)


def _by_truth(
    truth: Path, queries: PlacedPhotos, database: PlacedPhotos, rules: PlaceRules, notes: list[str]
) -> Labelled:
    """Sides with a file that says what is right. Positions in names are read too, for maps and confidence."""
    queries, database = place_by_names([queries, database], rules.crs)
    sides = queries.photos, database.photos
    if truth.suffix.lower() == ".npy":
        if (prefix := prefix_of(truth)) is not None:
            arrays = read_arrays_of(prefix, *sides, truth)
            return _of_arrays(arrays, [*notes, *_unnamed(arrays, sides)], rules)
        if truth.name in BENCH_TRUTH or is_number_pairs(read_array(truth)):
            rows, unnamed = read_number_pairs(truth, *sides)
            if unnamed:
                notes += unnamed_notes(len(unnamed), "query", truth.name)
                kept = sorted(set(range(len(rows))) - set(unnamed))
                queries, rows = queries.take(np.array(kept, np.int64)), [rows[row] for row in kept]
            return Labelled("VPR-Bench", queries, database, rows, notes)
        rows = read_number_rows(truth, len(sides[1].files))
        if len(rows) != len(sides[0].files):
            raise DatasetError(f"{truth} has {len(rows)} rows for {len(sides[0].files)} queries; is it of another set?")
        notes.append(f"no array of images lies beside {truth.name}: its numbers are those of the photos sorted by name")
        return Labelled("arrays", queries, database, rows, notes)
    if not is_list(truth):
        raise DatasetError(f"{truth} is no truth that is known; give a .npy, or a .csv of pairs or positions")
    indices = [PhotoIndex(side.files, side.names) for side in sides]
    rows, unknown = read_name_pairs(truth, indices[0], indices[1], len(sides[0].files))
    return Labelled("pairs", queries, database, rows, [*notes, *unknown_notes(truth, unknown)])


def _read_arrays(places: Places, rules: PlaceRules) -> Labelled:
    return _of_arrays(read_arrays(places.arrays, places.root, places.truth), [], rules)


def _of_arrays(arrays: ArraySet, notes: list[str], rules: PlaceRules) -> Labelled:
    queries, database = place_by_names([unplaced(arrays.queries), unplaced(arrays.database)], rules.crs)
    notes = [*notes, *unnamed_notes(arrays.left_out, "query", "qIdx")]
    if arrays.rows is None:
        return _by_position(queries, database, [*notes, "there is neither pIdx nor gt beside the arrays"])
    return Labelled("arrays", queries, database, arrays.rows, notes)


def _unnamed(arrays: ArraySet, sides: tuple[Photos, Photos]) -> list[str]:
    """The notes on photos of two folders that the arrays do not name."""
    named = arrays.all_queries, len(set(arrays.database.files))
    return [
        note
        for side, count in zip(sides, named)
        for note in unnamed_notes(len(side.files) - count, "photo", "the arrays", f" of {side.place}")
    ]


def _read_both(path: Path, rules: PlaceRules) -> Labelled:
    """A list of both sides, told apart by its column ``side``."""
    entries = list(read_list(path, rules.crs))
    sides = []
    for names in (QUERY_SIDES, DATABASE_SIDES):
        chosen = [entry for entry in entries if entry.side in names]
        if not chosen:
            raise DatasetError(
                f"{path} has no photo whose column side is {names[0]}; add the column, with query or database, or pass "
                "--database and --queries"
            )
        sides.append(list_photos(path, chosen))
    if odd := next((entry for entry in entries if entry.side not in (*QUERY_SIDES, *DATABASE_SIDES)), None):
        what = f"{path}, row {odd.row}: the side of {odd.name} is {odd.side[:20]!r}"
        raise DatasetError(what, thing=path, remedy="write query or database")
    return _by_position(sides[0][0], sides[1][0], missing_notes(path, sides[0][1] + sides[1][1]))
