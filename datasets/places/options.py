"""The options of a set of places."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpr.base.settings import PositiveFloat, option
from vpr.datasets.errors import DatasetError
from vpr.datasets.places.layout import Places, Split, find_places
from vpr.datasets.places.place_set import PlaceSet, load
from vpr.datasets.places.rules import PlaceRules
from vpr.positions.geodesy import require_crs


@dataclass(frozen=True)
class PlaceOptions:
    """Dataset."""

    database: Path | None = option(None, "folder of the database photos, or a list of photos with positions")
    queries: Path | None = option(None, "folder of the queries, or a list of photos with positions")
    data: Path | None = option(
        None,
        "root of a set, whose layout is found by looking: database/ and queries/, also in images/test/; arrays of "
        "gsv-cities; ref/ and query/ of VPR-Bench; a list with a column side",
    )
    split: Split | None = option(None, "split to take from --data; default: the only one, or test")
    truth: Path | None = option(
        None,
        "what is right: X_gt.npy or X_pIdx.npy, ground_truth_new.npy, a .csv or .txt of query and database pairs, or a "
        "list of photos with positions; default: the file beside the photos, or the positions in their names or EXIF",
    )
    radius: PositiveFloat = option(25.0, "distance within which a database photo is right, metres; inclusive")
    crs: str = option("", "reference system of metres without a zone, such as EPSG:32631")
    without_positives: Literal["auto", "left-out", "wrong"] = option(
        "auto",
        "queries without a right database photo: left out of the recall, or counted as wrong; auto: wrong for "
        "positions in file names, as VPR-methods-evaluation does, otherwise left out",
    )
    unlabelled: bool = option(False, "only rank, also if it is known what is right")

    def load(self) -> PlaceSet:
        """Read the set; raises DatasetError and MapError as `vpr.datasets.places.place_set.load` does."""
        return load(self.places(), self.rules())

    def rules(self) -> PlaceRules:
        """What is right, and which queries count. Raises MapError for an unknown reference system."""
        if self.crs:
            require_crs(self.crs)
        unanswered = None if self.without_positives == "auto" else self.without_positives.replace("-", " ")
        return PlaceRules(self.radius, self.crs, unanswered, not self.unlabelled)  # type: ignore[arg-type]

    def places(self) -> Places:
        """Where the set is; raises DatasetError if the options name none, or two."""
        if self.truth is not None and not self.truth.is_file():
            raise DatasetError(f"--truth {self.truth}: no such file; check the path")
        if self.data is not None:
            if self.database is not None or self.queries is not None:
                raise DatasetError("--data and --database, --queries name two sets; give one")
            return find_places(self.data, self.truth, self.split)
        if self.database is None or self.queries is None:
            raise DatasetError("no set is given; pass --database DIR and --queries DIR, or --data ROOT")
        for place in (self.database, self.queries):
            if not place.exists():
                raise DatasetError(f"there is no folder or list {place}; check the path")
        return Places(Path(os.path.commonpath([os.path.abspath(self.database), os.path.abspath(self.queries)])),
                      self.database, self.queries, self.truth)  # fmt: skip
