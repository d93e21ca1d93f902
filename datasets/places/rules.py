"""What is right for a query, and which queries count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vpr.datasets.retrieval_set import Unanswered

# Where the truth comes from: positions in names, in a list or in EXIF; numbers in arrays; pairs of names; nowhere.
Layout = Literal["names", "list", "EXIF", "arrays", "VPR-Bench", "pairs", "no labels"]


@dataclass(frozen=True)
class PlaceRules:
    """What is right, and for which queries."""

    radius_m: float = 25.0  # metres; positives lie within it, inclusive
    crs: str = ""  # reference system of metres without one
    unanswered: Unanswered | None = None  # what queries without a positive count as; None goes by the layout
    labels: bool = True  # False ranks only

    def unanswered_of(self, layout: Layout) -> Unanswered:
        """What queries without a positive count as.

        VPR-methods-evaluation, which reads names, divides by all queries. The arrays and truth files of the others name
        the queries that have an answer.
        """
        return self.unanswered or ("wrong" if layout == "names" else "left out")
