"""A map in Python: made of photos, opened, and asked where photos were taken."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vpr.base.machine import Device
from vpr.base.progress import progress
from vpr.cache import CacheError, DescriptorCache
from vpr.description.describe import BATCH
from vpr.description.foreign import ForeignDescriptors
from vpr.description.images import ImageError
from vpr.maps.building import Added, add_photos, known_positions, read_map, remove_photos
from vpr.maps.candidates import CandidateFinder, Candidates
from vpr.maps.errors import MapError
from vpr.maps.familiarity import FEWEST
from vpr.maps.geodesy import places_of
from vpr.maps.left_out import nothing_to_add, reason
from vpr.maps.locating import USUAL, MapContext, locate
from vpr.maps.options import LocateConfig
from vpr.maps.paths import RealPaths
from vpr.maps.results import Located
from vpr.maps.sources.positions import find_photos
from vpr.maps.store import DESCRIPTORS, Content, State, damaged, read_unchanged
from vpr.retrieval.index import LocalIndex
from vpr.retrieval.rerank import CachedImages
from vpr.retrieval.search import search
from vpr.retrieval.vector_index import VectorIndex
from vpr.run import PhotoLike, Run, load

log = logging.getLogger("vpr")


@dataclass(frozen=True, eq=False, repr=False)
class Map:
    """A map of photos with positions.

    photo_map = vpr.Map.open("MAP")
    photo_map.locate("photo.jpg")      # Located: latitude, longitude, radius_m, probability, matches
    """

    folder: Path
    model: Run
    content: Content
    finder: CandidateFinder
    added: Added | None = None  # what adding photos did, of a map that `build` or `add` returned

    @classmethod
    def open(cls, folder: str | Path, model: Run | None = None, device: Device = "auto") -> Map:
        """Open a map; without a model, with the one that made it.

        A map that is changed meanwhile is read anew. Raises MapError where there is no map, or it is damaged or of
        another model; VprError where its model's run is not there.
        """
        folder = Path(folder)
        model = model or load(State.of(folder).run, device)
        return read_unchanged(folder, lambda: cls._opened(folder, model))

    @classmethod
    def _opened(cls, folder: Path, model: Run) -> Map:
        content = read_map(folder, model)
        path = folder / DESCRIPTORS
        try:
            cache = DescriptorCache(path, model.spec)
            rows = cache.rows(content.table.described_as)
        except CacheError as error:
            said = "add its folders again, which describes what is missing"
            raise MapError(
                f"{path} is missing, damaged or incomplete; remove it where it is damaged, and {said}"
            ) from error
        try:
            entries = VectorIndex(content.globals_, content.state.index, content.index)
        except RuntimeError as error:
            raise damaged(folder / "index", error) from error
        places = places_of(content.table.latitude, content.table.longitude)
        images = CachedImages(cache, rows, content.adaptation, content.globals_)
        finder = CandidateFinder(model.calibration, LocalIndex(entries, images, model.device), places)
        return cls(folder, model, content, finder)

    @classmethod
    def build(cls, folder: str | Path, *sources: str | Path, model: Run | None = None, crs: str = "") -> Map:
        """Add photos of folders, files or lists to a map, which is made when it is missing, and open it.

        crs: of eastings and northings that say none. What it did is the map's ``added``; photos that are left out are
        in ``added.left_out``, and the log counts them. Raises MapError as `add_photos` and `find_photos`, and where no
        photo has a position.
        """
        if not sources:
            raise MapError(f"nothing to add to {folder}; give a folder, a photo or a list of photos")
        model = model or load()
        found = find_photos(tuple(map(Path, sources)), crs, known_positions(Path(folder), model.spec.patches))
        if not found.photos:
            raise nothing_to_add(found.left_out)
        added = add_photos(Path(folder), model, found.photos)
        added = replace(added, left_out=found.left_out | added.left_out)
        for line in added.left_out.lines():
            log.warning("%s", line)
        return replace(cls.open(folder, model), added=added)

    def __repr__(self) -> str:
        return f"Map({str(self.folder)!r}, {len(self)} photos, model {self.model.name})"

    def __len__(self) -> int:
        return len(self.content.table)

    @property
    def positions(self) -> np.ndarray:
        """Latitude and longitude of its photos, (N, 2) degrees."""
        return np.stack([self.content.table.latitude, self.content.table.longitude], 1)

    def add(self, *sources: str | Path, crs: str = "") -> Map:
        """The map with more photos; errors as `build`."""
        return self.build(self.folder, *sources, model=self.model, crs=crs)

    def remove(self, *names: str | Path) -> Map:
        """The map without the photos of these folders, paths or names; errors as `remove_photos`."""
        remove_photos(self.folder, self.model, [str(name) for name in names])
        return self.open(self.folder, self.model)

    def locate(self, photo: PhotoLike, config: LocateConfig = USUAL) -> Located:
        """Where a photo was taken: a path, pixels (H, W, 3) uint8, or an image of Pillow.

        Raises ImageError for a file that cannot be decoded, MapError for what is no photo.
        """
        return self.locate_all([photo], config)[0]

    def locate_all(
        self,
        photos: Sequence[PhotoLike],
        config: LocateConfig = USUAL,
        title: str | None = None,
        by: ForeignDescriptors | None = None,
    ) -> list[Located]:
        """Where several photos were taken; with ``config.sequence`` they are the frames of a drive in this order.

        title: the progress bar's text; no bar without one. by: another model's descriptors of the map's photos and of
        these, which find the candidates. Errors as `locate`, and VprError where ``by`` lacks a photo.
        """
        located, unreadable = self.locate_readable(photos, config, title, by)
        for why in unreadable.values():
            raise ImageError(f"{why}; restore it, or give another photo")
        return located

    def locate_readable(
        self,
        photos: Sequence[PhotoLike],
        config: LocateConfig = USUAL,
        title: str | None = None,
        by: ForeignDescriptors | None = None,
    ) -> tuple[list[Located], dict[str, str]]:
        """As `locate_all`, without the files that cannot be decoded, of which it says what is wrong, by name."""
        names, parts, unreadable = [_name(photo, number) for number, photo in enumerate(photos)], [], dict[int, str]()
        shortlist = None if by is None or not names else self._shortlist(by, names, config.depth)
        with progress(title=title, unit="photo", total=len(photos)) as bar:
            for start in range(0, len(photos), BATCH):
                batch = photos[start : start + BATCH]
                described, wrong = self.model.describe_readable(batch)
                unreadable |= {start + number: why for number, why in wrong.items()}
                kept = [start + number for number in range(len(batch)) if number not in wrong]
                if kept:
                    rows = None if shortlist is None else shortlist[kept]
                    parts.append(self.finder.find(described, config.depth, rows))
                bar.update(len(batch))
        read = [name for number, name in enumerate(names) if number not in unreadable]
        known = MapContext(
            self.content.table, None if self.untold(config) else self.model.curves.rerank, self.content.unknown_scores
        )
        located = locate(Candidates.joined(parts), read, known, config) if parts else []
        return located, {names[number]: reason(why) for number, why in unreadable.items()}

    def untold(self, config: LocateConfig = USUAL) -> str:
        """Why no probabilities are told; empty where they are."""
        if self.model.curves.rerank is None:
            return f"{self.model.name} has no calibration"
        # the curve was fitted where a first match has many candidates to stand out from
        if len(self) < FEWEST:
            return f"{self.folder} has fewer than {FEWEST} photos"
        return f"fewer than {FEWEST} photos of the map are compared (--depth)" if config.depth < FEWEST else ""

    def _shortlist(self, by: ForeignDescriptors, photos: Sequence[str], depth: int) -> np.ndarray:
        """The rows of the map (Q, K) that another model's descriptors find for photos."""
        real = RealPaths()
        queries, own = (by.of([real(str(path)) for path in paths]) for paths in (photos, self.content.table.keys))
        return search(queries, own, depth)[1]


def _name(photo: PhotoLike, number: int) -> str:
    if isinstance(photo, Image.Image):
        return str(getattr(photo, "filename", None) or f"photo {number}")
    return str(photo) if isinstance(photo, str | Path) else f"photo {number}"
