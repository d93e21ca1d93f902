"""The check of a map: known photos are located, and the answers are compared with their true positions.

The place of a *known* photo is on the map: a photo of the map was taken within the size of a place of its true
position. The other photos are *strangers*, which a map should refuse. A match is right if it was taken within the size
of a place of the true position.
"""

from __future__ import annotations

import filecmp
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from vpr.maps.on_map import NO_PROBABILITIES, threshold_text
from vpr.maps.options import LocateConfig
from vpr.maps.results import Located, MapMatch
from vpr.maps.skipped_photos import SkippedPhotos
from vpr.maps.sources.positions import Photo
from vpr.positions.map_frame import EARTH, FRAMES, Kind, MapFrame, Position
from vpr.retrieval.reliability import calibration_error, chance_error, equal_weights

RANKS = (1, 5, 10)  # of recall
THRESHOLDS = tuple(step / 10 for step in range(1, 10))
FAR = 0.9  # the share of known photos whose position error is reported beside the median


@dataclass(frozen=True)
class CheckedPhoto:
    """The answer for a photo, beside the truth; `vpr.maps.pages` shows it. Distances have the unit of the map."""

    located: Located
    truth: Position  # in the fields of the map's kind
    nearest_m: float  # from the true position to the nearest photo of the map
    error_m: float  # from the true position to the answer; NaN without candidates
    match_errors_m: tuple[float, ...]  # from the true position to each match
    is_familiar: bool  # whether it passes the test of familiarity
    place_m: float  # size of a place

    @property
    def is_known(self) -> bool:
        """Whether its place is on the map."""
        return self.nearest_m <= self.place_m

    def is_right(self, rank: int = 1) -> bool:
        """Whether one of the first ``rank`` matches was taken in its place."""
        return any(metres <= self.place_m for metres in self.match_errors_m[:rank])

    def is_accepted(self, threshold: float) -> bool:
        """Whether the photo is reported as on the map with this threshold of the on-map probability."""
        return self.is_familiar and _reaches(self.located, threshold)

    @property
    def is_wrong(self) -> bool:
        """Whether the answer is wrong: a known photo that is refused or elsewhere, or a stranger that is accepted."""
        return self.on_map != self.is_known or (self.on_map and not self.is_right())

    @property
    def photo(self) -> str:
        """Its path."""
        return self.located.photo

    @property
    def on_map(self) -> bool:
        """The decision of the answer."""
        return self.located.on_map

    @property
    def kind(self) -> Kind:
        """The kind of the positions."""
        return self.located.kind

    @property
    def position(self) -> Position:
        """That of the answer."""
        return self.located.position

    @property
    def matches(self) -> tuple[MapMatch, ...]:
        """The matches of the answer."""
        return self.located.matches

    def with_matches(self, count: int) -> CheckedPhoto:
        """A copy with only the first matches."""
        return replace(self, located=self.located.with_matches(count))

    def answer_text(self) -> str:
        """The answer without the name of the photo."""
        return self.located.answer_text()

    def summary(self) -> str:
        """The answer and the truth in one line."""
        frame = FRAMES[self.kind]
        truth = frame.text(self.truth)
        if not self.is_known:
            away = f", {frame.distance_text(self.nearest_m)} from the map" if frame.has_size else ""
            return f"{self.located.summary()}. A stranger: taken at {truth}{away}"
        verdict = "right" if self.is_right() else "wrong"
        has_distance = frame.has_size and not math.isnan(self.error_m)
        distance = "" if not has_distance else f", {frame.distance_text(self.error_m)} from this position"
        return f"{self.located.summary()}. Known: taken at {truth}{distance}; the first match is {verdict}"

    def as_json(self) -> dict[str, Any]:
        """Its content in ``--json``."""
        frame = FRAMES[self.kind]
        truth = {f"true_{name}": value for name, value in zip(frame.fields, self.truth)}
        distances = {
            f"nearest_{frame.suffix}": self.nearest_m,
            f"error_{frame.suffix}": _number(self.error_m),
            f"match_errors_{frame.suffix}": list(self.match_errors_m),
        }
        verdict = {"is_known": self.is_known, "is_wrong": self.is_wrong}
        return self.located.as_json() | truth | verdict | (distances if frame.has_size else {})


@dataclass(frozen=True)
class Decisions:
    """The decisions with one threshold of the on-map probability."""

    threshold: float
    strangers_accepted: int
    known_refused: int
    known_elsewhere: int  # known photos that are accepted although their first match is wrong


@dataclass(frozen=True)
class CheckResult:
    """The answers of a map to photos whose positions are known, and how good they are."""

    photos: tuple[CheckedPhoto, ...]
    place_m: float  # size of a place
    threshold: float  # of the on-map probability, by which the answers are decided
    in_map: tuple[str, ...] = ()  # photos of the map itself and copies of them, which are left out
    left_out: SkippedPhotos = SkippedPhotos()
    kind: Kind = "earth"  # of the positions

    @cached_property
    def known(self) -> list[CheckedPhoto]:
        """The photos whose place is on the map."""
        return [one for one in self.photos if one.is_known]

    @cached_property
    def strangers(self) -> list[CheckedPhoto]:
        """The photos whose place is not on the map."""
        return [one for one in self.photos if not one.is_known]

    @property
    def wrong(self) -> list[CheckedPhoto]:
        """The photos with a wrong answer."""
        return [one for one in self.photos if one.is_wrong]

    def recall(self, rank: int = 1) -> float:
        """The share of known photos with a right match among the first ``rank``, in [0, 1]; NaN without any."""
        return float(np.mean([one.is_right(rank) for one in self.known])) if self.known else math.nan

    def position_error_m(self, share: float = 0.5) -> float:
        """The distance from the truth within which this share of the known photos is answered; NaN without any."""
        errors = [math.inf if math.isnan(one.error_m) else one.error_m for one in self.known]
        return float(np.quantile(errors, share, method="inverted_cdf")) if errors else math.nan

    @property
    def calibration_error(self) -> float:
        """The expected calibration error of known photos, as `calibration_error`; NaN without probabilities."""
        probabilities, right = self._calibration
        return calibration_error(probabilities, right) if len(right) else math.nan

    @property
    def chance_error(self) -> float:
        """The calibration error that correct probabilities would have for so few photos; NaN without probabilities."""
        probabilities, _ = self._calibration
        return chance_error(probabilities) if len(probabilities) else math.nan

    @cached_property
    def _calibration(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of known photos (P,), and whether their first matches are right (P,) bool."""
        pairs = [(one.located.probability, one.is_right()) for one in self.known]
        some = [(probability, right) for probability, right in pairs if probability is not None]
        return np.array([probability for probability, _ in some]), np.array([right for _, right in some], bool)

    @property
    def on_map_error(self) -> float:
        """The expected calibration error of the on-map probabilities, if known photos and strangers count the same.

        NaN without known photos or without strangers that have one.
        """
        told = [one for one in self.photos if one.located.on_map_probability is not None]
        known = np.array([one.is_known for one in told], bool)
        if len({*known.tolist()}) < 2:
            return math.nan
        probabilities = np.array([one.located.on_map_probability for one in told], float)
        return calibration_error(probabilities, known, equal_weights(known))

    def decide(self, threshold: float) -> Decisions:
        """The decisions with another threshold of the on-map probability; that of familiarity stays."""
        accepted = [one for one in self.known if one.is_accepted(threshold)]
        return Decisions(
            threshold,
            sum(one.is_accepted(threshold) for one in self.strangers),
            len(self.known) - len(accepted),
            sum(not one.is_right() for one in accepted),
        )

    @property
    def decisions(self) -> list[Decisions]:
        """The decisions with `THRESHOLDS` and with the own threshold, ascending."""
        return [self.decide(threshold) for threshold in sorted({*THRESHOLDS, self.threshold})]

    def as_json(self) -> dict[str, Any]:
        """The content of ``--json``; figures that are not available are None."""
        results: dict[str, float] = {f"recall@{rank}": self.recall(rank) for rank in RANKS}
        size: dict[str, float] = {}
        if FRAMES[self.kind].has_size:
            suffix = FRAMES[self.kind].suffix
            errors = self.position_error_m(), self.position_error_m(FAR)
            results |= dict(zip((f"median_error_{suffix}", f"p90_error_{suffix}"), errors))
            size = {f"place_{suffix}": self.place_m}
        results |= {"ece": self.calibration_error, "ece_by_chance": self.chance_error}
        results["on_map_ece"] = self.on_map_error
        return {
            "kind": self.kind,
            **size,
            "threshold": self.threshold,
            "counts": {"known": len(self.known), "strangers": len(self.strangers), "in_map": len(self.in_map)},
            "results": {name: _number(value) for name, value in results.items()},
            "thresholds": [vars(one) for one in self.decisions],
            "photos": [one.as_json() for one in self.photos],
            "unreadable": [{"photo": photo, "error": error} for photo, error in self.left_out.unreadable.items()],
        }

    def counts(self) -> str:
        """The numbers of photos in one line."""
        frame = FRAMES[self.kind]
        within = f"a photo of the map is within {frame.size_text(self.place_m)}"
        of_map = within if frame.has_size else "the map has their place"
        return (
            f"{len(self.photos)} photos: {len(self.known)} known ({of_map}), "
            f"{len(self.strangers)} strangers, {len(self.wrong)} wrong answers"
        )

    def lines(self) -> list[str]:
        """The figures as text, with a table of thresholds."""
        lines = [self.counts()]
        if self.known:
            recalls = ", ".join(f"recall@{rank} {100 * self.recall(rank):.1f} %" for rank in RANKS)
            lines.append(f"known: {recalls}")
            if FRAMES[self.kind].has_size:
                middle, far = (FRAMES[self.kind].distance_text(self.position_error_m(share)) for share in (0.5, FAR))
                lines.append(f"position error: median {middle}, {100 * FAR:.0f} % within {far}")
            lines.append(self._calibration_line())
        if math.isfinite(self.on_map_error):
            lines.append(
                f"on-map probability: calibration error {100 * self.on_map_error:.1f} %, if known photos and strangers "
                "are as frequent"
            )
        lines.append(f"--threshold {self.threshold:.3g}: {self._threshold_text()}")
        lines.append(f"{'threshold':>9}  {'strangers accepted':>20}  {'known refused':>18}  {'known elsewhere':>18}")
        for one in self.decisions:
            cells = (
                f"{_share(one.strangers_accepted, len(self.strangers)):>20}",
                f"{_share(one.known_refused, len(self.known)):>18}",
                f"{_share(one.known_elsewhere, len(self.known)):>18}",
            )
            lines.append(
                "  ".join((f"{one.threshold:>9.3g}", *cells))
                + ("  (--threshold)" if one.threshold == self.threshold else "")
            )
        return lines

    def _threshold_text(self) -> str:
        """What the threshold does."""
        if not self.photos or any(one.located.on_map_probability is not None for one in self.photos):
            return threshold_text(self.threshold)
        refused = any(not one.is_familiar for one in self.photos)
        return (
            f"{NO_PROBABILITIES}, so that {'only --familiarity refuses photos' if refused else 'no photo is refused'}"
        )

    def _calibration_line(self) -> str:
        count = len(self._calibration[0])
        if not count:
            return "probability: none"
        by_chance = f"{100 * self.chance_error:.1f} % would be chance"
        return f"probability: calibration error {100 * self.calibration_error:.1f} % of {count} photos ({by_chance})"


def _reaches(one: Located, threshold: float) -> bool:
    """Whether the probability that a photo is on the map reaches a threshold; True if it is not known."""
    return one.on_map_probability is None or one.on_map_probability >= threshold


def is_copy(one: Located) -> bool:
    """Whether the file of a photo has the same bytes as that of one of its matches."""
    return any(_have_same_bytes(one.photo, match.photo) for match in one.matches)


def _have_same_bytes(path: str, other: str) -> bool:
    try:
        return os.path.getsize(path) == os.path.getsize(other) and filecmp.cmp(path, other, shallow=False)
    except OSError:  # photos of a map may be gone
        return False


def check_config(config: LocateConfig) -> LocateConfig:
    """The settings to locate photos for `check_answers`: matches enough for recall, and no test by ``--threshold``."""
    return replace(config, top=max(config.top, *RANKS), threshold=0.0)


def check_answers(
    located: Sequence[Located],
    photos: Sequence[Photo],
    places: np.ndarray,
    place_m: float,
    threshold: float,
    frame: MapFrame = EARTH,
) -> CheckResult:
    """Compare answers with the true positions of the photos.

    located: the answers with `check_config`; photos whose file could not be read may be missing. photos: as given, by
    whose path an answer finds its own. places: of the map's photos, (N, 3). place_m: size of a place, in the unit of
    the map. threshold: of the on-map probability, by which the answers are decided. frame: of the map.
    """
    from scipy.spatial import cKDTree

    of_path = {str(photo.path): photo for photo in photos}
    own = [of_path[one.photo] for one in located]
    truth = photo_places(own, frame)
    nearest = cKDTree(places).query(truth)[0] if len(own) else np.zeros(0)
    checked = []
    for one, photo, true, distance in zip(located, own, truth, nearest):
        at = [one.position, *(match.position for match in one.matches)] if one.matches else []
        error, *match_errors = np.linalg.norm(frame.places(frame.columns(at)) - true, axis=1).tolist() or [math.nan]
        decided = replace(one, on_map=one.on_map and _reaches(one, threshold))
        checked.append(CheckedPhoto(
            decided, photo.position, float(distance), error, tuple(match_errors), one.on_map, place_m,
        ))  # fmt: skip
    return CheckResult(tuple(checked), place_m, threshold, kind=frame.kind)


def photo_places(photos: Sequence[Photo], frame: MapFrame = EARTH) -> np.ndarray:
    """The places of photos, (N, 3)."""
    return frame.places(frame.columns([photo.position for photo in photos]))


def _share(count: int, of: int) -> str:
    return f"{count} of {of}" + (f" ({100 * count / of:.1f} %)" if of else "")


def _number(value: float) -> float | None:
    """The value, or None if it is not finite, which JSON does not have."""
    return value if math.isfinite(value) else None
