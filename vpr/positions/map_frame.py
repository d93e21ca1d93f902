"""The frame of a map: what the positions of its photos are, and how far apart two of them are.

A map has positions of one kind: on Earth, in local metres, the numbers of the frames of a walk, or names of places. A
*place* is a point (3,) in the unit of the frame, such that the distance of two positions is the straight distance of
their places. All distances of a map are between places. So the size of a place, radii and reaches have the unit of the
frame, also if their names end in ``_m``.

Equal names are one place. The places of two others are at least `APART` apart, which is farther than any reach of a
drive: a drive stays in a place, or moves to any other one, by the jumps of `vpr.maps.drives`.
"""

from __future__ import annotations

import math
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from vpr.base.command import one_line
from vpr.positions.errors import MapError
from vpr.positions.geodesy import are_degrees, parse_number, places_to_degrees, to_places
from vpr.retrieval.confidence import ELSEWHERE_M

Kind = Literal["earth", "metres", "frames", "names"]
Position = tuple[Any, ...]  # of a photo, in the order of `MapFrame.fields`
Columns = tuple[np.ndarray, ...]  # the positions of N photos: an array (N,) for each field

NEIGHBOURS = 2.5  # steps from the middle of a place to its end: 25 m for frames 10 m apart, the rule of MSLS
MOST_FRAMES = 250.0  # the largest place of a walk that is too small to estimate it: 10 s of a video
APART, NAME_SIZE = 1000.0, 1.0  # distance of two names, at least; size of a place that has a name
NAMES_SHOWN = 5  # in `NamesFrame.extent_text`
DEGREE_M = 111_320.0  # metres per degree of latitude, approximately
LARGEST = 1e9  # the largest local coordinate and frame number; distances of larger ones would lose millimetres


class MapFrame(ABC):
    """The positions of one kind, for a map whose photos have some of them."""

    kind: ClassVar[Kind]
    what: ClassVar[str]  # the positions, in messages
    fields: ClassVar[tuple[str, ...]]  # the parts of a position: columns of photos-N.csv, fields of an answer
    dtype: ClassVar[type]
    part: ClassVar[str] = "a position"  # one of them, in messages
    refusal: ClassVar[str] = "is not a position on Earth"  # of values that are none, in messages
    lists: ClassVar[str] = "CSV"  # what may hold them
    example: ClassVar[str]  # the columns of a list of them
    folders: ClassVar[str] = ""  # the role of folders that have them; empty if folders cannot
    nowhere: ClassVar[Position] = (math.nan, math.nan)  # of an answer without candidates
    axes: ClassVar[str] = ""  # of a plan, in one sentence; empty if the positions have no plan
    has_size: ClassVar[bool] = True  # whether positions have distances, and places a size; if not, these three are ""
    radius_field: ClassVar[str] = "radius_m"  # the radius of an answer
    distance_field: ClassVar[str] = "metres"  # the distance of a match from an answer
    suffix: ClassVar[str] = "m"  # the unit of distances, at the end of names

    def __init__(self, columns: Columns) -> None:
        """columns: the positions of the map's photos."""
        self.columns_of_map = columns

    @classmethod
    def columns(cls, positions: Sequence[Position]) -> Columns:
        """The columns of positions; raises ValueError for one that is invalid."""
        return cls.check_columns([*zip(*positions, strict=True)] or [()] * len(cls.fields))

    @classmethod
    def check_columns(cls, parts: Sequence[Sequence[Any]]) -> Columns:
        """Columns as arrays; raises ValueError if a position is invalid. Numbers may be text."""
        columns: Columns = tuple(np.array(part, cls.dtype) for part in parts)
        if len(columns) != len(cls.fields) or not all(map(cls.is_valid, *(column.tolist() for column in columns))):
            raise ValueError("the position of a photo is invalid")
        return columns

    @staticmethod
    @abstractmethod
    def is_valid(*position: Any) -> bool:
        """Whether these parts are a position."""

    @staticmethod
    def parse(text: str) -> Any:
        """A part of a position by its text in a list; NaN if it is invalid."""
        return parse_number(text)

    @abstractmethod
    def places(self, columns: Columns) -> np.ndarray:
        """The places (N, 3) of positions."""

    @abstractmethod
    def position(self, place: np.ndarray) -> Position:
        """The position at a place (3,)."""

    def settle(self, place: np.ndarray) -> np.ndarray:
        """The nearest place (3,) that an answer can have."""
        return place

    def usual_place(self) -> float:
        """The size of a place on a map that is too small to estimate it."""
        return ELSEWHERE_M

    @classmethod
    def plan(cls, columns: Columns) -> np.ndarray:
        """Positions as points (N, 2) of a plan, metres to the right and up; there must be `axes`."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def text(cls, position: Position) -> str:
        """A position as text."""

    @classmethod
    def radius_text(cls, length: float) -> str:
        """The radius of an answer as text."""
        return f"{length:.3g} m"

    @classmethod
    def distance_text(cls, length: float) -> str:
        """The distance of a photo from an answer, or from the truth, as text.

        >>> [EarthFrame.distance_text(metres) for metres in (3.14159, 340.2, 12345.0, math.inf)]
        ['3.1 m', '340 m', '12.3 km', 'no distance']
        """
        if not math.isfinite(length):
            return "no distance"
        if length < 100:
            return f"{length:.1f} m"
        return f"{length:.0f} m" if length < 10_000 else f"{length / 1000:.1f} km"

    @classmethod
    def answer_text(cls, position: Position, radius: float) -> str:
        """The position of an answer and its radius as text."""
        return f"{cls.text(position)}, within {cls.radius_text(radius)}"

    @classmethod
    def match_text(cls, position: Position, distance: float) -> str:
        """Where a match is as text; distance: from the answer."""
        return f"{distance:.1f} m"

    @classmethod
    def size_text(cls, length: float) -> str:
        """The size of a place as text."""
        return f"{length:.3g} m"

    @abstractmethod
    def extent_text(self) -> str:
        """Where the photos of the map are, in one line."""


class EarthFrame(MapFrame):
    """Latitude and longitude, degrees of WGS 84. Places are metres from the Earth's centre."""

    kind = "earth"
    what = "positions on Earth"
    fields = ("latitude", "longitude")
    dtype = np.float64
    lists = "CSV or GeoJSON"
    axes = "North is up"
    example = "file,latitude,longitude"

    @staticmethod
    def is_valid(*position: Any) -> bool:
        """Whether they are degrees."""
        return are_degrees(*position)

    def places(self, columns: Columns) -> np.ndarray:
        """As `to_places`."""
        return to_places(*columns)

    def position(self, place: np.ndarray) -> Position:
        """As `places_to_degrees`."""
        latitude, longitude = places_to_degrees(place[None])
        return float(latitude[0]), float(longitude[0])

    @classmethod
    def plan(cls, columns: Columns) -> np.ndarray:
        """Metres east and north of the middle. It also works where longitudes jump from 180 to -180."""
        latitude, longitude = np.radians(columns[0]), np.radians(columns[1])
        middle = np.angle(np.exp(1j * longitude).mean())
        east = (longitude - middle + np.pi) % (2 * np.pi) - np.pi
        degrees = np.degrees(np.stack([east * np.cos(latitude.mean()), latitude - latitude.mean()], 1))
        return np.asarray(DEGREE_M * degrees)

    @classmethod
    def text(cls, position: Position) -> str:
        """Latitude and longitude."""
        return f"{position[0]:.6f}, {position[1]:.6f}"

    @classmethod
    def radius_text(cls, length: float) -> str:
        """Whole metres."""
        return f"{length:.0f} m"

    def extent_text(self) -> str:
        """The box of latitudes and longitudes."""
        (south, north), (west, east) = ((side.min(), side.max()) for side in self.columns_of_map)
        return f"latitude {south:.6f} to {north:.6f}, longitude {west:.6f} to {east:.6f}"


class MetresFrame(MapFrame):
    """Local metres x and y, as on the plan of a building. Their origin and their axes are the user's own."""

    kind = "metres"
    what = "local metres"
    refusal = "are not local metres"
    axes = "x is to the right, y is up"
    fields = ("x", "y")
    dtype = np.float64
    example = "file,x,y"

    @staticmethod
    def is_valid(*position: Any) -> bool:
        """Whether they are finite, and at most `LARGEST`."""
        return all(abs(part) <= LARGEST for part in position)  # False for NaN

    def places(self, columns: Columns) -> np.ndarray:
        """(x, y, 0)."""
        return np.stack([*columns, np.zeros(len(columns[0]))], 1)

    def position(self, place: np.ndarray) -> Position:
        """The first two coordinates."""
        return float(place[0]), float(place[1])

    def usual_place(self) -> float:
        """`NEIGHBOURS` times the median distance to the nearest other position, and at most 25 m."""
        return min(ELSEWHERE_M, NEIGHBOURS * median_step(self.places(self.columns_of_map)))

    @classmethod
    def plan(cls, columns: Columns) -> np.ndarray:
        """The same: x to the right, y up."""
        return np.stack(columns, 1)

    @classmethod
    def text(cls, position: Position) -> str:
        """The two, to the centimetre."""
        return f"x {position[0]:.2f} m, y {position[1]:.2f} m"

    def extent_text(self) -> str:
        """The box of x and y."""
        (left, right), (low, high) = ((side.min(), side.max()) for side in self.columns_of_map)
        return f"x {left:.2f} to {right:.2f} m, y {low:.2f} to {high:.2f} m"


class WalkFrame(MapFrame):
    """The numbers of the frames of a walk, which is a line. The unit is a frame. An answer is a frame of the map."""

    kind = "frames"
    what = "frames of a walk"
    part = "a frame number"
    refusal = "is not a whole number up to 1,000,000,000"
    fields = ("frame",)
    dtype = np.int64
    example = "file,frame"
    folders = "walk"
    nowhere = (None,)
    radius_field = "radius_frames"
    distance_field = "frames"
    suffix = "frames"

    @staticmethod
    def is_valid(*position: Any) -> bool:
        """Whether it is one whole number, at most `LARGEST`."""
        return all(isinstance(part, int) and abs(part) <= LARGEST for part in position)

    @staticmethod
    def parse(text: str) -> Any:
        """The number; pandas writes whole numbers as 12.0."""
        number = parse_number(text)
        return int(number) if number % 1 == 0 else math.nan

    @cached_property
    def numbers(self) -> np.ndarray:
        """The frame numbers of the map, ascending."""
        return np.unique(self.columns_of_map[0])

    def places(self, columns: Columns) -> np.ndarray:
        """(frame, 0, 0)."""
        return np.stack([columns[0], *np.zeros((2, len(columns[0])))], 1).astype(np.float64)

    def settle(self, place: np.ndarray) -> np.ndarray:
        """That of the nearest frame of the map."""
        return np.array([self.numbers[np.abs(self.numbers - place[0]).argmin()], 0.0, 0.0])

    def position(self, place: np.ndarray) -> Position:
        """The nearest whole number."""
        return (round(float(place[0])),)

    def usual_place(self) -> float:
        """`NEIGHBOURS` times the median step from frame to frame, of two the smaller; at most `MOST_FRAMES`.

        Of a single frame it is `NEIGHBOURS`. Among few steps a gap is not to be the step of the walk.
        """
        steps = np.diff(self.numbers)
        if not len(steps):
            return NEIGHBOURS
        return min(MOST_FRAMES, NEIGHBOURS * float(np.quantile(steps, 0.5, method="lower")))

    @classmethod
    def text(cls, position: Position) -> str:
        """The number, behind "frame"."""
        return f"frame {position[0]}"

    @classmethod
    def radius_text(cls, length: float) -> str:
        """The number of frames.

        >>> WalkFrame.radius_text(4.4921), WalkFrame.radius_text(1.0)
        ('4.5 frames', '1 frame')
        """
        if not math.isfinite(length):
            return "no distance"
        return f"{f'{length:.1f}'.removesuffix('.0')} {'frame' if length == 1 else 'frames'}"

    distance_text = size_text = radius_text

    @classmethod
    def match_text(cls, position: Position, distance: float) -> str:
        """Its frame."""
        return cls.text(position)

    def extent_text(self) -> str:
        """The first and the last frame."""
        return f"frames {self.numbers[0]} to {self.numbers[-1]}"


class NamesFrame(MapFrame):
    """Names of places, such as rooms. Two photos are at the same place if they have the same name."""

    kind = "names"
    what = "named places"
    part = "a place"
    refusal = "is not a name"
    fields = ("place",)
    dtype = object
    example = "file,place"
    folders = "places"
    nowhere = (None,)
    has_size = False
    radius_field = distance_field = suffix = ""

    @staticmethod
    def is_valid(*position: Any) -> bool:
        """Whether it is text that is not empty."""
        return all(isinstance(part, str) and bool(part) for part in position)

    @staticmethod
    def parse(text: str) -> Any:
        """The name in Unicode's composed form, which file systems may not use."""
        return unicodedata.normalize("NFC", text.strip())

    @cached_property
    def names(self) -> list[str]:
        """The names of the map, sorted."""
        return sorted(set(self.columns_of_map[0].tolist()))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    def places(self, columns: Columns) -> np.ndarray:
        """(`APART` n, 0, 0) for the n-th name of the map; n is -1 for names that the map does not have."""
        numbers = np.array([self._numbers.get(name, -1) for name in columns[0].tolist()], np.float64)
        return np.stack([APART * numbers, *np.zeros((2, len(numbers)))], 1)

    def position(self, place: np.ndarray) -> Position:
        """The name at a place."""
        return (self.names[round(float(place[0]) / APART)],)

    def usual_place(self) -> float:
        """`NAME_SIZE`, on every map."""
        return NAME_SIZE

    @classmethod
    def text(cls, position: Position) -> str:
        """The name."""
        return str(position[0])

    @classmethod
    def answer_text(cls, position: Position, radius: float) -> str:
        """The name."""
        return cls.text(position)

    @classmethod
    def match_text(cls, position: Position, distance: float) -> str:
        """Its name."""
        return cls.text(position)

    def extent_text(self) -> str:
        """The first names."""
        more = f" and {len(self.names) - NAMES_SHOWN} more" if len(self.names) > NAMES_SHOWN else ""
        shown = one_line(", ".join(self.names[:NAMES_SHOWN]))
        return f"{len(self.names)} {'place' if len(self.names) == 1 else 'places'}: {shown}{more}"


FRAMES: dict[Kind, type[MapFrame]] = {frame.kind: frame for frame in (EarthFrame, MetresFrame, WalkFrame, NamesFrame)}
NO_COLUMNS: Columns = (np.zeros(0), np.zeros(0))
EARTH = EarthFrame(NO_COLUMNS)


def require_size(kind: Kind, place: float | None) -> None:
    """Raise MapError if a size of places is given for a map of named places. place: None if it is not given."""
    if place is not None and not FRAMES[kind].has_size:
        problem = f"the map has {FRAMES[kind].what}, which have no size"
        raise MapError(problem, thing="--place", remedy="leave --place out")


def median_step(places: np.ndarray) -> float:
    """The median distance of a place (N, 3) to the nearest other one; infinite if there is only one."""
    from scipy.spatial import cKDTree

    different = np.unique(places, axis=0)
    if len(different) < 2:
        return math.inf
    return float(np.median(cKDTree(different).query(different, 2)[0][:, 1]))
