"""What a folder holds: the layout of a set, found from its files, and where its photos and its truth are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpr.base.photo_files import is_hidden
from vpr.datasets.errors import DatasetError
from vpr.datasets.places.arrays import ARRAYS, array_prefixes, prefix_of
from vpr.datasets.places.photos import PATH_LIST, is_list
from vpr.positions.tables import LIST_SUFFIXES, has_column

Split = Literal["train", "val", "test"]
SPLITS = ("test", "val", "train")  # the first that is there is taken
DATABASE_NAMES = ("database", "gallery", "ref", "reference", "references", "refs", "db", "index")
QUERY_NAMES = ("queries", "query", "q")
BENCH_TRUTH = ("ground_truth_new.npy", "ground_truth.npy")  # of VPR-Bench
TABLES = (".csv", ".tsv", ".geojson")  # lists that are found by looking; other text and JSON may be anything
LAYOUTS = (
    "known are database/ and queries/ (also in images/test/), ref/ and query/ with ground_truth_new.npy, "
    "X_dbImages.npy with X_qImages.npy, and a list of photos with a column side"
)


@dataclass(frozen=True)
class Places:
    """Where a set is: folders or lists of both sides, or arrays."""

    root: Path  # as the user gave it, or the folder above both sides
    database: Path | None = None  # a folder, or a list of photos with positions
    queries: Path | None = None
    truth: Path | None = None  # what is right, or the positions of the photos
    arrays: str = ""  # the beginning of the paths of arrays; empty if the set is none of arrays
    both: Path | None = None  # a list of both sides
    split: str = ""  # the split that was taken; empty if the folder has none

    def files(self) -> list[Path]:
        """The files, besides photos, that the set is read from."""
        given = [path for path in (self.truth, self.both, self.database, self.queries) if path is not None]
        prefix = self.arrays or (self.truth and prefix_of(self.truth))
        arrays = [Path(f"{prefix}{name}") for name in ARRAYS] if prefix else []
        lists = [path.with_name(f"{path.name}{PATH_LIST}") for path in given]
        return [path for path in (*given, *arrays, *lists) if path.is_file()]


def find_places(root: Path, truth: Path | None = None, split: Split | None = None) -> Places:
    """Where the set below a root is, by looking.

    truth: a file that the user gave. split: the split to take; None takes the only one, or test. Raises DatasetError
    for a folder of no known layout, and if it could be several sets.
    """
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}; check the path")
    if truth is not None and (prefix := prefix_of(truth)) is not None:
        return Places(root, truth=truth, arrays=prefix)
    if truth is None and (prefixes := array_prefixes(root)):
        return Places(root, arrays=_only(prefixes, root, "sets of arrays", "pass --truth X_gt.npy or X_pIdx.npy"))
    if truth is None and split is None and (listed := _lists_of_both(root)):
        return Places(root, both=Path(_only(listed, root, "lists with a column side", "pass --truth LIST")))
    for folder, name in _split_folders(root, split):
        if sides := sides_of(folder):
            found = next((folder / one for one in BENCH_TRUTH if (folder / one).is_file()), None)
            return Places(root, *sides, truth or found, split=name)
    if truth is not None and is_list(truth):
        return Places(root, both=truth)
    lists = [path for path in sorted(root.iterdir()) if path.suffix.lower() in LIST_SUFFIXES and path.is_file()]
    if sides := list_sides(lists):
        return Places(root, *sides, truth)
    tables = [path for path in lists if path.suffix.lower() in TABLES]
    if len(tables) == 1 and not _other_set(root):
        return Places(root, both=tables[0])
    raise _unknown(root, split)


def _lists_of_both(root: Path) -> list[str]:
    """The lists in a root that tell both sides apart."""
    tables = [path for path in sorted(root.iterdir()) if path.suffix.lower() in TABLES and path.is_file()]
    return [str(path) for path in tables if has_column(path, "side")]


def _split_folders(root: Path, split: Split | None) -> list[tuple[Path, str]]:
    """The folders that may hold both sides, each with its split."""
    bases = [root, root / "images"]
    splits = [(base / name, name) for base in bases for name in SPLITS if split in (None, name)]
    if split is None or root.name == split:
        splits = [(root, root.name if root.name in SPLITS else ""), *splits]
    return [(folder, name) for folder, name in splits if folder.is_dir()]


def has_split(root: Path, split: Split) -> bool:
    """Whether a root has queries and database of a split, in a folder of its name."""
    return any(sides_of(folder) for folder, name in _split_folders(root, split) if name == split)


def sides_of(folder: Path) -> tuple[Path, Path] | None:
    """The folders of database and queries in a folder; None unless it has both.

    Raises DatasetError if there are several folders of queries, none of which has the plain name.
    """
    named = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir() and not is_hidden(path.name)}
    database = next((named[name] for name in DATABASE_NAMES if name in named), None)
    queries = [named[name] for name in QUERY_NAMES if name in named]
    several = [path for name, path in named.items() if name.startswith(("queries_", "query_", "queries-", "query-"))]
    if database is None or not (queries or several):
        return None
    if not queries and len(several) > 1:
        names = ", ".join(path.name for path in several)
        remedy = f"pass --database {database} --queries and one of them"
        raise DatasetError(f"{folder} has several sets of queries: {names}; {remedy}")
    return database, (queries or several)[0]


def list_sides(lists: list[Path]) -> tuple[Path, Path] | None:
    """The lists of database and queries, by their names; None unless there are both."""
    named = {path.stem.lower(): path for path in lists}
    database = next((named[name] for name in DATABASE_NAMES if name in named), None)
    queries = next((named[name] for name in QUERY_NAMES if name in named), None)
    return None if database is None or queries is None else (database, queries)


def _only(found: list[str], root: Path, what: str, remedy: str) -> str:
    """The only element; raises DatasetError if there are several."""
    if len(found) > 1:
        raise DatasetError(f"{root} has several {what}: {', '.join(Path(one).name for one in found)[:80]}; {remedy}")
    return found[0]


def _other_set(root: Path) -> str:
    """The set that a folder is, with the remedy, if it is of another kind; empty otherwise."""
    inside = {path.name for path in root.iterdir()}
    if "train_val" in inside:
        return f"an MSLS tree; use python -m eval.msls --data {root}"
    if {"Dataframes", "Images"} <= inside:
        return "GSV-Cities, which has no queries and database; it is a set to train on"
    return ""


def _unknown(root: Path, split: Split | None) -> DatasetError:
    """The error for a folder of no known layout, with the likely reason."""
    if other := _other_set(root):
        return DatasetError(f"{root} is {other}")
    if split is not None and _split_folders(root, None):
        return DatasetError(f"{root} has no split {split} with queries and database; pass another --split")
    if near := _near_sets(root):
        return DatasetError(f"{root} is no set, but {near[0]} is", thing=root, remedy=f"pass --data {near[0]}")
    return DatasetError(f"{root} has no layout that is known ({LAYOUTS}); pass --database DIR --queries DIR")


def _near_sets(root: Path) -> list[Path]:
    """The folder of which a root is one side, and the folders in the root with both sides."""
    inside = Path(os.path.abspath(root))
    below = [path for path in sorted(root.iterdir()) if path.is_dir() and not is_hidden(path.name)]
    sets = [place for place in below if any(_sides_or_none(folder) for folder, _ in _split_folders(place, None))]
    return [inside.parent, *sets] if inside in (_sides_or_none(inside.parent) or ()) else sets


def _sides_or_none(folder: Path) -> tuple[Path, Path] | None:
    """As `sides_of`, without errors: of several sets of queries, or a folder that may not be read."""
    try:
        return sides_of(folder)
    except (DatasetError, OSError):
        return None
