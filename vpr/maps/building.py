"""Adding photos to a map, and removing them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vpr.base.files import file_digest, write_lock
from vpr.cache import DescriptorCache, PatchType
from vpr.description.adaptation import Adaptation, adaptation_of, fit_adaptation, is_worth_adapting, split_rows
from vpr.description.cache_filling import DEFAULT_FILL, CacheFillOptions
from vpr.description.images import ImageError
from vpr.maps.candidates import CandidateFinder
from vpr.maps.familiarity import unknown_place_scores
from vpr.maps.frames import FRAMES
from vpr.maps.map_sample import search_sample
from vpr.maps.photo_versions import (
    CODED_DESCRIPTORS,
    SAMPLE_DESCRIPTORS,
    FileStamp,
    describe_photos,
    drop_old_versions,
    keep_only,
    no_readable_photo,
    open_descriptors,
    photo_key,
    read_stamp,
    replace_descriptors,
    require_described,
    version_name,
)
from vpr.maps.place_size import estimate_place_m
from vpr.maps.skipped_photos import SkippedPhotos, problem_of
from vpr.maps.sources.positions import KnownPositions, Photo
from vpr.maps.store import (
    DESCRIPTORS,
    ENDINGS,
    MAP,
    MapContent,
    PhotoTable,
    State,
    absolute_path,
    disk_key,
    read_consistently,
    write_array,
    write_arrays,
    write_table,
)
from vpr.models.model_name import is_model_name
from vpr.positions.errors import MapError
from vpr.positions.map_frame import Kind, Position, require_size
from vpr.positions.paths import RealPaths
from vpr.positions.tables import other_kind
from vpr.retrieval import vector_index
from vpr.retrieval.index import LocalIndex
from vpr.retrieval.rerank import CachedImages
from vpr.retrieval.vector_index import VectorIndex
from vpr.run import Run

Row = tuple[object, ...]  # a row of a `PhotoTable`

RESTORE = "restore it, or remove it from the map (vpr.map MAP remove PHOTO), and run the same command again"
GROWTH = 2  # growth of a map, as a factor, after which the model is adapted to it again


@dataclass(frozen=True)
class AddResult:
    """The result of adding photos."""

    photos: int  # photos in the map now
    new: int
    changed: int  # photos whose file or position has changed
    unchanged: int
    described: int  # photos that were described by the model
    adapted_to: int  # photos that the model is adapted to; 0 if it is not adapted
    left_out: SkippedPhotos = SkippedPhotos()
    removed: int = 0  # outdated photos


def read_positions(folder: Path) -> dict[str, Position]:
    """The positions of a map's photos, by key; empty if there is no map yet."""
    return _read_table(folder).position_by_key()


def known_positions(folder: Path) -> KnownPositions:
    """What a map knows of positions; nothing if there is no map yet."""
    table, real = _read_table(folder), RealPaths()
    stamps = dict(zip(table.keys.tolist(), zip(table.bytes.tolist(), table.mtime_ns.tolist())))
    positions = table.position_by_key().items()
    by_key = {real(key): position for key, position in positions if read_stamp(key) == stamps[key]}
    return KnownPositions(table.kind if len(table) else None, by_key)


def _read_table(folder: Path) -> PhotoTable:
    """The photos of a map; empty if there is no map yet."""
    if not (folder / MAP).is_file():
        return PhotoTable.from_rows([])
    return read_consistently(folder, lambda: MapContent.read(folder)).table


def add_photos(
    folder: Path,
    model: Run,
    photos: Sequence[Photo],
    options: CacheFillOptions = DEFAULT_FILL,
    is_outdated: Callable[[str], bool] = lambda key: False,
    patches: PatchType | None = None,
    place_m: float | None = None,
) -> AddResult:
    """Add photos to a map. A missing map is created.

    is_outdated: whether a photo of the map, by its path, is outdated; it is removed by the same change. patches: the
    type of patch descriptors; None: that of the map, or pq28 for at least 100,000 photos. place_m: size of a place on
    the map, metres; 0 estimates it, None leaves it as it is: estimated if it was not set before.

    Photos with unchanged size and modification time are not described again. The descriptors of the others are stored
    as they are made, so an interrupted call continues. Photos that cannot be read are left out; if one is in the map
    already, its entry does not change. Raises MapError for a map of another model, a map that is damaged or being
    written, and if no photo can be read.
    """
    with write_access(folder):
        return add_photos_unlocked(folder, model, photos, options, is_outdated, patches, place_m)


def add_photos_unlocked(
    folder: Path,
    model: Run,
    photos: Sequence[Photo],
    options: CacheFillOptions,
    is_outdated: Callable[[str], bool],
    patches: PatchType | None = None,
    place_m: float | None = None,
) -> AddResult:
    """As `add_photos`, for callers that hold `write_access`."""
    stored = _read_or_create(folder, model, photos[0].kind if photos else "earth")
    require_kind(stored.state.kind, photos)
    kind = stored.state.kind
    require_size(kind, place_m)
    before = stored if place_m is None else _set_place(stored, place_m)
    outdated = np.array([is_outdated(str(key)) for key in before.table.keys], bool)
    before = _select_photos(before, ~outdated) if outdated.any() else before
    known = {str(row[0]): row for row in before.table.rows()}
    real = RealPaths()
    keys = {real(key): key for key in known}  # another path to a photo of the map is that photo
    by_key = {keys.get(real(photo.key), real(photo.key)): photo for photo in photos}
    added = {key: _table_row(folder, key, photo, known.get(key)) for key, photo in by_key.items()}
    done = describe_photos(folder, model, PhotoTable.from_rows([*(known | added).values()], kind), options, patches)
    unreadable = _unreadable_photos(folder, known, done.unreadable)
    rows = {key: row for key, row in added.items() if key not in unreadable}
    if not known | rows:
        raise no_readable_photo([*unreadable.values()])
    new = [key for key in rows if key not in known]
    changed = [key for key, row in rows.items() if key in known and known[key] != row]
    merged = PhotoTable.from_rows([*(known | rows).values()], kind)
    require_described(done.cache, merged.described_as)
    after = before
    is_converted = done.cache.path.name != DESCRIPTORS
    is_changed = is_converted or before.state != stored.state or place_m == 0
    if new or changed or done.described or outdated.any() or is_changed:
        described = [*new, *(key for key in changed if known[key][-1] != rows[key][-1])]
        after = _write(folder, model, replace_table(before, merged), done.cache, described)
    cache = replace_descriptors(folder, done.cache, model)
    after.state.clean(folder)
    if outdated.any():
        names = cache.keys
        current = [not is_outdated(absolute_path(folder, photo_key(str(name)))) for name in names]
        keep_only(cache, names[current])
    else:
        drop_old_versions(folder, cache, merged)
    counts = len(merged), len(new), len(changed), len(rows) - len(new) - len(changed), done.described
    return AddResult(*counts, after.state.adapted_to, SkippedPhotos(unreadable=unreadable), int(outdated.sum()))


def require_kind(kind: Kind, photos: Sequence[Photo]) -> None:
    """Raise MapError for a photo whose position is of another kind than those of the map."""
    for photo in photos:
        if photo.kind != kind:
            raise other_kind(photo.key, photo.kind, kind)


def _set_place(content: MapContent, place_m: float) -> MapContent:
    """The content of a map with another size of places; 0 estimates it when the map is written."""
    size = {"place_m": place_m, "place_is_set": True} if place_m else {"place_is_set": False}
    return replace(content, state=replace(content.state, **size))


def _unreadable_photos(folder: Path, known: Mapping[str, Row], unreadable: Mapping[str, str]) -> dict[str, str]:
    """The problems of unreadable photos, by path.

    Raises MapError if a photo of the map cannot be read and its descriptors are lost.
    """
    problems = {absolute_path(folder, photo_key(name)): problem for name, problem in unreadable.items()}
    for path, problem in problems.items():
        if path in known and known[path][-1] in unreadable:
            raise MapError(f"{problem}; {RESTORE}")
    return problems


def _table_row(folder: Path, key: str, photo: Photo, known: Row | None) -> Row:
    """The row of a photo; if its file is unchanged, it keeps the name of its descriptors."""
    stamp = read_stamp(key) or FileStamp(0, 0)  # a file that was removed meanwhile is reported when it is described
    same = known is not None and known[-3:-1] == stamp
    name = known[-1] if known is not None and same else version_name(disk_key(folder, key), stamp)
    return (key, *photo.position, *stamp, name)


def remove_photos(folder: Path, model: Run, names: Sequence[str]) -> int:
    """Remove photos and their descriptors from a map; returns the number of removed photos.

    names: a folder, for all photos in it; the path of a photo; or the name of a file. Raises MapError for a name that
    matches no photo, if no photo would remain, and as `add_photos`.
    """
    with write_access(folder):
        before, cache = _read_or_create(folder, model), open_descriptors(folder, model)
        # after a kill, photos may have descriptors without being in the table
        described = [absolute_path(folder, photo_key(name)) for name in cache.keys]
        known = [*dict.fromkeys([*before.table.keys.tolist(), *described])]
        removed = set[str]()
        for name in names:
            matching = _matching_photos(known, name)
            if not matching:
                raise MapError(f"no photo of {folder} lies at {name} or has that name; see: python -m vpr.map info")
            removed |= matching
        remaining = np.array([key not in removed for key in before.table.keys], bool)
        for unfinished in (CODED_DESCRIPTORS, SAMPLE_DESCRIPTORS):  # of a conversion that was interrupted
            (folder / unfinished).unlink(missing_ok=True)
        if not remaining.any():
            raise MapError(f"that would leave no photo in {folder}; remove the folder instead")
        if not remaining.all():
            before = _write(folder, model, _select_photos(before, remaining), cache, [])
        before.state.clean(folder)
        keep_only(cache, before.table.described_as)
        return len(removed)


def _matching_photos(keys: Sequence[str], name: str) -> set[str]:
    """The photo at a path, or the photos in a folder; if there are none, the photo with that file name.

    The extension of a file name may be missing. Raises MapError for an empty name, and for a name of several photos.
    """
    if not name:
        raise MapError("an empty name is not a photo or folder; name one")
    real = RealPaths()
    for path in (real(name), Path(os.path.realpath(name)).as_posix()):
        if below := {key for key in keys if f"{real(key)}/".startswith(f"{path.rstrip('/')}/")}:
            return below
    named = {key for key in keys if name in (Path(key).name, Path(key).stem)}
    if len(named) > 1:
        raise MapError(f"{len(named)} photos are called {name}, such as {' and '.join(sorted(named)[:2])}; pass a path")
    return named


def require_place(folder: Path) -> None:
    """Raise MapError if a folder exists and is neither empty nor a map."""
    if folder.exists() and not folder.is_dir():
        raise MapError(f"{folder} is not a folder; name another map")
    is_map = (folder / MAP).exists() or (folder / DESCRIPTORS).exists()
    others = [path for path in folder.glob("*") if not path.name.startswith(".") and path.name != FRAMES]
    if others and not is_map:
        raise MapError(f"{folder} is not empty and not a map; name another folder")


@contextmanager
def write_access(folder: Path) -> Iterator[None]:
    """Hold the write lock of a map; an ImageError is raised as MapError.

    Raises VprError if another process holds it, MapError as `require_place`.
    """
    require_place(folder)
    with write_lock(folder / MAP, wait=False):
        try:
            yield
        except ImageError as error:
            raise MapError(f"{problem_of(error)}; {RESTORE}") from error


def _read_or_create(folder: Path, model: Run, kind: Kind = "earth") -> MapContent:
    """The content of the map, or an empty one with positions of a kind; raises MapError if another model made it."""
    spec = model.spec
    if not (folder / MAP).is_file():
        empty = np.zeros((0, spec.global_dim), np.float32)
        state, table = State(model.name, spec.fingerprint, kind=kind), PhotoTable.from_rows([], kind)
        return MapContent(state, table, empty, None, np.zeros(0, np.float32))
    return read_map(folder, model)


def read_map(folder: Path, model: Run) -> MapContent:
    """The content of a map; raises MapError if another model made it, or it is damaged."""
    require_model(folder, State.of(folder), model)
    return MapContent.read(folder)


def require_model(folder: Path, state: State, model: Run) -> None:
    """Raise MapError if the map was made by another model."""
    own = model.spec.fingerprint
    if state.fingerprint == own:
        return
    if state.run == model.name and is_model_name(model.name):
        raise MapError(
            f"the code or the weights of {state.run} have changed since it made {folder} (it was {state.fingerprint}, "
            f"and is {own}); restore the old ones, or add the photos to a new map, which describes them again"
        )
    if state.run == model.name:
        raise MapError(
            f"the run at {state.run} has changed since it made {folder} (it was {state.fingerprint}, and is {own}); "
            "restore the old run, or add the photos to a new map, which describes them again"
        )
    raise MapError(
        f"{folder} was made by another model ({state.run}, {state.fingerprint}), not by this one ({own}); "
        f"pass --run {state.run}, or make a new map"
    )


def _select_photos(content: MapContent, rows: np.ndarray) -> MapContent:
    """The content of a map with some of its photos."""
    return replace(content, table=content.table.take(rows), global_descriptors=content.global_descriptors[rows])


def replace_table(before: MapContent, table: PhotoTable) -> MapContent:
    """The content of a map with another table; new photos get descriptors of zeros."""
    vectors = np.zeros((len(table), before.global_descriptors.shape[1]), np.float32)
    vectors[: len(before.global_descriptors)] = before.global_descriptors
    return replace(before, table=table, global_descriptors=vectors)


def _write(
    folder: Path, model: Run, content: MapContent, cache: DescriptorCache, described: Sequence[str]
) -> MapContent:
    """Write the next change of a map.

    described: photos with new descriptors. Their global descriptors are computed, or those of all photos if the model
    is adapted again.
    """
    state, table, adaptation = content.state, content.table, content.adaptation
    rows, change, files = cache.rows(table.described_as), state.change + 1, dict(state.files)
    fitted = _new_adaptation(model, content, cache, rows)
    if fitted is not None:
        adaptation, state = fitted, replace(state, adapted_to=len(table))
        write_arrays(_role_path(folder, "adaptation", change), adaptation.to_arrays())
        files["adaptation"] = _file_record(_role_path(folder, "adaptation", change))
        is_changed = np.ones(len(table), bool)
    else:
        keys = set(described)  # np.isin compares arrays of objects one by one
        is_changed = np.fromiter((key in keys for key in table.keys), bool, len(table))
    vectors = _global_descriptors(cache, rows, adaptation, content.global_descriptors, is_changed)
    kind = vector_index.kind_for(len(table))
    roles = ["photos", "globals", "strangers", *([] if kind == "flat" else ["index"])]
    paths = {role: _role_path(folder, role, change) for role in roles}
    write_table(paths["photos"], table)
    write_array(paths["globals"], vectors)
    vector_index.build(vectors, kind, _role_path(folder, "index", change))
    entries = VectorIndex(vectors, kind, paths.get("index"))
    photos = LocalIndex(entries, CachedImages(cache, rows, adaptation, vectors), model.describer.device)
    usual = table.frame.usual_place()
    place_m = state.place_m if state.place_is_set or state.change else usual
    sample = search_sample(CandidateFinder(model.calibration, photos, table.places, place_m))
    place_m = place_m if state.place_is_set or not table.frame.has_size else estimate_place_m(sample, usual)
    unknown_scores = unknown_place_scores(sample, place_m)
    write_array(paths["strangers"], unknown_scores)
    files = {role: file for role, file in files.items() if role == "adaptation"}
    files |= {role: _file_record(path) for role, path in paths.items()}
    state = replace(state, change=change, photos=len(table), index=kind, place_m=place_m, files=files)
    state.write(folder)
    return MapContent(state, table, vectors, adaptation, unknown_scores)


def _new_adaptation(model: Run, content: MapContent, cache: DescriptorCache, rows: np.ndarray) -> Adaptation | None:
    """A new adaptation to the photos of a map, rows (N,) of its cache; None if the map keeps its own, or has none.

    Product-quantised patches keep the adaptation that they were encoded with.
    """
    if cache.coding is not None:
        coded, own = adaptation_of(cache), content.adaptation
        is_own = coded is None or (own is not None and own.is_same(coded))
        return None if is_own else coded
    due = content.state.adapted_to == 0 or len(rows) >= GROWTH * content.state.adapted_to
    if not due or model.config.head != "whitening" or not is_worth_adapting(len(rows)):
        return None
    return fit_adaptation(cache, rows)


def _role_path(folder: Path, role: str, change: int) -> Path:
    return folder / f"{role}-{change}.{ENDINGS[role]}"


def _file_record(path: Path) -> list[str]:
    return [path.name, file_digest(path)]


def _global_descriptors(
    cache: DescriptorCache,
    rows: np.ndarray,
    adaptation: Adaptation | None,
    before: np.ndarray,
    is_changed: np.ndarray,
) -> np.ndarray:
    """Global descriptors (N, G) of the rows (N,) of a cache.

    before (N, G): earlier descriptors, which are reused if a row has not changed. is_changed: (N,) bool.
    """
    if adaptation is None or adaptation.summary is None or cache.spec.adapted:
        return np.asarray(cache.globals_[rows])
    dim = len(adaptation.summary.components)
    vectors = np.zeros((len(rows), dim), np.float32)
    if before.shape[1] == dim:
        vectors[:] = before
    for block in split_rows(np.flatnonzero(is_changed)):
        vectors[block] = adaptation.global_descriptors(adaptation.adapt_patches(cache.read_patches(rows[block])))
    return vectors
