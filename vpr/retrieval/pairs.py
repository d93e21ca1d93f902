"""Pairs of photo files: described by a model, and matched."""

from dataclasses import dataclass
from pathlib import Path

import torch

from vpr.base.errors import VprError
from vpr.description.describe import describe
from vpr.description.image_files import ImageFiles
from vpr.models.rollout import RolloutModel
from vpr.models.structural import StructuralModel
from vpr.retrieval.matching import Match, match
from vpr.retrieval.settings import RerankConfig


@dataclass(frozen=True, eq=False)
class MatchedPhotos:
    """The similarity of two photos: S_global, and the match that gives S_struct."""

    global_similarity: float
    match: Match

    def score(self, weight: float) -> float:
        """The score of re-ranking: S_global + weight * S_struct."""
        return self.global_similarity + weight * self.match.score


def match_photos(
    model: StructuralModel, photos: tuple[Path, Path], config: RerankConfig, device: torch.device
) -> MatchedPhotos:
    """Describe two image files, and match the first, as the query, with the second.

    Raises VprError for files that are missing or not images, and for rollout marginals if the model has no rollout.
    """
    require_files(photos)
    images = ImageFiles.for_model(Path(), [str(photo) for photo in photos], model)
    described = next(
        describe(RolloutModel(model) if config.marginals == "rollout" else model, images, [[0, 1]], device)
    )
    (first, second), patches, weights = described.globals_, described.patches, described.weights
    assert patches is not None
    given = None if weights is None else (weights[0], weights[1])
    matched = match((patches[0], patches[1]), (first, second), config, given)
    return MatchedPhotos(float(first @ second), matched)


def require_files(photos: tuple[Path, ...]) -> None:
    """Raise VprError for a path that is not a file."""
    for photo in photos:
        if not photo.is_file():
            raise VprError(f"there is no photo {photo}; check the path")
