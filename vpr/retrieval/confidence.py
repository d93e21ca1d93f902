"""Confidence of an answer: the separation of the first candidate from the best one elsewhere, as a probability.

All arrays are (Q, K) in the final order, best first. Scores are -inf if a query has fewer candidates.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

ELSEWHERE_M = 25.0  # metres from the first candidate at which another place begins: the rule of MSLS
LARGEST = 1e6  # number in a curve that is not damaged
LIMIT = 20.0  # limit of separations, because a place without rivals would have an infinite one
BLOCK = 1 << 20  # pairs of candidates that are compared at a time
FEWEST = 10  # minimum number of right and of wrong answers to fit a curve to them alone
PRIOR_SEPARATIONS = np.linspace(0, 3, 7)  # of the pseudo-observations of a prior curve
PRIOR_WEIGHT = 1.0  # answers that each of them counts as
# Weight of the separation by geometry, relative to that by S_struct: the ratio that a logistic regression on a held-out
# city finds (docs/notes/geometry.md).
GEOMETRY_WEIGHT = 0.28


def separation(
    scores: np.ndarray, places: np.ndarray | None, column: int = 0, elsewhere_m: float = ELSEWHERE_M
) -> np.ndarray:
    """A candidate's score minus the best score elsewhere, in standard deviations of all scores of the query, (Q,).

    scores: similarities (Q, K) float, -inf if there is no candidate. places (Q, K, 2 or 3): the candidates' positions
    in metres; without them every other candidate is elsewhere. If no candidate is elsewhere, the lowest score is used.
    column: the candidate, by default the first. elsewhere_m: the distance, in metres, beyond which another place
    begins. The result is clipped to `LIMIT`; it is 0 for a query with fewer than two candidates.
    """
    return _separate(scores, places, np.array([column]), elsewhere_m)[:, 0]


def separations(scores: np.ndarray, places: np.ndarray | None, elsewhere_m: float = ELSEWHERE_M) -> np.ndarray:
    """The `separation` of every candidate, (Q, K)."""
    return _separate(scores, places, np.arange(scores.shape[1]), elsewhere_m)


def answer_separation(
    structural: np.ndarray, geometry: np.ndarray | None, places: np.ndarray | None, elsewhere_m: float = ELSEWHERE_M
) -> np.ndarray:
    """The separation (Q,) of the first candidate by S_struct (Q, K), and by geometry (Q, K) if it is known.

    geometry: `PatchGeometry.score`, -inf for candidates whose geometry is not known. places: as for `separation`.
    """
    own = separation(structural, places, elsewhere_m=elsewhere_m)
    if geometry is None:
        return own
    return own + GEOMETRY_WEIGHT * separation(geometry, places, elsewhere_m=elsewhere_m)


def _separate(scores: np.ndarray, places: np.ndarray | None, columns: np.ndarray, elsewhere_m: float) -> np.ndarray:
    """The separations of the candidates in some columns (C,), (Q, C)."""
    count = scores.shape[1]
    present = np.isfinite(scores)
    lowest = np.where(present, scores, np.inf).min(1, initial=np.inf)
    enough = present.sum(1) > 1
    spread = np.ones(len(scores), scores.dtype)
    spread[enough] = np.maximum(np.nanstd(np.where(present, scores, np.nan)[enough], axis=1), 1e-9)
    result = np.zeros((len(scores), len(columns)))
    step = max(1, BLOCK // max(1, len(columns) * count))
    for part in (slice(start, start + step) for start in range(0, len(scores), step)):
        away = present[part, None] & (np.arange(count) != columns[:, None])  # (b, C, K)
        if places is not None:
            away &= np.linalg.norm(places[part, None] - places[part][:, columns, None], axis=3) > elsewhere_m
        best = np.where(away, scores[part, None], -np.inf).max(2, initial=-np.inf)
        best = np.where(away.any(2), best, lowest[part, None])
        own = np.where(present[part][:, columns], scores[part][:, columns], lowest[part, None])
        with np.errstate(invalid="ignore"):  # infinite for queries without candidates
            result[part] = np.where(enough[part, None], (own - best) / spread[part, None], 0)
    return np.clip(result, -LIMIT, LIMIT)


@dataclass(frozen=True)
class Curve:
    """A logistic curve from separations to the probability that the first answer is right."""

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (abs(self.slope) <= LARGEST and abs(self.intercept) <= LARGEST):  # nor NaN
            raise ValueError(f"a curve of slope {self.slope} and intercept {self.intercept}")

    def __call__(self, separations: np.ndarray) -> np.ndarray:
        """Probabilities, of the same shape as the separations.

        >>> Curve(2.0, 0.0)(np.array([0.0])).tolist()
        [0.5]
        """
        return 1 / (1 + np.exp(-(self.slope * np.asarray(separations, np.float64) + self.intercept)))

    @classmethod
    def fit(cls, separations: np.ndarray, right: np.ndarray, prior: "Curve") -> "Curve":
        """Fit by maximum likelihood to the separations (Q,) of queries, and whether their answers are right (Q,) bool.

        With fewer than `FEWEST` right or wrong answers, pseudo-observations of the prior curve are added: at each of
        `PRIOR_SEPARATIONS` answers of weight `PRIOR_WEIGHT`, right with the prior's probability.
        """
        from sklearn.linear_model import LogisticRegression

        inputs, targets = np.asarray(separations, np.float64), np.asarray(right, bool)
        weights = np.ones(len(inputs))
        if min(targets.sum(), (~targets).sum()) < FEWEST:
            pseudo, count = prior(PRIOR_SEPARATIONS), len(PRIOR_SEPARATIONS)
            inputs = np.concatenate([inputs, PRIOR_SEPARATIONS, PRIOR_SEPARATIONS])
            targets = np.concatenate([targets, np.ones(count, bool), np.zeros(count, bool)])
            weights = np.concatenate([weights, PRIOR_WEIGHT * pseudo, PRIOR_WEIGHT * (1 - pseudo)])
        fitted = LogisticRegression(C=1e3).fit(inputs[:, None], targets, weights)
        return cls(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))


@dataclass(frozen=True)
class Curves:
    """The curves of a run's calibration; None for a stage without one."""

    shortlist: Curve | None = None
    rerank: Curve | None = None
    geometry: Curve | None = None  # after re-ranking with geometry

    @classmethod
    def from_record(cls, recorded: Mapping[str, Mapping[str, float] | None]) -> "Curves":
        """The curves in a metrics.json; the inverse of `record`."""
        records = {name: recorded.get(name) for name in ("shortlist", "rerank", "geometry")}
        return cls(**{name: None if curve is None else Curve(**curve) for name, curve in records.items()})

    def record(self) -> dict[str, dict[str, float] | None]:
        """The curves as a dict for metrics.json."""
        return asdict(self)


DEFAULT_CURVES = Curves(Curve(1.43, -0.83), Curve(2.73, -0.68), Curve(1.89, -0.25))  # of the first built-in weights
