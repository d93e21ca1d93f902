"""Hard places, mined from the model's own descriptors."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset

from vpr.description.describe import global_descriptors
from vpr.description.images import Images
from vpr.retrieval.search import search

POOL = 20_000  # photos described for one mining
NEAREST = 150  # neighbours kept of each


def nearest_photos(
    model: nn.Module, images: Images, anchors: np.ndarray, device: torch.device, rng: np.random.Generator
) -> np.ndarray:
    """Each of at most `POOL` anchors followed by the other anchors of the pool nearest to it, (M, 1 + k).

    k is `NEAREST`, or one less than the pool when that is smaller.
    """
    pool = np.sort(rng.choice(anchors, min(POOL, len(anchors)), replace=False))
    descriptors = global_descriptors(model, Subset(images, pool.tolist()), device)
    _, rows = search(descriptors, descriptors, NEAREST + 1)
    return pool[_own_first(rows)]


def _own_first(rows: np.ndarray) -> np.ndarray:
    """The rows with the photo itself in front; ties in similarity may have put it elsewhere or left it out."""
    own = np.arange(len(rows))[:, None]
    order = np.argsort(rows != own, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, 1)
    ordered[:, 0] = own[:, 0]
    return ordered
