"""The official numbers of photos of well-known test sets, and a remark if a set has others.

What each number rests on:

- SVOX: code that counts the photos in the folders of the set.
- SF-XL: the README of the set, which rounds the numbers of database photos.
- Nordland and SPED: a configuration of VPR-Bench's folders. VPR-datasets-downloader makes the two versions of Nordland
  from one list of frames: with each of them as a query, or with every tenth.
- Eynsham, the database: the code of VPR-datasets-downloader, which takes 4,787 panoramas of 5 tiles.
- MSLS validation, 18,871 and 740 or 747: the official loader, see `vpr.datasets.msls.known_counts`.
- All others are second-hand: Pitts30k, Pitts250k, Tokyo 24/7, St Lucia, AmsterTime, the queries of Eynsham, and the
  11,084 queries of MSLS. They are from a table that copies them from papers. Beside it, one table of EigenPlaces
  (Berton et al., ICCV 2023) was looked up, but neither the papers of the sets nor the sets themselves.

Other splits are not known.
"""

from __future__ import annotations

import re
from pathlib import Path

from vpr.base.progress import counted

Count = int | range  # a range is a rounded number

# By the name of the set, lower case letters and digits: the pairs of numbers of database photos and queries that its
# versions have.
SF_XL, SF_XL_SMALL = range(2_750_000, 2_850_000), range(26_500, 27_500)
KNOWN: dict[str, tuple[tuple[Count, int], ...]] = {
    "pitts30k": ((10_000, 6_816),),
    "pitts250k": ((83_952, 8_280),),
    "tokyo247": ((75_984, 315),),
    "stlucia": ((1_549, 1_464),),
    "eynsham": ((23_935, 23_935),),
    "nordland": ((27_592, 27_592), (27_592, 2_760)),
    "amstertime": ((1_231, 1_231),),
    "sped": ((607, 607),),
    "svox": ((17_166, 823), (17_166, 872), (17_166, 937), (17_166, 870), (17_166, 854), (17_166, 14_278)),
    "sfxl": ((SF_XL, 1_000), (SF_XL, 598), (SF_XL, 466), (SF_XL, 76), (SF_XL_SMALL, 1_000)),
    "mslsval": ((18_871, 740), (18_871, 747), (18_871, 11_084)),
}
OTHER_SPLIT = re.compile(r"(?<![a-z])(train|val)(?![a-z])")  # in a name of a folder or an array


def count_remark(places: tuple[Path, ...], database: int, queries: int) -> str | None:
    """A remark if a test set has the name of a well-known one, and other numbers of photos; None otherwise.

    places: the paths of the set; a folder or a file with the name of the set tells which it is, and whether it is
    another split.
    """
    parts = [part for place in places for part in place.parts]
    name = next((name for part in parts for name in _names(part)), None)
    if name is None or any(_is(known, database) and count == queries for known, count in KNOWN[name]):
        return None
    if name != "mslsval" and any(OTHER_SPLIT.search(part.lower()) for part in parts):
        return None
    official = " or ".join(f"{_text(known)} and {count:,}" for known, count in KNOWN[name])
    found = f"{counted(database, 'database photo')} and {counted(queries, 'query')}"
    return f"{found}, but {name} has {official}: files are missing, or this is a part of the set"


def _is(known: Count, count: int) -> bool:
    return count in known if isinstance(known, range) else count == known


def _text(known: Count) -> str:
    return f"about {known[len(known) // 2]:,}" if isinstance(known, range) else f"{known:,}"


def _names(part: str) -> list[str]:
    """The known sets whose name a part of a path begins with.

    >>> _names("Tokyo24_7"), _names("pitts30k_test_dbImages.npy"), _names("images")
    (['tokyo247'], ['pitts30k'], [])
    """
    plain = re.sub("[^a-z0-9]", "", part.lower())
    return [name for name in KNOWN if plain.startswith(name)]
