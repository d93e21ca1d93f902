"""The official numbers of photos of well-known test sets, and a remark if a set has others.

Sources: the papers of the sets, the README files of VPR-datasets-downloader and gsv-cities, and the tables of "Deep
Visual Geo-localization Benchmark" (Berton et al., CVPR 2022).
"""

from __future__ import annotations

import re
from pathlib import Path

# By the name of the set, lower case letters and digits: the pairs of numbers of database photos and queries that its
# splits and versions have.
KNOWN: dict[str, tuple[tuple[int, int], ...]] = {
    "pitts30k": ((10_000, 6_816), (10_000, 7_608), (10_000, 7_416)),
    "pitts250k": ((83_952, 8_280), (78_648, 7_608), (91_464, 7_824)),
    "tokyo247": ((75_984, 315),),
    "stlucia": ((1_549, 1_464),),
    "eynsham": ((23_935, 23_935),),
    "nordland": ((27_592, 27_592), (27_592, 2_760)),
    "amstertime": ((1_231, 1_231),),
    "sped": ((607, 607),),
    "svox": ((17_166, 823), (17_166, 872), (17_166, 937), (17_166, 870), (17_166, 854), (17_166, 14_278)),
    "sfxl": ((2_805_840, 1_000), (2_805_840, 598), (2_805_840, 466), (2_805_840, 76), (8_015, 7_993)),
    "mslsval": ((18_871, 740), (18_871, 747), (18_871, 11_084)),
}


def count_remark(places: tuple[Path, ...], database: int, queries: int) -> str | None:
    """A remark if a set has the name of a well-known one, and other numbers of photos; None otherwise.

    places: the paths of the set; a folder or a file with the name of the set tells which it is.
    """
    name = next((name for place in places for part in place.parts for name in _names(part)), None)
    if name is None or (database, queries) in KNOWN[name]:
        return None
    official = " or ".join(f"{one:,} and {other:,}" for one, other in KNOWN[name])
    return (
        f"{database:,} database photos and {queries:,} queries, but {name} has {official}: files are missing, or this "
        "is a part of the set"
    )


def _names(part: str) -> list[str]:
    """The known sets whose name a part of a path begins with.

    >>> _names("Tokyo24_7"), _names("pitts30k_test_dbImages.npy"), _names("images")
    (['tokyo247'], ['pitts30k'], [])
    """
    plain = re.sub("[^a-z0-9]", "", part.lower())
    return [name for name in KNOWN if plain.startswith(name)]
