"""The class `Map`: a map of photos that is built, opened, changed, and used to locate photos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from vpr.base.machine import Device
from vpr.base.progress import progress
from vpr.cache import CacheError, PatchType
from vpr.description.adaptation import open_any_type
from vpr.description.batches import BATCH
from vpr.description.foreign import ForeignDescriptors
from vpr.description.images import ImageError
from vpr.description.photo_kinds import PhotoLike
from vpr.maps.building import AddResult, add_photos, known_positions, read_map, read_positions, remove_photos
from vpr.maps.candidates import CandidateFinder, Candidates
from vpr.maps.checking import CheckResult, check_answers, check_config, is_copy
from vpr.maps.familiarity import unknown_place_scores
from vpr.maps.frame_order import split_drives
from vpr.maps.locating import DEFAULT_CONFIG, MapContext, locate
from vpr.maps.map_sample import FEWEST, MapSample, search_sample
from vpr.maps.options import FolderRole, LocateConfig
from vpr.maps.place_size import are_one_place
from vpr.maps.results import Located
from vpr.maps.skipped_photos import SkippedPhotos, nothing_to_add, problem_of
from vpr.maps.sources.folders import require_own_walk
from vpr.maps.sources.positions import find_photos
from vpr.maps.store import DESCRIPTORS, MapContent, State, damage_error, read_consistently
from vpr.maps.tracking import Tracker
from vpr.positions.errors import MapError
from vpr.positions.map_frame import Kind, require_size
from vpr.positions.paths import RealPaths
from vpr.retrieval.confidence import Curve
from vpr.retrieval.index import LocalIndex
from vpr.retrieval.rerank import CachedImages
from vpr.retrieval.search import search
from vpr.retrieval.vector_index import VectorIndex
from vpr.run import Run, load

log = logging.getLogger("vpr")


@dataclass(frozen=True, eq=False, repr=False)
class Map:
    """A map of photos with positions.

    photo_map = vpr.Map.open("MAP")
    photo_map.locate("photo.jpg")      # Located: latitude, longitude, radius_m, probability, matches
    """

    folder: Path
    model: Run
    content: MapContent
    finder: CandidateFinder
    added: AddResult | None = None  # the result of adding photos; of a map that `build` or `add` returned

    @classmethod
    def open(cls, folder: str | Path, model: Run | None = None, device: Device = "auto", trust: bool = False) -> Map:
        """Open a map. model: None loads the model that made the map. trust: run the code of others for that model.

        A map that changes meanwhile is read again. Raises MapError if there is no map, or it is damaged or of another
        model; VprError if the run of its model is missing.
        """
        folder = Path(folder)
        model = model or load(State.of(folder).run, device, trust=trust)
        return read_consistently(folder, lambda: cls._read(folder, model))

    @classmethod
    def _read(cls, folder: Path, model: Run) -> Map:
        content = read_map(folder, model)
        path = folder / DESCRIPTORS
        try:
            cache = open_any_type(path, model.spec)
            rows = cache.rows(content.table.described_as)
        except CacheError as error:
            remedy = "remove it if it is damaged, and add the folders again: only missing photos are described"
            raise MapError(f"{path} is missing, damaged or incomplete", thing=path, remedy=remedy) from error
        try:
            entries = VectorIndex(content.global_descriptors, content.state.index, content.index)
        except RuntimeError as error:
            raise damage_error(folder / "index", error) from error
        images = CachedImages(cache, rows, content.adaptation, content.global_descriptors)
        photos = LocalIndex(entries, images, model.describer.device)
        finder = CandidateFinder(model.calibration, photos, content.table.places, content.state.place_m)
        return cls(folder, model, content, finder)

    @classmethod
    def build(
        cls,
        folder: str | Path,
        *sources: str | Path,
        model: Run | None = None,
        crs: str = "",
        patches: PatchType | None = None,
        place_m: float | None = None,
        folders: FolderRole | None = None,
    ) -> Map:
        """Add the photos of folders, files or lists to a map, and open it. A missing map is created.

        crs: reference system of eastings and northings in lists without one. patches, place_m: as `add_photos`.
        folders: ``walk`` if a folder is the frames of a walk in order, ``places`` if the names of folders are those of
        places, None if photos have positions themselves.
        ``added`` of the returned map has the result; photos that are left out are in ``added.left_out``, and the log
        counts them. Raises MapError as `add_photos` and `find_photos`, and if no photo has a position.
        """
        if not sources:
            raise MapError(f"nothing to add to {folder}; pass a folder, a photo or a list of photos")
        model = model or load()
        found = find_photos(tuple(map(Path, sources)), crs, known_positions(Path(folder)), folders)
        if folders == "walk":
            require_own_walk(tuple(map(Path, sources)), [*read_positions(Path(folder))])
        if not found.photos:
            raise nothing_to_add(found.skipped, found.kind)
        added = add_photos(Path(folder), model, found.photos, patches=patches, place_m=place_m)
        added = replace(added, left_out=found.skipped | added.left_out)
        for line in added.left_out.lines():
            log.warning("%s", line)
        return replace(cls.open(folder, model), added=added)

    def __repr__(self) -> str:
        return f"Map({str(self.folder)!r}, {len(self)} photos, model {self.model.name})"

    def __len__(self) -> int:
        return len(self.content.table)

    @property
    def positions(self) -> np.ndarray:
        """The positions of the photos in the fields of the map's kind, (N, 2) or (N, 1).

        They are latitude and longitude in degrees, x and y in local metres, the number of a frame, or the name of a
        place.
        """
        return np.stack(self.content.table.positions, 1)

    @property
    def kind(self) -> Kind:
        """The kind of the positions: ``earth``, ``metres``, ``frames`` or ``names``."""
        return self.content.state.kind

    @property
    def place_m(self) -> float:
        """The size of a place on this map, metres."""
        return self.content.state.place_m

    def place_for(self, config: LocateConfig) -> float:
        """The size of a place to locate by; raises MapError if one is given for a map of named places."""
        require_size(self.kind, config.place or None)
        return config.place or self.place_m

    def add(
        self,
        *sources: str | Path,
        crs: str = "",
        place_m: float | None = None,
        folders: FolderRole | None = None,
    ) -> Map:
        """The map with more photos; arguments and errors as `build`."""
        return self.build(self.folder, *sources, model=self.model, crs=crs, place_m=place_m, folders=folders)

    def remove(self, *names: str | Path) -> Map:
        """The map without the photos of these folders, paths or names; errors as `remove_photos`."""
        remove_photos(self.folder, self.model, [str(name) for name in names])
        return self.open(self.folder, self.model)

    def locate(self, photo: PhotoLike, config: LocateConfig = DEFAULT_CONFIG) -> Located:
        """Where a photo was taken. photo: a path, bytes, a file, pixels (H, W, 3) uint8, or an image of Pillow.

        Raises ImageError for a file that cannot be decoded, VprError for an object that is not a photo.
        """
        return self.locate_all([photo], config)[0]

    def locate_all(
        self,
        photos: Sequence[PhotoLike],
        config: LocateConfig = DEFAULT_CONFIG,
        title: str | None = None,
        by: ForeignDescriptors | None = None,
    ) -> list[Located]:
        """Where several photos were taken. With ``config.sequence`` they are the frames of a drive, in this order.

        title: text of the progress bar; None for no bar. by: descriptors of another model for the map's photos and for
        these, to find the candidates. Errors as `locate`, and VprError if ``by`` lacks a photo.
        """
        located, unreadable = self.locate_readable(photos, config, title, by)
        for problem in unreadable.values():
            raise ImageError(problem, remedy="restore it, or pass another photo")
        return located

    def locate_readable(
        self,
        photos: Sequence[PhotoLike],
        config: LocateConfig = DEFAULT_CONFIG,
        title: str | None = None,
        by: ForeignDescriptors | None = None,
    ) -> tuple[list[Located], dict[str, str]]:
        """As `locate_all`, but files that cannot be decoded are left out; also returns their problems, by name."""
        found, names, unreadable = self.find(photos, config, title, by)
        located = [] if found is None else locate(found, names, self.context(config), config)
        return located, unreadable

    def track(self, config: LocateConfig = DEFAULT_CONFIG) -> Tracker:
        """Follow a drive frame by frame, while it is driven: ``track().add(photo)`` is where that frame was taken."""
        return Tracker(self.find, self.context(config), config)

    def check(
        self,
        *sources: str | Path,
        config: LocateConfig = DEFAULT_CONFIG,
        crs: str = "",
        title: str | None = None,
        folders: FolderRole | None = None,
    ) -> CheckResult:
        """Locate photos with known positions, and compare the answers with these positions.

        sources, crs, folders: as `build`. title: text of the progress bar; None for no bar. Photos of the map itself
        and copies of them are left out. With ``config.sequence`` each folder is a drive. Raises MapError as
        `find_photos`, if no photo has a position, and if all are in the map.
        """
        found = find_photos(tuple(map(Path, sources)), crs, known_positions(self.folder), folders)
        if not found.photos:
            raise nothing_to_add(found.skipped, found.kind)
        real = RealPaths()
        own = {real(key) for key in map(str, self.content.table.keys)}
        paths = [photo.path for photo in found.photos if photo.key not in own]
        located, unreadable = list[Located](), dict[str, str]()
        for part in split_drives(paths) if config.sequence else [paths]:
            part_located, part_unreadable = self.locate_readable(part, check_config(config), title)
            located += part_located
            unreadable |= part_unreadable
        copies = {one.photo for one in located if is_copy(one)}
        if len(copies) == len(paths):
            remedy = "give other photos of the same places"
            raise MapError(f"all {len(found.photos)} photos are in {self.folder} itself", remedy=remedy)
        answers, place_m = [one for one in located if one.photo not in copies], self.place_for(config)
        frame = self.content.table.frame
        result = check_answers(answers, found.photos, self.finder.places, place_m, config.threshold, frame)
        in_map = tuple(photo.key for photo in found.photos if photo.key in own or str(photo.path) in copies)
        return replace(result, in_map=in_map, left_out=found.skipped | SkippedPhotos(unreadable=unreadable))

    def find(
        self,
        photos: Sequence[PhotoLike],
        config: LocateConfig = DEFAULT_CONFIG,
        title: str | None = None,
        by: ForeignDescriptors | None = None,
    ) -> tuple[Candidates | None, list[str], dict[str, str]]:
        """The candidates of the photos that can be decoded, their names, and the problems of the others, by name.

        Arguments as `locate_all`. The candidates are None if no photo can be decoded.
        """
        place_m = self.place_for(config)
        names, parts, unreadable = [_name(photo, number) for number, photo in enumerate(photos)], [], dict[int, str]()
        shortlist = None if by is None or not names else self._shortlist(by, names, config.depth)
        with progress(title=title, unit="photo", total=len(photos)) as bar:
            for start in range(0, len(photos), BATCH):
                batch = photos[start : start + BATCH]
                described, problems = self.model.describe_readable(batch)
                unreadable |= {start + number: problem for number, problem in problems.items()}
                readable = [start + number for number in range(len(batch)) if number not in problems]
                if readable:
                    rows = None if shortlist is None else shortlist[readable]
                    parts.append(self.finder.find(described, config.depth, rows, self.geometry(config)))
                bar.update(len(batch))
        readable_names = [name for number, name in enumerate(names) if number not in unreadable]
        problems_by_name = {names[number]: problem_of(problem) for number, problem in unreadable.items()}
        found = replace(Candidates.join(parts), place_m=place_m) if parts else None
        return found, readable_names, problems_by_name

    def context(self, config: LocateConfig = DEFAULT_CONFIG) -> MapContext:
        """What is needed to locate photos beside their candidates; calls with equal settings share it."""
        own, place_m = self.place_for(config), config.place
        curve = None if self.probability_problem(config) else self._curve(config)
        key = curve, place_m
        if key not in self._contexts:
            is_own = place_m in (0, self.place_m)
            scores = self.content.unknown_scores if is_own else unknown_place_scores(self._sample, place_m)
            self._contexts[key] = MapContext(self.content.table, curve, scores, own, self.model.curves.rerank)
        return self._contexts[key]

    @cached_property
    def _contexts(self) -> dict[tuple[Curve | None, float], MapContext]:
        """By the curve, and by the size of places that is asked for."""
        return {}

    @cached_property
    def _sample(self) -> MapSample | None:
        """A sample of the map's photos, to measure familiarity for another size of places."""
        return search_sample(self.finder)

    def geometry(self, config: LocateConfig = DEFAULT_CONFIG) -> int:
        """The number of first candidates whose order also goes by geometry."""
        return _geometry(self.model, config)

    def _curve(self, config: LocateConfig) -> Curve | None:
        """The curve from separations to probabilities."""
        return _curve(self.model, config)

    def probability_problem(self, config: LocateConfig = DEFAULT_CONFIG) -> str:
        """The reason why probabilities are not available; empty if they are."""
        if self._curve(config) is None:
            case = " of an order by geometry" if self.geometry(config) and self.model.curves.rerank else ""
            return f"{self.model.name} has no calibration{case}"
        # the curve was fitted to photos with many candidates
        if len(self) < FEWEST:
            return f"{self.folder} has fewer than {FEWEST} photos"
        return f"fewer than {FEWEST} photos of the map are compared (--depth)" if config.depth < FEWEST else ""

    def _shortlist(self, by: ForeignDescriptors, photos: Sequence[str], depth: int) -> np.ndarray:
        """The photos of the map (Q, K) with the most similar descriptors of another model."""
        real = RealPaths()
        queries, own = (by.look_up([real(str(path)) for path in paths]) for paths in (photos, self.content.table.keys))
        return search(queries, own, depth)[1]


def has_probabilities(content: MapContent, model: Run) -> bool:
    """Whether photos that are located on a map with default settings have probabilities."""
    if _curve(model, DEFAULT_CONFIG) is None or len(content.table) < FEWEST:
        return False
    return not are_one_place(content.table.places, content.state.place_m)


def _geometry(model: Run, config: LocateConfig) -> int:
    default = model.calibration.default_geometry(model.config.grid**2)
    return default if config.geometry is None else config.geometry


def _curve(model: Run, config: LocateConfig) -> Curve | None:
    return model.curves.geometry if _geometry(model, config) else model.curves.rerank


def _name(photo: PhotoLike, number: int) -> str:
    if isinstance(photo, Image.Image):
        return str(getattr(photo, "filename", None) or f"photo {number}")
    return str(photo) if isinstance(photo, str | Path) else f"photo {number}"
