"""A map on disk: one folder, whose ``map.json`` lists the files of the map.

    map.json                  the model, the state of the map, and the names and digests of its other files
    photos-N.csv              the photos: key (path), position (`columns_of` its kind), bytes, mtime_ns, described_as
    globals-N.npy             (photos, G) float32 unit vectors for the search, in the order of the photos
    strangers-N.npy           the unknown-place scores, for familiarity
    index-N.faiss             the search index over globals-N.npy; only of large maps
    adaptation-N.safetensors  whitening and VLAD, adapted to the map; only of maps that are large enough
    descriptors.h5            the descriptor cache: the model's descriptors of each photo, before adaptation

N counts the changes of the map. A change writes new files beside the old ones, then map.json, and then removes the
files that map.json does not list. So a killed process leaves the map as it was before the change, or after it. Photos
inside the map's folder have relative keys on disk, so that they can be moved with it; `PhotoTable` has absolute paths.
"""

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from vpr.base.files import file_digest, replace_file, write_bytes, write_json
from vpr.description.adaptation import Adaptation
from vpr.positions.errors import MapError
from vpr.positions.map_frame import FRAMES, Columns, Kind, MapFrame, Position
from vpr.retrieval.confidence import ELSEWHERE_M
from vpr.retrieval.vector_index import KINDS, IndexKind

MAP, DESCRIPTORS = "map.json", "descriptors.h5"
FORMAT = 4
# Formats 1 to 3 have positions on Earth, and no kind. 1 and 2 have no size of places; in 1 photos lack described_as.
READABLE_FORMATS = (1, 2, 3, FORMAT)
ENDINGS = {"photos": "csv", "globals": "npy", "strangers": "npy", "index": "faiss", "adaptation": "safetensors"}
FILE_NAME = re.compile("|".join(f"{role}-(0|[1-9]\\d*)\\.{ending}" for role, ending in ENDINGS.items()), re.ASCII)
FILE_COLUMNS = ("bytes", "mtime_ns", "described_as")  # of photos-N.csv, behind the key and the position
TRIES = 10  # attempts to read a map that another process is changing
T = TypeVar("T")


@dataclass(frozen=True)
class State:
    """The content of map.json."""

    run: str  # of the model
    fingerprint: str  # of the model
    change: int = 0  # changes of the map so far
    photos: int = 0
    adapted_to: int = 0  # photos that the model was adapted to; 0 if it was not
    index: IndexKind = "flat"
    kind: Kind = "earth"  # of the positions
    place_m: float = ELSEWHERE_M  # size of a place, in the unit of the map's frame
    place_is_set: bool = False  # by the user; otherwise it is estimated
    files: dict[str, list[str]] = field(default_factory=dict)  # by role: file name and SHA-256

    @classmethod
    def of(cls, folder: Path) -> "State":
        """The state of a map; raises MapError if there is no map, or its map.json is damaged."""
        path = folder / MAP
        if not path.is_file():
            remedy = f"make it with: python -m vpr.map {folder} add FOLDER"
            raise MapError(f"no map at {folder}", thing=folder, remedy=remedy)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if (version := content.pop("format")) not in READABLE_FORMATS:
                raise _unknown_format(path, version)
            state = cls(**content)
            state._check()
        except MapError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise damage_error(path, error) from error
        return state

    def _check(self) -> None:
        counts = (self.change, self.photos, self.adapted_to)
        names = [name for name, _ in self.files.values()]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("counts must be non-negative integers")
        if self.index not in KINDS:
            raise ValueError("unknown kind of index")
        if self.kind not in FRAMES:
            raise ValueError("unknown kind of positions")
        if not 0 < self.place_m < math.inf or type(self.place_is_set) is not bool:
            raise ValueError("the size of a place is invalid")
        if not (isinstance(self.run, str) and isinstance(self.fingerprint, str)):
            raise ValueError("the name of the model is missing")
        if not {"photos", "globals", "strangers"} <= set(self.files) or not all(
            _change_number(str(name)) >= 0 for name in names
        ):
            raise ValueError("its list of files is not that of a map")

    def write(self, folder: Path) -> None:
        """Write map.json, and remove the files that it does not list."""
        write_json(folder / MAP, {"format": FORMAT, **asdict(self)})
        self.clean(folder)

    def clean(self, folder: Path) -> None:
        """Remove the files of earlier changes, and of an interrupted next change; other files are kept."""
        current = {name for name, _ in self.files.values()}
        for path in sorted(folder.iterdir()):
            if path.name not in current and 0 <= _change_number(path.name) <= self.change + 1:
                path.unlink()


def _change_number(name: str) -> int:
    """The number of the change in the name of a map's file; -1 for other files."""
    found = FILE_NAME.fullmatch(name)
    return -1 if found is None else int(next(filter(None, found.groups())))


def _unknown_format(path: Path, version: object) -> Exception:
    """The error for a map of another format: MapError if a later vpr wrote it, otherwise ValueError."""
    if type(version) is int and version > FORMAT:
        problem = f"{path} has format {version}, and this vpr reads up to {FORMAT}"
        return MapError(problem, thing=path, remedy="use the vpr that wrote it")
    return ValueError("unknown format")


def damage_error(path: Path, reason: object) -> MapError:
    """The error for a damaged file of a map."""
    remedy = f"remove {path.parent / MAP} and add all folders again; photos are not described again"
    return MapError(f"{path} is damaged ({reason})", thing=path, remedy=remedy)


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """The photos of a map, in the order of the map."""

    keys: np.ndarray  # (N,) object, str
    positions: Columns  # an array (N,) for each field of the frame
    bytes: np.ndarray  # (N,) int64, size of the described file
    mtime_ns: np.ndarray  # (N,) int64, modification time of that file
    described_as: np.ndarray  # (N,) object, str: its key in the descriptor cache
    kind: Kind = "earth"

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[object]], kind: Kind = "earth") -> "PhotoTable":
        """A table from rows in the order of `columns_of`; raises ValueError for invalid values.

        The last column may be missing, as in format 1: then it is the key.
        """
        names = columns_of(kind)
        columns = [*zip(*rows, strict=True)] or [()] * len(names)
        columns += columns[:1] if len(columns) == len(names) - 1 else []
        keys, *positions, size, mtime_ns, described_as = columns
        if len(set(keys)) < len(rows):
            raise ValueError("a photo is listed twice")
        stamps = np.array(size, np.int64), np.array(mtime_ns, np.int64)
        checked = FRAMES[kind].check_columns(positions)
        return cls(np.array(keys, object), checked, *stamps, np.array(described_as, object), kind)

    @cached_property
    def frame(self) -> MapFrame:
        """The frame of the positions."""
        return FRAMES[self.kind](self.positions)

    @cached_property
    def places(self) -> np.ndarray:
        """The places of the photos, (N, 3)."""
        return self.frame.places(self.positions)

    def position(self, row: int) -> Position:
        """The position of a photo."""
        return tuple(column[[row]].tolist()[0] for column in self.positions)

    def position_by_key(self) -> dict[str, Position]:
        """The positions of all photos, by key."""
        return dict(zip(self.keys.tolist(), zip(*(column.tolist() for column in self.positions))))

    def rows(self) -> list[tuple[object, ...]]:
        """The rows, in the order of `columns_of`."""
        columns = (self.keys, *self.positions, self.bytes, self.mtime_ns, self.described_as)
        return list(zip(*(column.tolist() for column in columns)))

    def take(self, rows: np.ndarray) -> "PhotoTable":
        """The table of some rows."""
        positions = tuple(column[rows] for column in self.positions)
        others = self.bytes[rows], self.mtime_ns[rows], self.described_as[rows]
        return PhotoTable(self.keys[rows], positions, *others, self.kind)


def columns_of(kind: Kind) -> tuple[str, ...]:
    """The columns of photos-N.csv for positions of a kind."""
    return ("key", *FRAMES[kind].fields, *FILE_COLUMNS)


@dataclass(frozen=True, eq=False)
class MapContent:
    """The content of a map's files."""

    state: State
    table: PhotoTable
    global_descriptors: np.ndarray  # (N, G) float32, a memory map
    adaptation: Adaptation | None
    unknown_scores: np.ndarray  # (S,) float32, as `vpr.maps.familiarity.unknown_place_scores`
    index: Path | None = None  # the file of the index, if there is one

    @classmethod
    def read(cls, folder: Path) -> "MapContent":
        """Read a map; raises MapError if it is damaged."""
        state = State.of(folder)
        paths = {role: _verify(folder / name, digest) for role, (name, digest) in state.files.items()}
        try:
            with paths["photos"].open(encoding="utf-8", newline="") as file:
                header, *rows = csv.reader(file)
            if tuple(header) != columns_of(state.kind)[: len(header)]:
                raise ValueError(f"its positions are not {FRAMES[state.kind].what}")
            table = PhotoTable.from_rows([(absolute_path(folder, key), *rest) for key, *rest in rows], state.kind)
            vectors = np.load(paths["globals"], mmap_mode="r", allow_pickle=False)
            adaptation = _read_adaptation(paths["adaptation"]) if "adaptation" in paths else None
            unknown_scores = np.load(paths["strangers"], allow_pickle=False)
            if not len(table) == len(vectors) == state.photos or vectors.ndim != 2 or vectors.dtype != np.float32:
                raise ValueError(f"its files do not have the {state.photos} photos that it counts")
            if adaptation is not None and vectors.shape[1] != (adaptation.global_dim or vectors.shape[1]):
                raise ValueError("its global descriptors are not those of its adaptation")
        except (ValueError, LookupError, RuntimeError, TypeError, OverflowError) as error:
            raise damage_error(folder / MAP, error) from error
        return cls(state, table, vectors, adaptation, unknown_scores, paths.get("index"))


def read_consistently(folder: Path, read: Callable[[], T]) -> T:
    """The result of ``read`` on a map that did not change meanwhile; if it changed, ``read`` is called again.

    Raises MapError if the map changes every time, and the errors of ``read`` if it did not change.
    """
    for _ in range(TRIES):
        before = _version(folder)
        try:
            result = read()
        except (MapError, OSError):
            if _version(folder) == before:
                raise
        else:
            if _version(folder) == before:
                return result
    remedy = "wait until the command that changes it ends, and try again"
    raise MapError(f"{folder} keeps changing while it is read", thing=folder, remedy=remedy)


def _version(folder: Path) -> list[tuple[int, int] | None]:
    """Numbers that change if map.json or the file of descriptors is replaced; None for a missing file."""
    version: list[tuple[int, int] | None] = []
    for name in (MAP, DESCRIPTORS):
        try:
            status = os.stat(folder / name)
        except OSError:
            version.append(None)
        else:  # descriptors appended to the file do not matter, map.json does not refer to them yet
            version.append((status.st_ino, status.st_mtime_ns if name == MAP else 0))
    return version


def _read_adaptation(path: Path) -> Adaptation:
    from safetensors.numpy import load_file

    return Adaptation.from_arrays(load_file(path))


def _verify(path: Path, digest: object) -> Path:
    if not path.is_file():
        raise damage_error(path, "the file is missing")
    if file_digest(path) != digest:
        raise damage_error(path, "its checksum is wrong")
    return path


def absolute_path(folder: Path, key: str) -> str:
    """The absolute path of a photo, by its key on disk."""
    return key if os.path.isabs(key) else f"{_root(folder)}{key}"


def disk_key(folder: Path, path: str) -> str:
    """The key of a photo on disk: its path, relative to the map's folder if the photo is inside."""
    return path.removeprefix(_root(folder))


def _root(folder: Path) -> str:
    return f"{Path(os.path.realpath(folder)).as_posix().rstrip('/')}/"


def write_table(path: Path, table: PhotoTable) -> None:
    """Write photos-N.csv."""
    text = io.StringIO(newline="")
    rows = [(disk_key(path.parent, str(key)), *rest) for key, *rest in table.rows()]
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows([columns_of(table.kind), *rows])
    write_bytes(path, text.getvalue().encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write globals-N.npy, or strangers-N.npy."""
    with replace_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array, np.float32))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write adaptation-N.safetensors."""
    from safetensors.numpy import save

    write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
