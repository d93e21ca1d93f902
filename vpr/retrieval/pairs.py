"""Pairs of photo files: described by a model, and matched."""

from pathlib import Path

import torch

from vpr.description.describe import describe
from vpr.description.image_files import ImageFiles
from vpr.description.model_spec import PatchModel
from vpr.models.rollout import RolloutModel
from vpr.retrieval.matching import MatchedPhotos, match_described, require_files
from vpr.retrieval.settings import RerankConfig


def match_photos(
    model: PatchModel, photos: tuple[Path, Path], config: RerankConfig, device: torch.device
) -> MatchedPhotos:
    """Describe two image files, and match the first, as the query, with the second.

    Raises VprError for files that are missing or not images, and for rollout marginals if the model has no rollout.
    """
    require_files(photos)
    images = ImageFiles.for_model(Path(), [str(photo) for photo in photos], model)
    described = next(
        describe(RolloutModel(model) if config.marginals == "rollout" else model, images, [[0, 1]], device)
    )
    return match_described(described, config)
