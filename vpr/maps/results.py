"""What is said of a photo that was located."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class MapMatch:
    """A photo of the map that a photo was matched with."""

    photo: str  # its path
    latitude: float  # degrees, WGS 84
    longitude: float
    metres: float  # from the position that was found
    s_global: float  # cosine of the global descriptors
    s_struct: float  # similarity of the patches under their transport plan


@dataclass(frozen=True)
class Located:
    """Where a photo was taken.

    Where ``on_map`` is false the position is only the best guess.
    """

    photo: str
    on_map: bool  # whether probability and familiarity reach their thresholds
    latitude: float  # degrees, WGS 84
    longitude: float
    radius_m: float  # around the position, within which the photo was taken with the probability
    probability: float | None  # None where nothing tells it: no calibration, few candidates, or all in one place
    familiarity: float | None  # of the first match, in [0, 1]; None where the map is too small to tell
    separation: float  # of the first match from the best elsewhere, in standard deviations
    agreeing: int  # candidates that the position is made of
    matches: tuple[MapMatch, ...]  # best first
    not_searched: int = 0  # photos of the map that could not be looked at, of a map that several machines hold

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)

    def said(self) -> str:
        """In one line.

        >>> Located("a.jpg", False, 1.0, 2.0, 25.0, 0.125, 0.05, 0.1, 1, ()).said()
        'a.jpg: not on this map (12 %, familiarity 5 %)'
        """
        part = f"; {self.not_searched} photos of the map were not searched" if self.not_searched else ""
        return self._said() + part

    def _said(self) -> str:
        sure = "" if self.probability is None else f"{100 * self.probability:.0f} %"
        if not self.on_map:
            familiar = "" if self.familiarity is None else f"familiarity {100 * self.familiarity:.0f} %"
            return f"{self.photo}: not on this map ({', '.join(part for part in (sure, familiar) if part)})"
        where = f"{self.photo}: {self.latitude:.6f}, {self.longitude:.6f}, within {self.radius_m:.0f} m"
        return where + (f" ({sure})" if sure else "")

    def showing(self, matches: int) -> Located:
        """With the first matches alone."""
        return replace(self, matches=self.matches[:matches])

    def _repr_html_(self) -> str:
        """For notebooks."""
        from vpr.maps.pages import card

        return card(self)


def as_geojson(located: Sequence[Located]) -> dict[str, Any]:
    """A FeatureCollection with a point for each photo; those that are not on the map have no geometry."""
    features = []
    for one in located:
        point = {"type": "Point", "coordinates": [one.longitude, one.latitude]} if one.on_map else None
        known = {name: getattr(one, name) for name in ("photo", "on_map", "probability", "familiarity", "separation")}
        radius = {"radius_m": one.radius_m, "match": one.matches[0].photo if one.matches else None}
        features.append({"type": "Feature", "geometry": point, "properties": {**known, **radius}})
    return {"type": "FeatureCollection", "features": features}


COLUMNS = (
    "photo",
    "on_map",
    "latitude",
    "longitude",
    "radius_m",
    "probability",
    "familiarity",
    "match",
    "match_metres",
)


def as_rows(located: Sequence[Located]) -> list[tuple[object, ...]]:
    """The rows of ``--csv``, in the order of `COLUMNS`; positions are empty where a photo is not on the map."""
    rows: list[tuple[object, ...]] = []
    for one in located:
        where = (one.latitude, one.longitude, one.radius_m) if one.on_map else ("", "", "")
        first = (one.matches[0].photo, one.matches[0].metres) if one.matches else ("", "")
        sure = ["" if value is None else value for value in (one.probability, one.familiarity)]
        rows.append((one.photo, one.on_map, *where, *sure, *first))
    return rows
