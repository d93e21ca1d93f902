"""Pruning leaves the first ranks as they are, and skips transport."""

import numpy as np
import pytest

from vpr.retrieval.pruning import pruned_scores
from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity


def problem(seed, candidates=40, patches=9, dim=12):
    """A query and candidates, some of which share patches with it."""
    rng = np.random.default_rng(seed)
    query = rng.standard_normal((patches, dim))
    noise = rng.standard_normal((candidates, patches, dim))
    shared = rng.uniform(0, 1, (candidates, 1, 1)) ** 2
    database = shared * query[rng.permutation(patches)] + (1 - shared) * noise
    query, database = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, database))
    globals_ = [x.mean(-2) / np.linalg.norm(x.mean(-2), axis=-1, keepdims=True) for x in (query, database)]
    return tuple(x.astype(np.float32) for x in (query, database, globals_[0], globals_[1]))


@pytest.mark.parametrize(
    "config",
    [
        RerankConfig(prune=5),
        RerankConfig("uniform", mass=0.6, prune=5),
        RerankConfig("rollout", prune=5),
        RerankConfig("learnt", mass=0.7, prune=5),
    ],
)
def test_the_first_ranks_are_those_of_full_transport(config, seams):
    solved = []

    def counting(query, database, *rest, **how):
        solved.append(len(database))
        return structural_similarity(query, database, *rest, **how)

    seams.replace("vpr.retrieval.pruning.structural_similarity", counting)
    for seed in range(60):
        images, rng = problem(seed), np.random.default_rng(seed)
        known, weight = images[3] @ images[2], 3.0
        given = (rng.uniform(size=9), rng.uniform(size=(40, 9))) if config.needs_weights else None
        settings = config.marginals, config.epsilon, config.mass
        full = known + weight * structural_similarity(*images, *settings, weights=given).score
        pruned = known + weight * pruned_scores(images, known, config, weight, given)
        first = np.argsort(-full, kind="stable")[:5]
        assert np.argsort(-pruned, kind="stable")[:5].tolist() == first.tolist()
        assert (pruned >= full - 1e-3).all()
    assert sum(solved) < 0.9 * 60 * 40


def test_no_more_candidates_than_wanted_are_all_solved():
    images = problem(0, candidates=4)
    found = pruned_scores(images, images[3] @ images[2], RerankConfig(prune=10), 1.0)
    np.testing.assert_allclose(found, structural_similarity(*images).score, atol=5e-5)
