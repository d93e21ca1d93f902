"""Photos into a map, and out of it."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vpr.base.files import write_lock
from vpr.cache import DescriptorCache
from vpr.description.adaptation import Adaptation, blocks, fit_to, pays
from vpr.description.images import ImageError
from vpr.description.into_cache import USUAL, Filling
from vpr.maps.candidates import CandidateFinder
from vpr.maps.described import (
    Stamp,
    compact,
    describe_missing,
    drop_old_versions,
    key_of,
    name_of,
    none_readable,
    open_descriptors,
    require_described,
    stamp_of,
)
from vpr.maps.errors import MapError
from vpr.maps.familiarity import unknown_place_scores
from vpr.maps.frames import FRAMES
from vpr.maps.geodesy import places_of
from vpr.maps.left_out import LeftOut, reason
from vpr.maps.paths import RealPaths
from vpr.maps.sources.positions import Photo
from vpr.maps.sources.tables import Position
from vpr.maps.store import (
    DESCRIPTORS,
    ENDINGS,
    MAP,
    Content,
    PhotoTable,
    State,
    digest_of,
    kept_as,
    path_of,
    read_unchanged,
    write_array,
    write_arrays,
    write_table,
)
from vpr.retrieval import vector_index
from vpr.retrieval.index import LocalIndex
from vpr.retrieval.rerank import CachedImages
from vpr.retrieval.vector_index import VectorIndex
from vpr.run import Run

Row = tuple[object, ...]  # of a `PhotoTable`

RESTORE = "restore it, or take it out of the map (vpr.map MAP remove PHOTO), and give the same command again"
GROWTH = 2  # a map that has grown so many times is adapted to again


@dataclass(frozen=True)
class Added:
    """What adding photos did."""

    photos: int  # in the map now
    new: int
    changed: int  # whose file, or position, was another one
    unchanged: int
    described: int  # read and described by the model
    adapted_to: int  # photos that the model is adapted to; 0 where it is not
    left_out: LeftOut = LeftOut()
    removed: int = 0  # photos that are no longer right


def known_positions(folder: Path, patches: int) -> dict[str, Position]:
    """Where the photos of a map are whose files are as they were, by `RealPaths`; empty where there is no map yet."""
    if not (folder / MAP).is_file():
        return {}
    table = read_unchanged(folder, lambda: Content.read(folder, patches)).table
    same = {str(key): where for key, *where, size, time, _ in table.rows() if stamp_of(str(key)) == (size, time)}
    real = RealPaths()
    return {real(key): (float(latitude), float(longitude)) for key, (latitude, longitude) in same.items()}  # type: ignore


def add_photos(
    folder: Path,
    model: Run,
    photos: Sequence[Photo],
    how: Filling = USUAL,
    is_outdated: Callable[[str], bool] = lambda key: False,
) -> Added:
    """Add photos to a map, which is made when it is missing.

    is_outdated: whether a photo of the map, by its path, is no longer right; it is removed by the same change.

    A photo whose file has the size and the time of change of before is not described again. Of other photos the
    descriptors are kept one by one, so a call that was killed and is given again continues. Photos that cannot be read
    are left out; those of the map that have become so stay as they were. Raises MapError for a map of another model,
    one that is damaged or being written, and where no photo can be read.
    """
    with _writing(folder):
        before = _before(folder, model)
        outdated = np.array([is_outdated(str(key)) for key in before.table.keys], bool)
        before = _take(before, ~outdated) if outdated.any() else before
        known = {str(row[0]): row for row in before.table.rows()}
        real = RealPaths()
        called = {real(key): key for key in known}  # another path to a photo of the map is that photo
        placed = {called.get(real(photo.key), real(photo.key)): photo for photo in photos}
        given = {key: _row(folder, key, photo, known.get(key)) for key, photo in placed.items()}
        done = describe_missing(folder, model, PhotoTable.of_rows([*(known | given).values()]), how)
        lost = _lost(folder, known, done.unreadable)
        rows = {key: row for key, row in given.items() if key not in lost}  # a photo of before stays as it was
        if not known | rows:
            raise none_readable([*lost.values()])
        new = [key for key in rows if key not in known]
        changed = [key for key, row in rows.items() if key in known and known[key] != row]
        merged = PhotoTable.of_rows([*(known | rows).values()])
        require_described(done.cache, merged.described_as)
        after = before
        if new or changed or done.described or outdated.any():
            fresh = [*new, *(key for key in changed if known[key][-1] != rows[key][-1])]
            after = _write(folder, model, replace_table(before, merged), done.cache, fresh)
        after.state.clean(folder)
        if outdated.any():
            names = done.cache.keys
            compact(done.cache, names[[not is_outdated(path_of(folder, key_of(str(name)))) for name in names]])
        else:
            drop_old_versions(folder, done.cache, merged)
        counts = len(merged), len(new), len(changed), len(rows) - len(new) - len(changed), done.described
        return Added(*counts, after.state.adapted_to, LeftOut(unreadable=lost), int(outdated.sum()))


def _lost(folder: Path, known: Mapping[str, Row], unreadable: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with photos that cannot be read, by path; raises MapError for one that the map cannot lack."""
    lost = {path_of(folder, key_of(name)): why for name, why in unreadable.items()}
    for path, why in lost.items():
        if path in known and known[path][-1] in unreadable:
            raise MapError(f"{why}; {RESTORE}")
    return lost


def _row(folder: Path, key: str, photo: Photo, known: Row | None) -> Row:
    """Of a photo in a table; that of a photo whose file is as before keeps the name of its descriptors."""
    stamp = stamp_of(key) or Stamp(0, 0)  # a file that went away meanwhile is named when it is described
    same = known is not None and known[3:5] == stamp
    name = known[-1] if known is not None and same else name_of(kept_as(folder, key), stamp)
    return (key, photo.latitude, photo.longitude, *stamp, name)


def remove_photos(folder: Path, model: Run, names: Sequence[str]) -> int:
    """Take photos out of a map: all below a folder, those of a path, or those whose file has that name.

    Their descriptors are removed too. Returns how many there were. Raises MapError where a name fits no photo, where no
    photo would be left, and as `add_photos`.
    """
    with _writing(folder):
        before, cache = _before(folder, model), open_descriptors(folder, model)
        kept = [path_of(folder, key_of(name)) for name in cache.keys]  # of photos that are in no table after a kill
        known = [*dict.fromkeys([*before.table.keys.tolist(), *kept])]
        gone = set[str]()
        for name in names:
            fitting = _fitting(known, name)
            if not fitting:
                raise MapError(f"no photo of {folder} lies at {name} or has that name; see: python -m vpr.map info")
            gone |= fitting
        stay = np.array([key not in gone for key in before.table.keys], bool)
        if not stay.any():
            raise MapError(f"that would leave no photo in {folder}; remove the folder instead")
        if not stay.all():
            before = _write(folder, model, _take(before, stay), cache, [])
        before.state.clean(folder)
        compact(cache, before.table.described_as)
        return len(gone)


def _fitting(keys: Sequence[str], name: str) -> set[str]:
    """The photo at a path, or those below a folder; where there are none, the one photo with that name, with or without
    its ending. Raises MapError for no name, and for a name that several photos have."""
    if not name:
        raise MapError("an empty name is no photo and no folder; name one")
    real = RealPaths()
    for path in (real(name), Path(os.path.realpath(name)).as_posix()):
        if below := {key for key in keys if f"{real(key)}/".startswith(f"{path.rstrip('/')}/")}:
            return below
    named = {key for key in keys if name in (Path(key).name, Path(key).stem)}
    if len(named) > 1:
        raise MapError(f"{len(named)} photos are called {name}, such as {' and '.join(sorted(named)[:2])}; give a path")
    return named


def require_place(folder: Path) -> None:
    """Raise MapError where a folder is neither a map nor empty nor new."""
    if folder.exists() and not folder.is_dir():
        raise MapError(f"{folder} is no folder; name another map")
    is_map = (folder / MAP).exists() or (folder / DESCRIPTORS).exists()
    others = [path for path in folder.glob("*") if not path.name.startswith(".") and path.name != FRAMES]
    if others and not is_map:
        raise MapError(f"{folder} is not empty and no map; name another folder")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Alone; what is wrong with the descriptors or a photo is said as an error of the map."""
    require_place(folder)
    with write_lock(folder / MAP, wait=False):
        try:
            yield
        except ImageError as error:
            raise MapError(f"{reason(error)}; {RESTORE}") from error


def _before(folder: Path, model: Run) -> Content:
    """The map as it is, or an empty one; raises MapError where another model made it."""
    spec = model.spec
    if not (folder / MAP).is_file():
        empty = np.zeros((0, spec.global_dim), np.float32)
        return Content(
            State(model.name, spec.fingerprint), PhotoTable.of_rows([]), empty, None, np.zeros(0, np.float32)
        )
    return read_map(folder, model)


def read_map(folder: Path, model: Run) -> Content:
    """The files of a map; raises MapError where another model made it, or it is damaged."""
    require_model(folder, State.of(folder), model)
    return Content.read(folder, model.spec.patches)


def require_model(folder: Path, state: State, model: Run) -> None:
    """Raise MapError where the map was made by another model."""
    own = model.spec.fingerprint
    if state.fingerprint == own:
        return
    if state.run == model.name:
        raise MapError(
            f"the run at {state.run} has changed since it made {folder} (it was {state.fingerprint}, and is {own}); "
            "bring the old run back, or add the photos to a new map, which describes them again"
        )
    raise MapError(
        f"{folder} was made by another model ({state.run}, {state.fingerprint}), not by this one ({own}); "
        f"pass --run {state.run}, or make a new map"
    )


def _take(content: Content, rows: np.ndarray) -> Content:
    """The map with some of its photos."""
    return replace(content, table=content.table.take(rows), globals_=content.globals_[rows])


def replace_table(before: Content, table: PhotoTable) -> Content:
    """The map with another table; photos that are new have zeros for descriptors."""
    globals_ = np.zeros((len(table), before.globals_.shape[1]), np.float32)
    globals_[: len(before.globals_)] = before.globals_
    return replace(before, table=table, globals_=globals_)


def _write(folder: Path, model: Run, content: Content, cache: DescriptorCache, fresh: Sequence[str]) -> Content:
    """Write the next change of a map.

    fresh: photos whose global descriptors are to be made anew; all are where the model is adapted again.
    """
    state, table, adaptation = content.state, content.table, content.adaptation
    rows, change, files = cache.rows(table.described_as), state.change + 1, dict(state.files)
    due = state.adapted_to == 0 or len(table) >= GROWTH * state.adapted_to
    if due and model.network.config.head == "whitening" and pays(len(table)):
        adaptation, state = fit_to(cache, rows), replace(state, adapted_to=len(table))
        write_arrays(_path(folder, "adaptation", change), adaptation.arrays())
        files["adaptation"] = _recorded(_path(folder, "adaptation", change))
        anew = np.ones(len(table), bool)
    else:
        names = set(fresh)  # np.isin compares arrays of objects one by one
        anew = np.fromiter((key in names for key in table.keys), bool, len(table))
    globals_ = _globals(cache, rows, adaptation, content.globals_, anew)
    kind = vector_index.kind_for(len(table))
    roles = ["photos", "globals", "strangers", *([] if kind == "flat" else ["index"])]
    paths = {role: _path(folder, role, change) for role in roles}
    write_table(paths["photos"], table)
    write_array(paths["globals"], globals_)
    vector_index.build(globals_, kind, _path(folder, "index", change))
    entries = VectorIndex(globals_, kind, paths.get("index"))
    photos = LocalIndex(entries, CachedImages(cache, rows, adaptation, globals_), model.device)
    places = places_of(table.latitude, table.longitude)
    unknown_scores = unknown_place_scores(CandidateFinder(model.calibration, photos, places))
    write_array(paths["strangers"], unknown_scores)
    files = {role: file for role, file in files.items() if role == "adaptation"}
    files |= {role: _recorded(path) for role, path in paths.items()}
    state = replace(state, change=change, photos=len(table), index=kind, files=files)
    state.write(folder)
    return Content(state, table, globals_, adaptation, unknown_scores)


def _path(folder: Path, role: str, change: int) -> Path:
    return folder / f"{role}-{change}.{ENDINGS[role]}"


def _recorded(path: Path) -> list[str]:
    return [path.name, digest_of(path)]


def _globals(cache: DescriptorCache, rows: np.ndarray, adaptation: Adaptation | None, before: np.ndarray,
             anew: np.ndarray) -> np.ndarray:  # fmt: skip
    """Global descriptors (N, G) of the cache's rows (N,): those of before, or made anew where that is said (N,)."""
    if adaptation is None:
        return np.asarray(cache.globals_[rows])
    dim = len(adaptation.summary.components)
    globals_ = np.zeros((len(rows), dim), np.float32)
    if before.shape[1] == dim:
        globals_[:] = before
    for block in blocks(np.flatnonzero(anew)):
        globals_[block] = adaptation.globals_(adaptation.patches(cache.read_patches(rows[block])))
    return globals_
