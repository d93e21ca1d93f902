"""The result of locating a photo, and its output formats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from vpr.positions.errors import MapError
from vpr.positions.map_frame import FRAMES, Kind, Position

FIRST = ("photo", "on_map")  # fields in front of the position
OF_KINDS = {
    name for frame in FRAMES.values() for name in (*frame.fields, frame.radius_field, frame.distance_field) if name
}  # fields that depend on the kind of the positions
NOT_ON_EARTH = {"latitude": math.nan, "longitude": math.nan}  # the fields of other kinds are None by default


@dataclass(frozen=True)
class MapMatch:
    """A photo of the map that matches a located photo.

    Its position has the fields of the map's kind; the others are NaN or None.
    """

    photo: str  # its path
    latitude: float  # degrees, WGS 84
    longitude: float
    metres: float  # from the estimated position
    s_global: float  # cosine of the global descriptors
    s_struct: float  # similarity of the patches under their transport plan
    kind: Kind = "earth"  # of the map's positions
    x: float | None = None  # local metres
    y: float | None = None
    frame: int | None = None  # number of a frame of a walk
    frames: float | None = None  # from the estimated frame
    place: str | None = None  # name of its place

    @classmethod
    def at(cls, kind: Kind, position: Position, distance: float, **others: Any) -> MapMatch:
        """A match at a position of the map. distance: from the answer. others: the other fields."""
        given = NOT_ON_EARTH | {"metres": math.nan} | _own_values(kind, position, FRAMES[kind].distance_field, distance)
        return cls(**given, **others, kind=kind)

    @property
    def position(self) -> Position:
        """Its position, in the fields of the map's kind."""
        return tuple(getattr(self, name) for name in FRAMES[self.kind].fields)

    @property
    def distance(self) -> float:
        """The distance from the estimated position, in the unit of the map; NaN if positions have no distances."""
        return _number_of(self, FRAMES[self.kind].distance_field)

    def where_text(self) -> str:
        """Where it is as text: its distance from the estimated position, or else its frame or place."""
        return FRAMES[self.kind].match_text(self.position, self.distance)

    def as_json(self) -> dict[str, Any]:
        """Its content in ``--json``."""
        frame = FRAMES[self.kind]
        return _own_fields(self, [*frame.fields, *filter(None, (frame.distance_field,))])


@dataclass(frozen=True)
class Located:
    """Where a photo was taken. If ``on_map`` is false, the position is only the best guess.

    The position has the fields of the map's kind: ``latitude`` and ``longitude``, ``x`` and ``y``, ``frame``, or
    ``place``. The others are NaN or None. A photo has no candidates if the shards that hold its shortlist do not
    answer. Then its position is NaN.
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
    kind: Kind = "earth"  # of the map's positions
    x: float | None = None  # local metres
    y: float | None = None
    frame: int | None = None  # number of a frame of a walk
    radius_frames: float | None = None  # as radius_m, in frames
    place: str | None = None  # name of the place

    @classmethod
    def at(cls, kind: Kind, position: Position, radius: float, **others: Any) -> Located:
        """The result at a position of the map. radius: in the unit of the map. others: the other fields."""
        given = NOT_ON_EARTH | {"radius_m": math.nan} | _own_values(kind, position, FRAMES[kind].radius_field, radius)
        return cls(**given, **others, kind=kind)

    @classmethod
    def without_candidates(cls, photo: str, not_searched: int, kind: Kind = "earth") -> Located:
        """The result for a photo without candidates."""
        nowhere = FRAMES[kind].nowhere
        unsure = {"probability": None, "familiarity": None, "separation": 0.0, "agreeing": 0, "matches": ()}
        return cls.at(kind, nowhere, math.nan, photo=photo, on_map=False, not_searched=not_searched, **unsure)

    @property
    def position(self) -> Position:
        """The position, in the fields of the map's kind."""
        return tuple(getattr(self, name) for name in FRAMES[self.kind].fields)

    @property
    def radius(self) -> float:
        """The radius, in the unit of the map; NaN if positions have no distances."""
        return _number_of(self, FRAMES[self.kind].radius_field)

    def as_json(self) -> dict[str, Any]:
        """The content of ``--json``; numbers that are NaN are None."""
        frame = FRAMES[self.kind]
        own = _own_fields(self, [*frame.fields, *filter(None, (frame.radius_field,))])
        return {name: _json_number(value) for name, value in own.items()} | {
            "matches": [match.as_json() for match in self.matches]
        }

    def summary(self) -> str:
        """The answer in one line.

        >>> Located("a.jpg", False, 1.0, 2.0, 25.0, 0.9, 0.05, 0.1, 1, (), on_map_probability=0.125).summary()
        'a.jpg: not on this map (on the map: 12 %)'
        >>> Located("a.jpg", False, 1.0, 2.0, 25.0, 0.9, 0.05, 0.1, 1, (), 0, 0.498, True).summary()  # --familiarity
        'a.jpg: not on this map (on the map: 49 %, familiarity 5 %)'
        """
        missing = f"; {self.not_searched} photos of the map were not searched" if self.not_searched else ""
        return f"{self.photo}: {self.answer_text()}{missing}"

    def answer_text(self) -> str:
        """The answer without the name of the photo: the position, or "not on this map"."""
        return self._position() if self.on_map else self._not_on_map()

    def _position(self) -> str:
        position = FRAMES[self.kind].answer_text(self.position, self.radius)
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


def _own_values(kind: Kind, position: Position, length_field: str, length: float) -> dict[str, Any]:
    """The fields of a position, and of a length if it has a field."""
    return dict(zip(FRAMES[kind].fields, position)) | ({length_field: length} if length_field else {})


def _number_of(record: MapMatch | Located, name: str) -> float:
    """A field that is a number; NaN without a name."""
    return float(getattr(record, name)) if name else math.nan


def _own_fields(record: MapMatch | Located, own: Sequence[str]) -> dict[str, Any]:
    """The fields of a record without ``kind``; of those that depend on it only the own ones, behind `FIRST`."""
    values = {field.name: getattr(record, field.name) for field in fields(record) if field.name != "kind"}
    first = {name: values[name] for name in FIRST if name in values}
    return (
        first
        | {name: values[name] for name in own}
        | {name: value for name, value in values.items() if name not in OF_KINDS}
    )


def require_earth(kind: Kind, what: str) -> None:
    """Raise MapError if positions are not on Earth, which some outputs need. what: the output."""
    if kind != "earth":
        problem = f"{what} has positions on Earth, and the map has {FRAMES[kind].what}"
        raise MapError(problem, thing=what, remedy=f"leave {what} out, and take --json or --csv")


def as_geojson(located: Sequence[Located], map_name: str) -> dict[str, Any]:
    """A GeoJSON FeatureCollection, one point per photo; photos that are not on the map have no geometry.

    map_name: the value of its member ``map``. Raises MapError for positions that are not on Earth.
    """
    features = []
    for one in located:
        require_earth(one.kind, "GeoJSON")
        point = {"type": "Point", "coordinates": [one.longitude, one.latitude]} if one.on_map else None
        names = ("photo", "on_map", "probability", "familiarity", "separation", "radius_m", "on_map_probability")
        properties = {name: _json_number(getattr(one, name)) for name in names}
        properties["match"] = one.matches[0].photo if one.matches else None
        features.append({"type": "Feature", "geometry": point, "properties": properties})
    return {"type": "FeatureCollection", "map": map_name, "features": features}


def csv_columns(kind: Kind) -> tuple[str, ...]:
    """The columns of ``--csv``, for a map with positions of a kind."""
    frame = FRAMES[kind]
    radius, distance = ((frame.radius_field,), (f"match_{frame.distance_field}",)) if frame.has_size else ((), ())
    more = (*distance, "map", "on_map_probability")
    return ("photo", "on_map", *frame.fields, *radius, "probability", "familiarity", "match", *more)


def as_rows(located: Sequence[Located], map_name: str) -> list[tuple[object, ...]]:
    """The rows of ``--csv``, in the order of `csv_columns`; positions are empty if a photo is not on the map."""
    rows: list[tuple[object, ...]] = []
    for one in located:
        has_size = FRAMES[one.kind].has_size
        position: tuple[object, ...] = (*one.position, one.radius) if has_size else one.position
        position = position if one.on_map else ("",) * len(position)
        confidence = ["" if value is None else value for value in (one.probability, one.familiarity)]
        match: tuple[object, ...] = (one.matches[0].photo, one.matches[0].distance) if one.matches else ("", "")
        told = "" if one.on_map_probability is None else one.on_map_probability
        rows.append((one.photo, one.on_map, *position, *confidence, *match[: 1 + has_size], map_name, told))
    return rows
