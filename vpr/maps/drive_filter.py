"""The filter of a drive: forward for a drive under way, forward-backward for a whole one; see `vpr.maps.drives`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vpr.maps.drives import MANNERS, Evidence, MapPlaces

NOT_ON_MAP, LEAVES, COMES_BACK = 0.1, 0.02, 0.05  # of the first frame, and between two frames
TOGETHER = 0.3  # share of the log odds of being on the map that remains, as the frames of a drive err together
SWITCH = 0.02  # probability of another manner of moving
AROUND = 2  # frames before and after a frame whose best candidates are states of it, too
HEAVY = 20  # the most likely states of a frame that are states of the next one, too
PLATEAU = 0.98  # share of the highest probability that states in the middle of the likeliest place have
LIKELY = 0.5  # minimum probability of a frame of a stretch
FAR_PLACES = 4.0  # a drive that moves on as far, in places, is not led by chance alikeness


@dataclass(frozen=True, eq=False)
class Belief:
    """Probabilities of the states of one frame under each manner of moving; all together sum to 1."""

    rows: np.ndarray  # (U,) photos that are states of their own
    mass: np.ndarray  # (M, U)
    elsewhere: np.ndarray  # (M,) at one of the other photos
    off_map: np.ndarray  # (M,)

    @property
    def heavy(self) -> np.ndarray:
        """The most likely photos, (`HEAVY`,) or fewer."""
        return self.rows[np.argsort(-self.mass.sum(0), kind="stable")[:HEAVY]]

    def normalised(self) -> "Belief":
        """The same, with a sum of 1."""
        total = self.mass.sum() + self.elsewhere.sum() + self.off_map.sum()
        return Belief(self.rows, self.mass / total, self.elsewhere / total, self.off_map / total)


@dataclass(frozen=True, eq=False)
class FramePlace:
    """The likeliest place of a frame."""

    rows: np.ndarray  # (U,) photos that the frame may be at
    mass: np.ndarray  # (U,) their probabilities
    best: int  # the photo of the map in the middle of the likeliest place
    probability: float  # that the frame is within a place of it
    off_map: float  # probability that it is not on the map
    reach_m: float  # how far the frames are apart, at most; 0 if they have no order
    second_on_map: float | None = None  # probability that the frame is on the map, by the second chain; None: not asked

    @property
    def if_on_map(self) -> float:
        """The probability of the place if the frame is on the map."""
        return min(1.0, self.probability / max(1 - self.off_map, 1e-12))

    @property
    def on_map(self) -> float:
        """The probability that the frame is on the map, made less extreme by `TOGETHER`."""
        on, off = max(1 - self.off_map, 1e-12), max(self.off_map, 1e-12)
        return float(on**TOGETHER / (on**TOGETHER + off**TOGETHER))

    def mass_of(self, rows: np.ndarray) -> np.ndarray:
        """The probabilities of photos (K,); 0 for those that the frame is not compared with."""
        known = dict(zip(self.rows.tolist(), self.mass.tolist()))
        return np.array([known.get(row, 0.0) for row in rows.tolist()])


_JUMP, _RETURNS, _SILENT = (np.array([getattr(one, name) for one in MANNERS]) for name in ("jump", "returns", "silent"))


@dataclass(frozen=True, eq=False)
class _Fits:
    """The evidence of a frame at its states, by manner."""

    rows: np.ndarray  # (U,)
    states: np.ndarray  # (M, U)
    elsewhere: np.ndarray  # (M,) of each other photo
    others: int  # number of other photos
    off_map: float

    @classmethod
    def of(cls, evidence: Evidence, rows: np.ndarray, photos: int, is_first: bool) -> "_Fits":
        """The fits of the states (U,) of a frame. photos: their number in the map.

        The first frame of a drive repeats no errors of frames before it, so it is not silent.
        """
        silent = np.zeros(len(MANNERS)) if is_first else _SILENT
        states = (1 - silent)[:, None] * evidence.at(rows)[None] + silent[:, None]
        elsewhere = (1 - silent) * evidence.fit_elsewhere + silent
        return cls(rows, states, elsewhere, photos - len(rows), evidence.fit_off_map)


def begin(photos: MapPlaces, fits: _Fits) -> Belief:
    """The belief after the first frame."""
    each = (1 - NOT_ON_MAP) / len(photos)
    off_map = np.full(len(MANNERS), NOT_ON_MAP * fits.off_map)
    return Belief(fits.rows, each * fits.states, each * fits.others * fits.elsewhere, off_map).normalised()


def advance(photos: MapPlaces, before: Belief, fits: _Fits) -> Belief:
    """The belief after the next frame."""
    on_map, stays = before.mass.sum(1), 1 - LEAVES
    moved = np.einsum("mu,muv->mv", before.mass, photos.moves(before.rows, fits.rows))
    to_others = np.maximum(on_map * (1 - _JUMP) - moved.sum(1), 0)
    anywhere = stays * (on_map * _JUMP + before.elsewhere * _RETURNS) + before.off_map * COMES_BACK
    each = anywhere / len(photos)
    mass = _switch(stays * moved + each[:, None]) * fits.states
    elsewhere = stays * (to_others + before.elsewhere * (1 - _RETURNS)) + each * fits.others
    off_map = (on_map + before.elsewhere) * LEAVES + before.off_map * (1 - COMES_BACK)
    return Belief(fits.rows, mass, _switch(elsewhere) * fits.elsewhere, _switch(off_map) * fits.off_map).normalised()


def _switch(values: np.ndarray) -> np.ndarray:
    """Values by manner (M, ...) after a change of manner, with probability `SWITCH` to any of them."""
    return np.asarray((1 - SWITCH) * values + SWITCH * values.mean(0))


@dataclass(frozen=True, eq=False)
class _Later:
    """How well later frames fit, seen from the states of a frame, by manner; up to one factor for all."""

    states: np.ndarray  # (M, U)
    elsewhere: np.ndarray  # (M,)
    off_map: np.ndarray  # (M,)


def _look_back(photos: MapPlaces, rows: np.ndarray, fits: _Fits, later: _Later) -> _Later:
    """How well the frames from the next one on fit, seen from the states (U,) of a frame. fits, later: of the next."""
    stays = 1 - LEAVES
    ahead, other = _switch(fits.states * later.states), _switch(fits.elsewhere * later.elsewhere)
    off_map = _switch(fits.off_map * later.off_map)
    moves = photos.moves(rows, fits.rows)
    to_others = np.maximum((1 - _JUMP)[:, None] - moves.sum(2), 0)
    anywhere = (ahead.sum(1) + fits.others * other) / len(photos)
    states = np.einsum("muv,mv->mu", moves, ahead) + to_others * other[:, None] + (_JUMP * anywhere)[:, None]
    states = stays * states + LEAVES * off_map[:, None]
    elsewhere = stays * (_RETURNS * anywhere + (1 - _RETURNS) * other) + LEAVES * off_map
    from_off_map = COMES_BACK * anywhere + (1 - COMES_BACK) * off_map
    highest = max(float(values.max(initial=0)) for values in (states, elsewhere, from_off_map))
    return _Later(states / highest, elsewhere / highest, from_off_map / highest)


def _for_second(evidence: Evidence, is_first: bool) -> Evidence:
    """The evidence of a frame for the chain that tells whether it is on the map; there, both are as likely at first."""
    share = (1 - NOT_ON_MAP) / NOT_ON_MAP if is_first else 1.0
    return replace(evidence, fit_off_map=share * evidence.fit_unknown)


def smooth_both(photos: MapPlaces, evidence: Sequence[Evidence]) -> list[FramePlace]:
    """As `smooth`, and whether each frame is on the map."""
    second = smooth(photos, [_for_second(one, not frame) for frame, one in enumerate(evidence)])
    return [replace(at, second_on_map=other.on_map) for at, other in zip(smooth(photos, evidence), second)]


class LiveDrive:
    """As `smooth_both`, frame by frame."""

    def __init__(self, photos: MapPlaces) -> None:
        self._filter, self._second, self._is_first = DriveFilter(photos), DriveFilter(photos), True

    def add(self, evidence: Evidence) -> FramePlace:
        """The likeliest place of the next frame, and whether it is on the map, by the frames so far."""
        second = self._second.add(_for_second(evidence, self._is_first)).on_map
        self._is_first = False
        return replace(self._filter.add(evidence), second_on_map=second)


class DriveFilter:
    """Follows a drive frame by frame: `add` takes the next frame's evidence and answers by the frames so far."""

    def __init__(self, photos: MapPlaces) -> None:
        self.photos = photos
        self._belief: Belief | None = None
        self._recent: list[Evidence] = []

    def add(self, evidence: Evidence) -> FramePlace:
        """The likeliest place of the next frame."""
        before = self._belief
        around = [one.best for one in self._recent] + ([] if before is None else [before.heavy])
        fits = _Fits.of(evidence, _states(evidence, around), len(self.photos), before is None)
        self._belief = begin(self.photos, fits) if before is None else advance(self.photos, before, fits)
        self._recent = [*self._recent[1 - AROUND :], evidence]
        return _place(self.photos, self._belief)


def smooth(photos: MapPlaces, evidence: Sequence[Evidence]) -> list[FramePlace]:
    """The likeliest place of each frame of a drive, by all its frames: forward-backward."""
    fits, beliefs = list[_Fits](), list[Belief]()
    for frame, one in enumerate(evidence):
        near = [*evidence[max(0, frame - AROUND) : frame], *evidence[frame + 1 : frame + 1 + AROUND]]
        around = [other.best for other in near] + [belief.heavy for belief in beliefs[-1:]]
        fits.append(_Fits.of(one, _states(one, around), len(photos), not frame))
        beliefs.append(advance(photos, beliefs[-1], fits[-1]) if beliefs else begin(photos, fits[-1]))
    later, result = _Later(np.ones_like(beliefs[-1].mass), *np.ones((2, len(MANNERS)))), list[FramePlace]()
    for frame in reversed(range(len(evidence))):
        belief = beliefs[frame]
        masses = belief.mass * later.states, belief.elsewhere * later.elsewhere, belief.off_map * later.off_map
        result.append(_place(photos, Belief(belief.rows, *masses).normalised()))
        if frame:
            later = _look_back(photos, beliefs[frame - 1].rows, fits[frame], later)
    return result[::-1]


def _states(evidence: Evidence, around: Sequence[np.ndarray]) -> np.ndarray:
    """The photos that are states of a frame, ascending: its candidates, and the best ones of the frames around."""
    return np.unique(np.concatenate([evidence.rows, *around]).astype(np.int64))


def _place(photos: MapPlaces, belief: Belief) -> FramePlace:
    """The likeliest place by the probabilities of all states."""
    rows, mass, off_map = belief.rows, belief.mass.sum(0), float(belief.off_map.sum())
    manner = int((belief.mass.sum(1) + belief.elsewhere + belief.off_map).argmax())
    reach_m = MANNERS[manner].reach * photos.place_m
    if not len(rows):
        return FramePlace(rows, mass, -1, 0.0, off_map, reach_m)
    places = photos.places[rows]
    near = np.linalg.norm(places[:, None] - places[None], axis=2) <= photos.place_m
    of_place = near @ mass
    best = int(np.where(of_place >= PLATEAU * of_place.max(), mass, -1).argmax())
    return FramePlace(rows, mass, int(rows[best]), float(min(of_place[best], 1.0)), off_map, reach_m)


@dataclass(frozen=True)
class Stretch:
    """A part of a drive without a jump, along which the frames are likely somewhere; up to a frame, or all of it."""

    number: int  # of the stretch in its drive
    is_far: bool  # whether it moves on by more than `FAR_PLACES` places
    familiarities: int  # number of frames with a familiarity
    familiarity: float | None  # their mean; None if there are none

    def is_familiar(self, minimum: float) -> bool:
        """Whether the stretch is not of an unknown place. minimum: of the familiarity of a single photo.

        A mean varies less than a single familiarity, so it must be up to twice as high, but less than 1. A stretch that
        moves on far passes: by chance, streets are not alike for so long.
        """
        if self.is_far or self.familiarity is None:
            return True
        return self.familiarity >= min(minimum * (2 - 1 / self.familiarities), (1 + minimum) / 2)


class Progress:
    """The stretches of a drive, frame by frame."""

    def __init__(self, photos: MapPlaces) -> None:
        self.photos = photos
        self._number, self._is_far = 0, False
        self._first: np.ndarray | None = None  # (3,) where the stretch began
        self._last: np.ndarray | None = None
        self._sum, self._count = 0.0, 0  # of the familiarities of the stretch

    def add(self, at: FramePlace, familiarity: float | None) -> Stretch:
        """The stretch of the next frame, up to it."""
        here = self.photos.places[at.best] if at.probability >= LIKELY else None
        if here is None or self._last is None or np.linalg.norm(here - self._last) > at.reach_m:
            self._number, self._first, self._is_far = self._number + 1, here, False
            self._sum, self._count = 0.0, 0
        elif np.linalg.norm(here - self._first) > FAR_PLACES * self.photos.place_m:
            self._is_far = True
        self._last = here
        if familiarity is not None:
            self._sum, self._count = self._sum + familiarity, self._count + 1
        return Stretch(self._number, self._is_far, self._count, self._sum / self._count if self._count else None)


def follow(photos: MapPlaces, track: Sequence[FramePlace], familiarities: Sequence[float | None]) -> list[Stretch]:
    """The whole stretch of each frame of a drive."""
    progress = Progress(photos)
    stretches = [progress.add(at, familiarity) for at, familiarity in zip(track, familiarities)]
    whole = {stretch.number: stretch for stretch in stretches}  # the last of each number
    return [whole[stretch.number] for stretch in stretches]
