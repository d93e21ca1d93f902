"""The result of locating a photo, and its output formats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class MapMatch:
    """A photo of the map that matches a located photo."""

    photo: str  # its path
    latitude: float  # degrees, WGS 84
    longitude: float
    metres: float  # from the estimated position
    s_global: float  # cosine of the global descriptors
    s_struct: float  # similarity of the patches under their transport plan


@dataclass(frozen=True)
class Located:
    """Where a photo was taken. If ``on_map`` is false, the position is only the best guess.

    A photo has no candidates if the shards that hold its shortlist do not answer. Then its position is NaN.
    """

    photo: str
    on_map: bool  # whether probability and familiarity reach their thresholds; one that is None refuses nothing
    latitude: float  # degrees, WGS 84
    longitude: float
    radius_m: float  # the photo was taken within this radius of the position, with the given probability
    probability: float | None  # None without calibration, with few candidates, or if all are in one place
    familiarity: float | None  # of the first match, in [0, 1]; None if the map is too small
    separation: float  # of the first match from the best elsewhere, in standard deviations
    agreeing: int  # number of candidates that the position is averaged from
    matches: tuple[MapMatch, ...]  # best first
    not_searched: int = 0  # photos of the map in shards that did not answer
    on_map_probability: float | None = None  # that its place is on the map; None if that cannot be told
    is_unfamiliar: bool = False  # whether the familiarity alone refuses it (--familiarity)

    @classmethod
    def without_candidates(cls, photo: str, not_searched: int) -> Located:
        """The result for a photo without candidates."""
        return cls(photo, False, math.nan, math.nan, math.nan, None, None, 0.0, 0, (), not_searched)

    def as_json(self) -> dict[str, Any]:
        """The content of ``--json``; numbers that are NaN are None."""
        return {name: _json_number(value) for name, value in asdict(self).items()}

    def summary(self) -> str:
        """The answer in one line.

        >>> Located("a.jpg", False, 1.0, 2.0, 25.0, 0.9, 0.05, 0.1, 1, (), on_map_probability=0.125).summary()
        'a.jpg: not on this map (on the map: 12 %)'
        >>> Located("a.jpg", False, 1.0, 2.0, 25.0, 0.9, 0.05, 0.1, 1, (), 0, 0.498, True).summary()  # --familiarity
        'a.jpg: not on this map (on the map: 49 %, familiarity 5 %)'
        """
        missing = f"; {self.not_searched} photos of the map were not searched" if self.not_searched else ""
        return f"{self.photo}: {self._position() if self.on_map else self._not_on_map()}{missing}"

    def _position(self) -> str:
        position = f"{self.latitude:.6f}, {self.longitude:.6f}, within {self.radius_m:.0f} m"
        return position if self.probability is None else f"{position} ({share_text(self.probability, self.on_map)})"

    def _not_on_map(self) -> str:
        told = self.on_map_probability
        reasons = [] if told is None else [f"on the map: {share_text(told, self.on_map)}"]
        if self.is_unfamiliar and self.familiarity is not None:
            reasons.append(f"familiarity {share_text(self.familiarity, self.on_map)}")
        return f"not on this map ({', '.join(reasons) or 'it has no candidates'})"

    def with_matches(self, count: int) -> Located:
        """A copy with only the first matches."""
        return replace(self, matches=self.matches[:count])

    def _repr_html_(self) -> str:
        """HTML for notebooks."""
        from vpr.maps.pages import card

        return card(self)


def share_text(share: float, on_map: bool) -> str:
    """A probability or a familiarity in percent: rounded if the photo is on the map, otherwise rounded down.

    So the share of a photo that is refused never reads like the threshold that it does not reach.

    >>> share_text(0.496, True), share_text(0.496, False), share_text(0.29, False)
    ('50 %', '49 %', '29 %')
    """
    percent = round(100 * share, 9)  # 100 * 0.29 is 28.999999999999996
    return f"{round(percent) if on_map else math.floor(percent)} %"


def _json_number(value: Any) -> Any:
    """The value, or None for NaN, which JSON does not have."""
    return None if isinstance(value, float) and math.isnan(value) else value


def as_geojson(located: Sequence[Located], map_name: str) -> dict[str, Any]:
    """A GeoJSON FeatureCollection, one point per photo; photos that are not on the map have no geometry.

    map_name: the value of its member ``map``.
    """
    features = []
    for one in located:
        point = {"type": "Point", "coordinates": [one.longitude, one.latitude]} if one.on_map else None
        names = ("photo", "on_map", "probability", "familiarity", "separation", "radius_m", "on_map_probability")
        properties = {name: _json_number(getattr(one, name)) for name in names}
        properties["match"] = one.matches[0].photo if one.matches else None
        features.append({"type": "Feature", "geometry": point, "properties": properties})
    return {"type": "FeatureCollection", "map": map_name, "features": features}


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
    "map",
    "on_map_probability",
)


def as_rows(located: Sequence[Located], map_name: str) -> list[tuple[object, ...]]:
    """The rows of ``--csv``, in the order of `COLUMNS`; positions are empty if a photo is not on the map."""
    rows: list[tuple[object, ...]] = []
    for one in located:
        position = (one.latitude, one.longitude, one.radius_m) if one.on_map else ("", "", "")
        confidence = ["" if value is None else value for value in (one.probability, one.familiarity)]
        match = (one.matches[0].photo, one.matches[0].metres) if one.matches else ("", "")
        told = "" if one.on_map_probability is None else one.on_map_probability
        rows.append((one.photo, one.on_map, *position, *confidence, *match, map_name, told))
    return rows
