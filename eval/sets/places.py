"""A set of places: two folders, arrays, lists, or no labels at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.places.place_set import PlaceSet
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.files.photo_names import PhotoNames
from vpr.eval.sets.benchmark import Benchmark

KS = (1, 5, 10, 20, 100)  # the numbers of answers that VPR-methods-evaluation prints


@dataclass(frozen=True, eq=False)
class PlacesBenchmark(Benchmark):
    """A set of places under the rules of its layout."""

    places: PlaceSet
    ks: tuple[int, ...] = KS
    names: PhotoNames = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", PhotoNames(self.places.retrieval_set))

    @property
    def data(self) -> RetrievalSet:
        """Queries, database and positives."""
        return self.places.retrieval_set

    @property
    def title(self) -> str:
        """The folder of the set."""
        return self.places.places.root.name or str(self.places.places.root)

    def describe(self) -> str:
        """One line: the two sides, the split, and what is right."""
        places = self.places.places
        split = f", split {places.split}" if places.split else ""
        if places.arrays:
            where = f"{places.arrays}*.npy"
        elif places.both is not None:
            where = str(places.both)
        else:
            where = f"queries {places.queries} in {places.database}"
        return f"places: {where}{split}; {self.places.rule}"

    def protocol(self) -> dict[str, Any]:
        """Where the set is, its layout, what is right, and what queries without a right photo count as."""
        places = self.places.places
        named = {"database": places.database, "queries": places.queries, "truth": places.truth, "list": places.both}
        return {
            "layout": self.places.layout,
            "root": str(places.root),
            **{name: None if path is None else str(path) for name, path in named.items()},
            "arrays": places.arrays or None,
            "split": places.split or None,
            "radius_m": self.places.radius_m,
            "rule": self.places.rule,
            "without_positives": None if self.data.positives is None else self.data.unanswered,
        }

    def notes(self) -> list[str]:
        """What is left out, and numbers of photos that are not those of a well-known set of this name."""
        return list(self.places.notes)

    def unscored_reason(self) -> str:
        """Why no answer is known; empty if answers are known."""
        if self.data.positives is not None:
            return ""
        remedy = "write a --submission or a --report, or pass --truth FILE"
        return f"which database photos are right is unknown; {remedy}"

    def require_positives(self) -> None:
        """Raise DatasetError if it is known what is right, and no query has a right database photo."""
        positives = self.data.positives
        if positives is not None and not positives.counts.any():
            remedy = "widen --radius, check that both sides are of one town, or pass --unlabelled"
            raise DatasetError(f"no query has a positive, so nothing can be scored; {remedy}")

    def read_rankings(self, path: Path, strict: bool) -> np.ndarray:
        """As `PhotoNames.read_rankings`."""
        return self.names.read_rankings(path, strict)

    def read_shortlist(self, path: Path, depth: int) -> np.ndarray:
        """As `PhotoNames.read_shortlist`."""
        return self.names.read_shortlist(path, depth)

    def facets(self) -> dict[str, np.ndarray]:
        """The distance of the nearest positive, if it differs."""
        from vpr.eval.report.tables import nearest_positive

        nearest = nearest_positive(self.data)
        return {} if nearest is None else {"nearest positive": nearest}

    def columns(self) -> dict[str, str]:
        """The folder of the set."""
        return {"set": self.title}
