"""Marginal weights against their definitions in plain loops."""

import numpy as np
import pytest
import torch
from problems import images

from vpr.transport import TransportError, marginal_weights

KINDS = ("uniform", "relevancy", "inverse", "complement", "softmax")
FORMULA = {
    "uniform": lambda cosine: 1.0,
    "relevancy": lambda cosine: max(cosine, 0.0),
    "inverse": lambda cosine: np.exp(-max(cosine, 0.0) / 0.1),
    "complement": lambda cosine: 1 - max(cosine, 0.0),
    "softmax": np.exp,
}


@pytest.mark.parametrize("kind", KINDS)
def test_definition(kind):
    query, database, query_global, database_global = images(patches=5, other_patches=4)
    mu, nu = marginal_weights(kind, query, database, query_global, database_global)
    for n in range(len(database)):
        rows = [FORMULA[kind](float(patch @ database_global[n])) for patch in query]
        columns = [FORMULA[kind](float(patch @ query_global)) for patch in database[n]]
        np.testing.assert_allclose(mu[n], np.array(rows) / sum(rows), atol=1e-6)
        np.testing.assert_allclose(nu[n], np.array(columns) / sum(columns), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_torch_and_batches_of_pairs(kind):
    """A repeated query (N, P, C) in torch has the marginals of (P, C) in numpy; half precision is close."""
    query, database, query_global, database_global = images()
    expected = marginal_weights(kind, query, database, query_global, database_global)
    pairs = len(database)
    tensors = [torch.from_numpy(array) for array in (query, database, query_global, database_global)]
    queries, globals_ = tensors[0].expand(pairs, -1, -1), tensors[2].expand(pairs, -1)
    batch = marginal_weights(kind, queries, tensors[1], globals_, tensors[3])
    half = marginal_weights(kind, tensors[0].half(), tensors[1].half(), tensors[2].half(), tensors[3].half())
    for ours, theirs, rough in zip(expected, batch, half):
        np.testing.assert_allclose(theirs.numpy(), ours, atol=1e-6)
        np.testing.assert_allclose(rough.numpy(), ours, atol=2e-3)


def test_rollout_takes_weights():
    query, database, *_ = images(candidates=2, patches=3, other_patches=2)
    given = np.array([1.0, 2.0, 1.0]), np.array([[1.0, 3.0], [0.0, 5.0]])
    mu, nu = marginal_weights("rollout", query, database, None, None, weights=given)
    np.testing.assert_allclose(mu, [[0.25, 0.5, 0.25]] * 2)
    np.testing.assert_allclose(nu, [[0.25, 0.75], [0.0, 1.0]])


def test_learnt_multiplies_complement():
    query, database, query_global, database_global = images(patches=5, other_patches=4)
    weights = np.array([1.0, 0, 4, 2, 1]), np.random.default_rng(0).uniform(size=(len(database), 4))
    mu, nu = marginal_weights("learnt", query, database, query_global, database_global, weights)
    for n in range(len(database)):
        rows = [w * FORMULA["complement"](float(patch @ database_global[n])) for w, patch in zip(weights[0], query)]
        columns = [w * FORMULA["complement"](float(p @ query_global)) for w, p in zip(weights[1][n], database[n])]
        np.testing.assert_allclose(mu[n], np.array(rows) / sum(rows), atol=1e-6)
        np.testing.assert_allclose(nu[n], np.array(columns) / sum(columns), atol=1e-6)


@pytest.mark.parametrize("kind", ["relevancy", "complement"])
def test_rows_without_weight_become_uniform(kind):
    """All patches are orthogonal (relevancy) or equal (complement) to the other image's descriptor."""
    axis = 1 if kind == "relevancy" else 0
    patches = np.repeat(np.eye(4, dtype="f4")[:1], 3, 0)
    other = np.eye(4, dtype="f4")[axis]
    mu, nu = marginal_weights(kind, patches, patches[None], other, other[None])
    np.testing.assert_allclose(mu, np.full((1, 3), 1 / 3))
    np.testing.assert_allclose(nu, np.full((1, 3), 1 / 3))


def test_refusals():
    query, database, *_ = images()
    with pytest.raises(TransportError, match="choose one of"):
        marginal_weights("relevance", query, database, None, None)
    for kind in ("rollout", "learnt"):
        with pytest.raises(TransportError, match=f"{kind} marginals need the weights"):
            marginal_weights(kind, query, database, None, None)
    with pytest.raises(TransportError, match="need query_global"):
        marginal_weights("complement", query, database, None, None)
    with pytest.raises(TransportError, match="negative"):
        given = np.array([2.0] + [-0.1] * 8), np.ones((12, 9))
        marginal_weights("rollout", query, database, None, None, weights=given)
    with pytest.raises(TransportError, match="'learnt' need query_global"):
        marginal_weights("learnt", query, database, None, None, weights=(np.ones(9), np.ones((12, 9))))
