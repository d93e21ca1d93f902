"""Photos into a map, and out of it."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vpr.base.files import replacing, writing_alone
from vpr.cache import CacheError, CacheMismatch, DescriptorCache, create, mend_truncated
from vpr.description.adaptation import Adaptation, blocks, fit_to, pays
from vpr.description.images import ImageError
from vpr.description.into_cache import USUAL, Filling, describe_into_cache
from vpr.maps import index as indices
from vpr.maps.candidates import Comparer
from vpr.maps.errors import MapError
from vpr.maps.familiarity import strangers
from vpr.maps.geodesy import places_of
from vpr.maps.model import Model
from vpr.maps.positions import Photo, Position
from vpr.maps.store import (
    DESCRIPTORS,
    MAP,
    Content,
    PhotoTable,
    State,
    digest_of,
    write_array,
    write_arrays,
    write_table,
)

log = logging.getLogger("vpr")

FRAMES = "frames"  # the folder in a map that keeps what was taken out of videos
ENDINGS = {"photos": "csv", "globals": "npy", "strangers": "npy", "index": "faiss"}  # of the files of a change
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


def known_positions(folder: Path, patches: int) -> dict[str, Position]:
    """Where the photos of a map are whose files are as they were, by key; empty where there is no map yet."""
    if not (folder / MAP).is_file():
        return {}
    table = Content.read(folder, patches).table
    same = {key: (latitude, longitude) for key, latitude, longitude, *stamp in table.rows() if _stamp(key) == (*stamp,)}
    return same  # type: ignore[return-value]


def _stamp(key: object) -> tuple[int, int] | None:
    """Size and time of a photo's file; None where it is gone."""
    try:
        status = os.stat(str(key))
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def add_photos(folder: Path, model: Model, photos: Sequence[Photo], how: Filling = USUAL) -> Added:
    """Add photos to a map, which is made when it is missing.

    A photo whose file has the size and the time of change of before is not described again. Of other photos the
    descriptors are kept one by one, so a call that was killed and is given again continues. Raises MapError for a map
    of another model, one that is damaged or being written, and a photo that cannot be decoded.
    """
    with _writing(folder):
        before = _before(folder, model)
        table, stamps = before.table, [_stamp(photo.key) for photo in photos]
        rows = [
            (p.key, p.latitude, p.longitude, *(stamp or (0, 0))) for p, stamp in zip(photos, stamps, strict=True)
        ]  # a file that went away meanwhile is named when it is described
        known = {str(row[0]): row for row in table.rows()}
        new = [row for row in rows if row[0] not in known]
        changed = [row for row in rows if row[0] in known and known[row[0]] != row]
        merged = PhotoTable.of_rows([*(known | {row[0]: row for row in (*changed, *new)}).values()])
        altered = [row[0] for row in changed if known[row[0]][3:] != row[3:]]
        cache, described = _described(folder, model, merged, altered, how)
        if new or changed or described:
            fresh = [*altered, *(row[0] for row in new)] if len(table) else merged.keys.tolist()
            state = _write(folder, model, replace_table(before, merged), cache, fresh).state
        else:
            state = before.state
            state.clean(folder)
        return Added(len(merged), len(new), len(changed), len(rows) - len(new) - len(changed), described,
                     state.adapted_to)  # fmt: skip


def remove_photos(folder: Path, model: Model, names: Sequence[str]) -> int:
    """Take photos out of a map: all below a folder, those of a path, or those whose file has that name.

    Their descriptors are removed too. Returns how many there were. Raises MapError where a name fits no photo, where no
    photo would be left, and as `add_photos`.
    """
    with _writing(folder):
        before, cache = _before(folder, model), _opened(folder, model)
        known = [*dict.fromkeys([*before.table.keys.tolist(), *cache.keys.tolist()])]  # the latter: after a kill
        gone = set[str]()
        for name in names:
            fitting = _fitting(known, name)
            if not fitting:
                raise MapError(f"no photo of {folder} lies at {name} or has that name; see: python -m vpr.map info")
            gone |= fitting
        kept = np.array([key not in gone for key in before.table.keys], bool)
        if not kept.any():
            raise MapError(f"that would leave no photo in {folder}; remove the folder instead")
        if not kept.all():
            smaller = replace(before, table=before.table.take(kept), globals_=before.globals_[kept])
            before = _write(folder, model, smaller, cache, [])
        before.state.clean(folder)
        _compact(cache, before.table.keys.tolist())
        return len(gone)


def _fitting(keys: Sequence[str], name: str) -> set[str]:
    """The photo at a path, or those below a folder; where there are none, the one photo with that name, with or without
    its ending. Raises MapError for no name, and for a name that several photos have."""
    if not name:
        raise MapError("an empty name is no photo and no folder; name one")
    path = Path(os.path.abspath(name)).as_posix()
    if below := {key for key in keys if key == path or key.startswith(f"{path.rstrip('/')}/")}:
        return below
    named = {key for key in keys if name in (Path(key).name, Path(key).stem)}
    if len(named) > 1:
        raise MapError(f"{len(named)} photos are called {name}, such as {' and '.join(sorted(named)[:2])}; give a path")
    return named


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Alone; what is wrong with the descriptors or a photo is said as an error of the map."""
    if folder.exists() and not folder.is_dir():
        raise MapError(f"{folder} is no folder; name another map")
    is_map = (folder / MAP).exists() or (folder / DESCRIPTORS).exists()
    others = [path for path in folder.glob("*") if not path.name.startswith(".") and path.name != FRAMES]
    if others and not is_map:
        raise MapError(f"{folder} is not empty and no map; name another folder")
    with writing_alone(folder / MAP, wait=False):
        try:
            yield
        except ImageError as error:
            reason = str(error).rpartition("; ")[0]
            remedy = "restore it, or take it away and out of the map (vpr.map MAP remove PHOTO)"
            raise MapError(f"{reason}; {remedy}, and give the same command again") from error


def _before(folder: Path, model: Model) -> Content:
    """The map as it is, or an empty one; raises MapError where another model made it."""
    spec = model.spec
    if not (folder / MAP).is_file():
        empty = np.zeros((0, spec.global_dim), np.float32)
        return Content(State(model.run, spec.fingerprint), PhotoTable.of_rows([]), empty, None, np.zeros(0, np.float32))
    state = State.of(folder)
    require_model(folder, state, spec.fingerprint)
    return Content.read(folder, spec.patches)


def require_model(folder: Path, state: State, fingerprint: str) -> None:
    """Raise MapError where the map was made by another model."""
    if state.fingerprint != fingerprint:
        raise MapError(
            f"{folder} was made by another model ({state.run}, {state.fingerprint}), not by this one ({fingerprint}); "
            f"pass --run {state.run}, or make a new map"
        )


def _opened(folder: Path, model: Model, writable: bool = False) -> DescriptorCache:
    path = folder / DESCRIPTORS
    try:
        return DescriptorCache(path, model.spec, writable)
    except CacheMismatch as error:
        raise MapError(f"{path} was made by another model; name another map, or remove {folder}") from error
    except CacheError as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> MapError:
    return MapError(f"{path} is damaged; remove it and add the folders again: their photos are described again")


def _described(
    folder: Path, model: Model, table: PhotoTable, altered: Sequence[str], how: Filling
) -> tuple[DescriptorCache, int]:
    """The cache with all photos of the table, and how many were described for it; ``altered`` ones anew."""
    path, lacking, described = folder / DESCRIPTORS, table.keys, 0
    try:
        if path.is_file():
            if mend_truncated(path):
                log.warning("%s was cut short; what is missing is described again", path)
            cache = _opened(folder, model, writable=bool(altered))
            if altered:
                again = cache.find(altered)
                cache.restart(again[again >= 0], cache.bytes[again[again >= 0]])
            rows = cache.find(table.keys)
            lacking = table.keys[(rows < 0) | (cache.done[rows] == 0) | (cache.bytes[rows] != table.bytes)]
        for key in lacking:
            _require_text(key)
        if len(lacking):
            _, described, _ = describe_into_cache(path, model.network, Path(), lacking.tolist(), model.device, how)
        cache = _opened(folder, model)
        cache.rows(table.keys)  # all are there, and are numbers
    except CacheError as error:
        raise _unreadable(path) from error
    return cache, described


def _require_text(key: str) -> None:
    try:
        key.encode()
    except UnicodeEncodeError:
        raise MapError(f"{key!a} has no name in UTF-8; rename it, and give the same command again") from None


def replace_table(before: Content, table: PhotoTable) -> Content:
    """The map with another table; photos that are new have zeros for descriptors."""
    globals_ = np.zeros((len(table), before.globals_.shape[1]), np.float32)
    globals_[: len(before.globals_)] = before.globals_
    return replace(before, table=table, globals_=globals_)


def _write(folder: Path, model: Model, content: Content, cache: DescriptorCache, fresh: Sequence[str]) -> Content:
    """Write the next change of a map.

    fresh: photos whose global descriptors are to be made anew; all are where the model is adapted again.
    """
    state, table, adaptation = content.state, content.table, content.adaptation
    rows, change, files = cache.rows(table.keys), state.change + 1, dict(state.files)
    due = state.adapted_to == 0 or len(table) >= GROWTH * state.adapted_to
    if due and model.network.config.head == "whitening" and pays(len(table)):
        adaptation, state = fit_to(cache, rows), replace(state, adapted_to=len(table))
        write_arrays(folder / f"adaptation-{change}.safetensors", adaptation.arrays())
        files["adaptation"] = _recorded(folder / f"adaptation-{change}.safetensors")
        anew = np.ones(len(table), bool)
    else:
        anew = np.isin(table.keys, [*fresh]) if fresh else np.zeros(len(table), bool)
    globals_ = _globals(cache, rows, adaptation, content.globals_, anew)
    paths = {role: folder / f"{role}-{change}.{ending}" for role, ending in ENDINGS.items()}
    kind = indices.kind_for(len(table))
    if kind == "flat":
        del paths["index"]
    write_table(paths["photos"], table)
    write_array(paths["globals"], globals_)
    indices.build(globals_, kind, folder / f"index-{change}.faiss")
    search = indices.Search(globals_, kind, paths.get("index"))
    places = places_of(table.latitude, table.longitude)
    alike = strangers(Comparer(model, cache, rows, search, adaptation, places))
    write_array(paths["strangers"], alike)
    files = {role: file for role, file in files.items() if role == "adaptation"}
    files |= {role: _recorded(path) for role, path in paths.items()}
    state = replace(state, change=change, photos=len(table), index=kind, files=files)
    state.write(folder)
    return Content(state, table, globals_, adaptation, alike)


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


def _compact(cache: DescriptorCache, keys: Sequence[str]) -> None:
    """Write the cache anew with these photos alone, where it holds others."""
    rows = cache.find(keys)
    if len(rows) == len(cache):
        return
    rows = np.sort(rows)
    with replacing(cache.path) as temporary:
        create(temporary, cache.keys[rows].tolist(), cache.spec)
        target = DescriptorCache(temporary, writable=True)
        for block in blocks(np.arange(len(rows))):
            target.restart(block, cache.bytes[rows[block]])
            target.write(block, cache.globals_[rows[block]], cache.patches[rows[block]])
