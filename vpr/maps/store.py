"""A map on disk: one folder, whose ``map.json`` says which files are the map.

    map.json                  the model, the state of the map, and the names and digests of its other files
    photos-N.csv              the photos: key (path), latitude, longitude, bytes, mtime_ns, described_as
    globals-N.npy             (photos, G) float32 unit vectors by which the map is searched, in the order of the photos
    strangers-N.npy           how alike the best matches elsewhere of some of its photos are
    index-N.faiss             the index over them, of maps that are too large to look at every one
    adaptation-N.safetensors  whitening and VLAD, of maps that are large enough to adapt to
    descriptors.h5            the descriptor cache: what the model made of each photo, before adaptation

N counts the changes of the map. A change writes new files beside the old ones, then map.json, then removes what
map.json does not name: a kill leaves the map as it was before or after. Keys of photos in the map's folder are
relative to it on disk, so that they move with it; `PhotoTable` has whole paths.
"""

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from vpr.base.files import replacing, write_bytes, write_json
from vpr.description.adaptation import Adaptation
from vpr.maps.errors import MapError
from vpr.maps.geodesy import are_degrees
from vpr.maps.index import KINDS, IndexKind

MAP, DESCRIPTORS = "map.json", "descriptors.h5"
FORMAT = 2
READ = (1, FORMAT)  # in 1 the photos' table has no column described_as
ENDINGS = {"photos": "csv", "globals": "npy", "strangers": "npy", "index": "faiss", "adaptation": "safetensors"}
NAMED = re.compile("|".join(f"{role}-(0|[1-9]\\d*)\\.{ending}" for role, ending in ENDINGS.items()), re.ASCII)
COLUMNS = ("key", "latitude", "longitude", "bytes", "mtime_ns", "described_as")
TRIES = 10  # of reading a map that is changed meanwhile
T = TypeVar("T")


@dataclass(frozen=True)
class State:
    """What map.json says."""

    run: str  # of the model
    fingerprint: str  # of the model
    change: int = 0  # changes of the map so far
    photos: int = 0
    adapted_to: int = 0  # photos that the model was adapted to; 0 where it was not
    index: IndexKind = "flat"
    files: dict[str, list[str]] = field(default_factory=dict)  # name and SHA-256 of each, by role

    @classmethod
    def of(cls, folder: Path) -> "State":
        """Read a map's; raises MapError where there is no map, or its map.json is damaged."""
        path = folder / MAP
        if not path.is_file():
            raise MapError(f"no map at {folder}; make it with: python -m vpr.map {folder} add FOLDER")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if (written := content.pop("format")) not in READ:
                raise _foreign(path, written)
            state = cls(**content)
            state._check()
        except MapError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise damaged(path, error) from error
        return state

    def _check(self) -> None:
        counts = (self.change, self.photos, self.adapted_to)
        names = [name for name, _ in self.files.values()]
        if not all(type(count) is int and count >= 0 for count in counts) or self.index not in KINDS:
            raise ValueError("its numbers are none")
        if not (isinstance(self.run, str) and isinstance(self.fingerprint, str)):
            raise ValueError("its model has no name")
        if not {"photos", "globals", "strangers"} <= set(self.files) or not all(
            _change_of(str(name)) >= 0 for name in names
        ):
            raise ValueError("its files are not those of a map")

    def write(self, folder: Path) -> None:
        """Make it the map's, and remove what it does not name."""
        write_json(folder / MAP, {"format": FORMAT, **asdict(self)})
        self.clean(folder)

    def clean(self, folder: Path) -> None:
        """Remove the files of changes before, and of the next one, which was stopped; others are not the map's."""
        named = {name for name, _ in self.files.values()}
        for path in sorted(folder.iterdir()):
            if path.name not in named and 0 <= _change_of(path.name) <= self.change + 1:
                path.unlink()


def _change_of(name: str) -> int:
    """The change that a file of a map belongs to, by its name; -1 for other files."""
    found = NAMED.fullmatch(name)
    return -1 if found is None else int(next(filter(None, found.groups())))


def _foreign(path: Path, written: object) -> Exception:
    """What is said of a map of another format; of a number that only a later vpr can have written, that it is later."""
    if type(written) is int and written > FORMAT:
        return MapError(f"{path} is of format {written}, and this vpr reads up to {FORMAT}; use the one that wrote it")
    return ValueError("its format is none")


def damaged(path: Path, reason: object) -> MapError:
    """What is said of a damaged file of a map."""
    folder = path.parent
    remedy = f"remove {folder / MAP} and add all folders again; photos are not described again"
    return MapError(f"{path} is damaged ({reason}); {remedy}")


@dataclass(frozen=True, eq=False)
class PhotoTable:
    """The photos of a map, in its order."""

    keys: np.ndarray  # (N,) object, str
    latitude: np.ndarray  # (N,) degrees, WGS 84
    longitude: np.ndarray
    bytes: np.ndarray  # (N,) int64, size of the file that was described
    mtime_ns: np.ndarray  # (N,) int64, when that file was changed
    described_as: np.ndarray  # (N,) object, str: what the descriptor cache calls it

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of_rows(cls, rows: Sequence[Sequence[object]]) -> "PhotoTable":
        """Made of rows in the order of `COLUMNS`; raises ValueError for values that cannot be.

        Without the last column photos are described as their keys.
        """
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)
        kinds = (object, np.float64, np.float64, np.int64, np.int64, object)
        columns = [*columns, *columns[:1]] if len(columns) == len(kinds) - 1 else columns
        table = cls(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))
        if len(set(table.keys)) < len(table) or not all(map(are_degrees, table.latitude, table.longitude)):
            raise ValueError("a photo is there twice, or has no position on Earth")
        return table

    def rows(self) -> list[tuple[object, ...]]:
        """In the order of `COLUMNS`."""
        return list(zip(*(getattr(self, name).tolist() for name in ("keys", *COLUMNS[1:]))))

    def take(self, rows: np.ndarray) -> "PhotoTable":
        """Some of the photos."""
        return PhotoTable(*(getattr(self, name)[rows] for name in ("keys", *COLUMNS[1:])))


@dataclass(frozen=True, eq=False)
class Content:
    """The files of a map, read."""

    state: State
    table: PhotoTable
    globals_: np.ndarray  # (N, G) float32, a memory map
    adaptation: Adaptation | None
    strangers: np.ndarray  # (S,) float32, what familiarity is told by
    index: Path | None = None  # the file of an index

    @classmethod
    def read(cls, folder: Path, patches: int) -> "Content":
        """Read a map of a model with so many patches an image; raises MapError for one that is damaged."""
        state = State.of(folder)
        paths = {role: _verified(folder / name, digest) for role, (name, digest) in state.files.items()}
        try:
            with paths["photos"].open(encoding="utf-8", newline="") as file:
                _, *rows = csv.reader(file)
            table = PhotoTable.of_rows([(path_of(folder, key), *rest) for key, *rest in rows])
            globals_ = np.load(paths["globals"], mmap_mode="r", allow_pickle=False)
            adaptation = _read_adaptation(paths["adaptation"], patches) if "adaptation" in paths else None
            alike = np.load(paths["strangers"], allow_pickle=False)
            if not len(table) == len(globals_) == state.photos or globals_.ndim != 2 or globals_.dtype != np.float32:
                raise ValueError(f"it says {state.photos} photos, and its files have others")
        except (ValueError, LookupError, RuntimeError, TypeError, OverflowError) as error:
            raise damaged(folder / MAP, error) from error
        return cls(state, table, globals_, adaptation, alike, paths.get("index"))


def settled(folder: Path, read: Callable[[], T]) -> T:
    """What ``read`` gives of a map that nobody changed meanwhile: it is called anew where somebody did.

    Raises MapError where the map changes each time, and what ``read`` raises of a map that is as it was.
    """
    for _ in range(TRIES):
        before = _moment(folder)
        try:
            result = read()
        except (MapError, OSError):
            if _moment(folder) == before:
                raise
        else:
            if _moment(folder) == before:
                return result
    raise MapError(f"{folder} is being changed all the time; wait for the command that does, and try again")


def _moment(folder: Path) -> list[tuple[int, int] | None]:
    """Other numbers when a map.json was swapped, or a file of descriptors; None for a file that is missing."""
    moment: list[tuple[int, int] | None] = []
    for name in (MAP, DESCRIPTORS):
        try:
            status = os.stat(folder / name)
        except OSError:
            moment.append(None)
        else:  # descriptors that are added to a file are not read yet
            moment.append((status.st_ino, status.st_mtime_ns if name == MAP else 0))
    return moment


def _read_adaptation(path: Path, patches: int) -> Adaptation:
    from safetensors.numpy import load_file

    return Adaptation.of_arrays(load_file(path), patches)


def _verified(path: Path, digest: object) -> Path:
    if not path.is_file():
        raise damaged(path, "it is missing")
    if digest_of(path) != digest:
        raise damaged(path, "it is not what was written")
    return path


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def path_of(folder: Path, kept: str) -> str:
    """The path of a photo, from the root, by the key that is kept of it."""
    return kept if os.path.isabs(kept) else f"{_root(folder)}{kept}"


def kept_as(folder: Path, path: str) -> str:
    """The key that is kept of a photo: its path, from the map's folder where it lies in it."""
    return path.removeprefix(_root(folder))


def _root(folder: Path) -> str:
    return f"{Path(os.path.realpath(folder)).as_posix().rstrip('/')}/"


def write_table(path: Path, table: PhotoTable) -> None:
    """Write photos-N.csv."""
    text = io.StringIO(newline="")
    rows = [(kept_as(path.parent, str(key)), *rest) for key, *rest in table.rows()]
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows([COLUMNS, *rows])
    write_bytes(path, text.getvalue().encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """Write globals-N.npy, or strangers-N.npy."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array, np.float32))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write adaptation-N.safetensors."""
    from safetensors.numpy import save

    write_bytes(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
