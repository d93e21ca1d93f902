"""A sample of a map's photos, searched for in the map itself: what the map says of itself without labels."""

from dataclasses import dataclass

import numpy as np

from vpr.maps.candidates import CandidateFinder, Candidates

SAMPLE, FEWEST = 200, 20  # maximum and minimum number of map photos to search for
DEPTH = 100


@dataclass(frozen=True, eq=False)
class MapSample:
    """S photos of a map, and what a search for them finds in it."""

    photos: np.ndarray  # (S,) rows of the map
    found: Candidates  # of these photos; each finds itself, too
    places: np.ndarray  # (N, 3) of all photos of the map, metres

    @property
    def distances_m(self) -> np.ndarray:
        """The distance of each photo to its candidates, (S, K); NaN for padding."""
        return np.asarray(np.linalg.norm(self.found.places - self.places[self.photos][:, None], axis=2))


def search_sample(finder: CandidateFinder) -> MapSample | None:
    """Search for up to `SAMPLE` photos of a map; None if it has fewer than `FEWEST`."""
    photos = np.unique(np.linspace(0, len(finder.photos.images) - 1, SAMPLE).astype(int))
    if len(photos) < FEWEST:
        return None
    return MapSample(photos, finder.find_adapted(finder.read(photos), DEPTH), finder.places)
