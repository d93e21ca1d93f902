"""Extreme problems are solved or refused; the result is never NaN."""

import numpy as np
import pytest
from problems import random_problem, unit

from vpr.similarity import structural_similarity
from vpr.transport import available_backends, solve

BACKENDS = tuple(name for name in available_backends() if name != "reference")
pytestmark = pytest.mark.parametrize("backend", BACKENDS)


@pytest.mark.parametrize("mass", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("epsilon", [0.005, 0.02, 1.0, 100.0, 1e6])
def test_any_epsilon(backend, epsilon, mass):
    similarity, mu, nu = random_problem(3, 6, 5)
    result = solve(similarity, mu, nu, epsilon=epsilon, mass=mass, backend=backend, plan=True, max_iterations=20000)
    expected = solve(
        similarity, mu, nu, epsilon=epsilon, mass=mass, backend="torch", tolerance=1e-10, max_iterations=20000
    )
    assert (result.marginal_error < 1e-4).all()
    np.testing.assert_allclose(result.score, expected.score, atol=5e-5)
    assert np.isfinite(result.plan).all()


def test_large_epsilon_is_the_independent_plan(backend):
    similarity, mu, nu = random_problem()
    plan = solve(similarity, mu, nu, epsilon=1e6, backend=backend, plan=True).plan
    np.testing.assert_allclose(plan, mu[:, :, None] * nu[:, None, :], atol=1e-6)


def test_identical_images_match_patch_by_patch(backend):
    patches = unit(np.random.default_rng(0).normal(size=(12, 64))).astype("f4")
    result = structural_similarity(patches, patches[None], marginals="uniform", backend=backend, plan=True)
    assert result.score[0] > 0.999
    np.testing.assert_allclose(result.plan[0], np.eye(12) / 12, atol=1e-4)


@pytest.mark.parametrize("mass", [1.0, 0.4])
def test_orthogonal_and_equal_patches(backend, mass):
    """If all similarities are 0, or all are 1, the score is mass times that, for any plan."""
    first, second = np.repeat(np.eye(2, 16, dtype="f4")[:, None], 5, 1)
    for database, cosine in ((second, 0.0), (first, 1.0)):
        for marginals in ("uniform", "relevancy", "complement", "softmax", "inverse"):
            result = structural_similarity(
                first, database[None], first[0].copy(), database[:1].copy(), marginals, mass=mass, backend=backend
            )
            np.testing.assert_allclose(result.score, [mass * cosine], atol=2e-6)


def test_one_heavy_patch(backend):
    """If one patch of either side has all weight, the score is their cosine."""
    similarity, mu, nu = random_problem()
    mu, nu = np.eye(9)[[3] * 4], np.eye(7)[[2] * 4]
    result = solve(similarity, mu, nu, backend=backend)
    np.testing.assert_allclose(result.score, similarity[:, 3, 2], atol=1e-6)


def test_tiny_weights(backend):
    similarity, mu, nu = random_problem(zero_weights=False)
    mu[:, 0], nu[:, 1] = 1e-20, 1e-35
    mu, nu = mu / mu.sum(1, keepdims=True), nu / nu.sum(1, keepdims=True)
    expected = solve(similarity, mu, nu, backend="reference", tolerance=1e-10, max_iterations=20000).score
    np.testing.assert_allclose(solve(similarity, mu, nu, backend=backend).score, expected, atol=5e-6)


def test_extreme_similarities(backend):
    """A permutation in cosines -1 and 1 is at the limit of float32, and its plan is known."""
    similarity = 2 * np.eye(8)[None] - 1
    result = solve(similarity, np.full(8, 1 / 8), np.full(8, 1 / 8), backend=backend)
    np.testing.assert_allclose(result.score, [1.0], atol=1e-5)


def test_mass_near_its_ends(backend):
    similarity, mu, nu = random_problem()
    for mass in (1e-3, 0.999, 0.9999999):
        result = solve(similarity, mu, nu, mass=mass, backend=backend, plan=True)
        np.testing.assert_allclose(result.plan.sum((1, 2)), mass, atol=1e-5)
        assert (result.marginal_error < 1e-4).all()
