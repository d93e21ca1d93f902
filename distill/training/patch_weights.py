"""Learning how much each patch of an image counts, on the descriptors of a finished model."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch

from vpr.base.progress import progress
from vpr.description.batches import BATCH
from vpr.description.describe import describe
from vpr.description.image_files import Images
from vpr.distill.losses.structural import positive_cross_entropy
from vpr.distill.sampling.places import Places
from vpr.models.patch_weights import PatchWeights
from vpr.models.structural import StructuralModel
from vpr.retrieval.rerank import marginal_guides
from vpr.transport import marginal_weights, solve
from vpr.transport.problem import Transport

log = logging.getLogger("vpr")

ANCHORS = 4096  # photos that are compared with others, at most; no city gives more than its equal share
STEPS, WARM_UP = 400, 20
ANCHORS_PER_STEP, NEGATIVES = 10, 7  # each anchor has one positive and NEGATIVES negatives in a step
SIMILAR = 80  # photos of other places nearest to an anchor, from which its negatives are drawn
BLOCK = 512  # anchors whose negatives are searched at a time
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
TEMPERATURE, ITERATIONS = 0.05, 20
TRANSPORT = Transport("learnt", mass=0.7)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Anchors of one city, each with a positive and with the negatives that are most similar to it."""

    anchors: np.ndarray  # (A,) row numbers of described photos
    positives: np.ndarray  # (A,)
    negatives: np.ndarray  # (A, SIMILAR)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Some anchors (a,), and the photos that each is compared with (a, 1 + NEGATIVES), the positive first."""
        chosen = rng.choice(len(self.anchors), min(ANCHORS_PER_STEP, len(self.anchors)), replace=False)
        drawn = rng.permuted(self.negatives[chosen], axis=1)[:, :NEGATIVES]
        return self.anchors[chosen], np.column_stack([self.positives[chosen], drawn])


def learn_patch_weights(
    model: StructuralModel, places: Places, images: Images, device: torch.device, seed: int
) -> PatchWeights:
    """Weights of patches by which the structural similarity finds the positive of a photo among similar photos.

    The descriptors of the model stay as they are. The loss is the cross-entropy of the structural loss with learnt
    marginals, and with hard negatives: those nearest to the anchor by global descriptors. places: those of ``images``.
    """
    rng, model = np.random.default_rng([seed, 2]), model.eval()
    pairs = _draw_pairs(places, rng)
    photos = np.unique(pairs)
    log.info("learning weights of patches from %d photos, in %d steps", len(photos), STEPS)
    batches = [photos[start : start + BATCH].tolist() for start in range(0, len(photos), BATCH)]
    described = list(describe(model, images, batches, device, title="describing for weights of patches"))
    global_descriptors = np.concatenate([batch.globals_ for batch in described])
    found = np.concatenate([batch.patches for batch in described if batch.patches is not None])
    del described
    guides = torch.from_numpy(marginal_guides(global_descriptors, found, "learnt"))
    patches = torch.from_numpy(found)
    cities = [
        compared
        for city in np.unique(places.photos.city[pairs[:, 0]])
        if (
            compared := _comparisons(places, photos, pairs[places.photos.city[pairs[:, 0]] == city], global_descriptors)
        )
    ]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = PatchWeights(model.config.dim).to(device)
    if not cities:
        log.warning("no photo has %d photos of other places in its city, so no weights are learnt", NEGATIVES)
        return weights.eval()
    shares = np.array([len(city.anchors) for city in cities]) / sum(len(city.anchors) for city in cities)
    optimizer = torch.optim.AdamW(weights.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in progress(range(STEPS), title="learning weights of patches", unit="step", total=STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / STEPS)) / 2
        chosen = cities[rng.choice(len(cities), p=shares)] if len(cities) > 1 else cities[0]
        anchors, others = chosen.draw(rng)
        loss = positive_cross_entropy(_similarities(weights, (patches, guides), anchors, others, device), TEMPERATURE)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return weights.eval()


def _draw_pairs(places: Places, rng: np.random.Generator) -> np.ndarray:
    """Anchors, each with a random positive, (A, 2) photo numbers; equally many of each city that has enough."""
    city = places.photos.city[places.anchors]
    cities = np.unique(city)
    most = max(1, ANCHORS // len(cities))
    chosen = [rng.permutation(places.anchors[city == number])[:most] for number in cities]
    return np.array([(anchor, rng.choice(places.positives(anchor))) for anchor in np.concatenate(chosen)])


def _comparisons(
    places: Places, photos: np.ndarray, pairs: np.ndarray, global_descriptors: np.ndarray
) -> Comparisons | None:
    """The comparisons of pairs (A, 2) of one city; None if no anchor has `NEGATIVES` negatives.

    photos: numbers of the described photos, in order. global_descriptors: theirs.
    """
    pool = np.unique(pairs)
    rows = np.searchsorted(photos, pool)
    own, positive = (np.searchsorted(photos, side) for side in pairs.T)
    enough, similar = [], []
    for start in range(0, len(pairs), BLOCK):
        part = slice(start, start + BLOCK)
        similarity = global_descriptors[own[part]] @ global_descriptors[rows].T
        _, negative = places.guard.masks(places.photos, pairs[part, 0], pool)
        similarity[~negative] = -np.inf
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :SIMILAR]
        known = np.take_along_axis(similarity, order, 1) > -np.inf
        similar.append(rows[np.where(known, order, order[:, :1])])  # fewer than SIMILAR: the nearest again
        enough.append(negative.sum(1) >= NEGATIVES)
    chosen = np.concatenate(enough)
    if not chosen.any():
        return None
    return Comparisons(own[chosen], positive[chosen], np.concatenate(similar)[chosen])


def _similarities(
    weights: PatchWeights,
    described: tuple[torch.Tensor, torch.Tensor],
    anchors: np.ndarray,
    others: np.ndarray,
    device: torch.device,
) -> torch.Tensor:
    """S_struct of anchors (a,) and others (a, 1 + n), (a, 1 + n), with gradients to the weights.

    described: patches (N, P, C) and guides (N, C) of all photos, see `marginal_guides`.
    """
    photos, place = np.unique(np.concatenate([anchors, others.ravel()]), return_inverse=True)
    used, guides = (side[torch.from_numpy(photos)].to(device).float() for side in described)
    found = weights(used)
    first = torch.from_numpy(place[: len(anchors)]).repeat_interleave(others.shape[1]).to(device)
    second = torch.from_numpy(place[len(anchors) :]).to(device)
    own, other = used.index_select(0, first), used.index_select(0, second)
    sides = found.index_select(0, first), found.index_select(0, second)
    mu, nu = marginal_weights("learnt", own, other, guides[first], guides[second], sides)
    cosines = own @ other.transpose(1, 2)
    solved = solve(cosines, mu, nu, transport=TRANSPORT, backend="torch", tolerance=0, max_iterations=ITERATIONS)
    scores: torch.Tensor = solved.score.view(others.shape)
    return scores
