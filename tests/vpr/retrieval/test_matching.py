"""A match tells what re-ranking went by."""

import numpy as np
import pytest

from vpr.retrieval.matching import Match, match
from vpr.retrieval.settings import RerankConfig
from vpr.similarity import structural_similarity
from vpr.transport import TransportError


def unit(rng, *shape):
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("length", [8, 5])
@pytest.mark.parametrize("config", [RerankConfig(), RerankConfig(mass=0.6), RerankConfig("uniform")])
def test_it_is_the_plan_behind_the_score(config, length):
    rng = np.random.default_rng(0)
    own, other, globals_ = unit(rng, 6, 8), unit(rng, 4, 8), unit(rng, 2, length)
    found = match((own, other), tuple(globals_), config)
    guides = globals_ if length == 8 else [side.mean(0) / np.linalg.norm(side.mean(0)) for side in (own, other)]
    settings = config.marginals, config.epsilon, config.mass
    expected = structural_similarity(own, other[None], guides[0], guides[1][None], *settings)
    assert found.score == pytest.approx(float(expected.score[0]), abs=1e-5)
    assert found.score == pytest.approx(float((found.plan * found.similarity).sum()), abs=1e-5)
    assert found.plan.sum() == pytest.approx(config.mass, abs=1e-3)
    for weights, taken, moved in zip(
        (found.query_weights, found.database_weights), found.moved_shares, (found.plan.sum(1), found.plan.sum(0))
    ):
        assert weights.sum() == pytest.approx(1, abs=1e-5) and (moved <= weights + 1e-4).all()
        np.testing.assert_allclose(taken * weights, moved, atol=1e-3)


def test_a_patch_that_the_other_image_lacks_stays_where_it_is():
    patches = np.eye(4, dtype=np.float32)
    found = match((patches[:3], patches[1:]), (patches[0], patches[0]), RerankConfig("uniform", mass=2 / 3))
    own, other = found.moved_shares
    assert own[0] < 0.01 and other[2] < 0.01 and own[1:].min() > 0.99 and other[:2].min() > 0.99


def test_given_weights_are_the_marginals_of_rollout():
    patches, weights = np.eye(4, dtype=np.float32), (np.array([1.0, 3.0]), np.array([2.0, 1.0, 1.0]))
    images = (patches[:2], patches[1:]), (patches[0], patches[0])
    found = match(*images, RerankConfig("rollout"), weights)
    assert found.query_weights.tolist() == [0.25, 0.75] and found.database_weights.tolist() == [0.5, 0.25, 0.25]
    assert found.score == pytest.approx(0.5, abs=1e-3)  # the patch that both show, as far as both weigh it
    with pytest.raises(TransportError, match="rollout marginals need the weights"):
        match(*images, RerankConfig("rollout"))
    learnt = match(*images, RerankConfig("learnt"), (weights[0], np.array([0.0, 1.0, 1.0])))
    assert learnt.query_weights.tolist() == [0.0, 1.0]  # complement leaves the first out
    assert learnt.database_weights.tolist() == [0.0, 0.5, 0.5]
    uniform = match(*images, RerankConfig("uniform"), weights)
    assert uniform.query_weights.tolist() == [0.5, 0.5]


def test_the_strongest_are_best_of_their_row_and_column():
    plan = np.array([[0.5, 0.0], [0.1, 0.2], [0.0, 0.0]])
    found = Match(0.0, plan.sum(1), plan.sum(0), plan, plan)
    assert found.strongest_pairs(5).tolist() == [[0, 0], [1, 1]]
    assert found.strongest_pairs(1).tolist() == [[0, 0]]


def test_correspondences_are_listed_by_row_and_column():
    plan = np.zeros((4, 9))
    plan[2, 5], plan[3, 0] = 0.6, 0.4
    found = Match(0.0, plan.sum(1), plan.sum(0), plan, 2 * plan).correspondences(2)
    assert found[0] == {"query": [1, 0], "database": [1, 2], "mass": 0.6, "similarity": 1.2}
    assert found[1]["query"] == [1, 1] and found[1]["database"] == [0, 0]


def test_of_equal_correspondences_each_patch_has_one():
    same = np.tile(np.eye(1, 4, dtype=np.float32), (5, 1))
    pairs = match((same, same), (same[0], same[0]), RerankConfig("uniform")).strongest_pairs(30)
    assert len(pairs) == 5 and all(len(set(side)) == 5 for side in pairs.T.tolist())
