"""Transport problems for the tests."""

import numpy as np


def unit(array):
    """Rows of unit length."""
    return array / np.linalg.norm(array, axis=-1, keepdims=True)


def random_problem(pairs=4, queries=9, candidates=7, seed=0, zero_weights=True, spread=0.3):
    """Similarities (N, P, Q) in [-1, 1] and marginals (N, P), (N, Q) in float64, some weights zero."""
    rng = np.random.default_rng(seed)
    similarity = np.clip(rng.normal(0.14, spread, (pairs, queries, candidates)), -1, 1)
    mu, nu = rng.random((pairs, queries)) + 0.05, rng.random((pairs, candidates)) + 0.05
    if zero_weights and queries > 2 and candidates > 2:
        mu[0, 0] = nu[0, -1] = mu[-1, 1] = 0.0
    return similarity, mu / mu.sum(1, keepdims=True), nu / nu.sum(1, keepdims=True)


def images(candidates=12, patches=9, other_patches=9, channels=16, seed=0):
    """Query and database patches and globals (float32 unit vectors); the first candidates resemble the query."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=channels)
    query = rng.normal(size=(patches, channels)) + 0.4 * common
    database = rng.normal(size=(candidates, other_patches, channels)) + 0.4 * common
    for k in range(candidates // 3):
        share = 0.8 * (k + 1) / (candidates // 3)
        database[k] = (1 - share) * query[rng.integers(patches, size=other_patches)] + share * database[k]
    query, database = unit(query).astype("f4"), unit(database).astype("f4")
    return query, database, unit(query.mean(0)), unit(database.mean(1))
