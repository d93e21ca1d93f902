"""The columns of a list of photos: their names, the kinds of positions that they have, and values that are unknown."""

import re
from collections.abc import Collection, Mapping, Sequence

from vpr.positions.map_frame import Kind

FILE_COLUMNS = (
    "file", "key", "name", "filename", "photo", "image", "sourcefile", "path", "filepath", "imagename", "imagepath",
    "photoname",
)  # fmt: skip
LATITUDES, LONGITUDES = ("latitude", "lat", "gpslatitude", "maplatitude"), (
    "longitude", "lon", "lng", "long", "gpslongitude", "maplongitude",
)  # fmt: skip
HEMISPHERE_COLUMNS = {"NS": "gpslatituderef", "EW": "gpslongituderef"}  # by the letters of the hemispheres
EASTINGS, NORTHINGS = ("easting", "utmeast", "utmeasting"), ("northing", "utmnorth", "utmnorthing")
XS, YS, NUMBERED, NAMED = ("x",), ("y",), ("frame",), ("place",)
HEADINGS = (
    "heading", "compassangle", "computedcompassangle", "compass", "bearing", "ca", "northdeg", "gpsimgdirection",
)  # fmt: skip
NUMBERS = (*LATITUDES, *LONGITUDES, *EASTINGS, *NORTHINGS, *XS, *YS, *NUMBERED)
ON_EARTH = (*LATITUDES, *LONGITUDES, *EASTINGS, *NORTHINGS)
# The positions of each kind that a row may have; of each the columns of its parts, under all their names.
PARTS_OF: dict[Kind, tuple[tuple[tuple[str, ...], ...], ...]] = {
    "earth": ((LATITUDES, LONGITUDES), (EASTINGS, NORTHINGS)),
    "metres": ((XS, YS),),
    "frames": ((NUMBERED,),),
    "names": ((NAMED,),),
}
UNKNOWN = ("nan", "-nan", "null", "none", "na", "n/a", "#n/a", "<na>")  # in lower case; pandas writes such values
UNKNOWN_HEMISPHERE = "unknown"  # how the value of exiftool begins: Unknown ()

Row = Mapping[str, Sequence[str]]  # the values by normalised column name; none for an empty column of a CSV


def normalise_column(column: object) -> str:
    """The name of a column in lower case, letters and digits only, without exiftool's group.

    >>> normalise_column("GPS Latitude"), normalise_column("EXIF:GPSLatitude")
    ('gpslatitude', 'gpslatitude')
    """
    return re.sub("[^a-z0-9]", "", str(column).rpartition(":")[2].lower())


def name_eastings(row: Row, crs: str) -> Row:
    """The row with x and y as easting and northing, if it has a reference system for them and nothing else on Earth."""
    if not (crs or row.get("crs")) or any(row.get(name) for name in ON_EARTH):
        return row
    renamed = {XS[0]: EASTINGS[0], YS[0]: NORTHINGS[0]}
    return {renamed.get(name, name): values for name, values in row.items() if values}


def kinds_with(columns: Collection[str]) -> list[Kind]:
    """The kinds of positions of which these are columns."""
    return [
        kind for kind, parts in PARTS_OF.items() if any(name in columns for part in parts for n in part for name in n)
    ]


def is_filled(column: str, values: Sequence[str]) -> bool:
    """Whether a column has a value that is not one of `UNKNOWN`; a name may be any text."""
    return any(column in NAMED or not is_unknown_text(value) for value in values)


def has_columns(columns: Sequence[str]) -> bool:
    """Whether a list with these columns names photos, and has all the parts of a position."""

    def has(*choices: Sequence[str]) -> bool:
        return all(any(name in columns for name in names) for names in choices)

    return has(FILE_COLUMNS) and any(has(*names) for of_kind in PARTS_OF.values() for names in of_kind)


def is_unknown_text(text: str) -> bool:
    """Whether a text stands for an unknown number or hemisphere."""
    return text.lower() in UNKNOWN or text.lower().startswith(UNKNOWN_HEMISPHERE)


def column_values(row: Row, names: Sequence[str]) -> list[str]:
    """The values of the columns with these names, in their order, without empty ones."""
    return [value for name in names for value in row.get(name, ())]
