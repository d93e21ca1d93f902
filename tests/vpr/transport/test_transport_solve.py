"""Every backend against the float64 reference; the reference against POT and against cases worked by hand."""

from functools import partial

import numpy as np
import ot
import pytest
import torch
from pot_oracle import solve_by_pot
from problems import random_problem

from vpr.transport import BACKENDS, Transport, TransportError, available_backends, solve

SHAPES = ((9, 7), (49, 49), (1, 6), (6, 1), (1, 1))
MASSES = (1.0, 0.97, 0.5, 0.05)
TIGHT = {"tolerance": 1e-11, "max_iterations": 50000}
CPU_BACKENDS = tuple(name for name in available_backends() if name != "triton")


def test_reference_agrees_with_pot_on_balanced_transport():
    similarity, mu, nu = random_problem(zero_weights=False)
    plans = solve(similarity, mu, nu, backend="reference", plan=True, **TIGHT).plan
    for plan, s, a, b in zip(plans, similarity, mu, nu):
        np.testing.assert_allclose(plan, ot.sinkhorn(a, b, 1 - s, 0.05, stopThr=1e-13, numItermax=50000), atol=1e-9)


@pytest.mark.parametrize("mass", [0.95, 0.5, 0.1])
def test_reference_agrees_with_pot_on_partial_transport(mass):
    similarity, mu, nu = random_problem(zero_weights=False)
    plans = solve(similarity, mu, nu, mass=mass, backend="reference", plan=True, **TIGHT).plan
    for plan, s, a, b in zip(plans, similarity, mu, nu):
        theirs = ot.partial.entropic_partial_wasserstein(a, b, 1 - s, 0.05, m=mass, stopThr=1e-13, numItermax=50000)
        np.testing.assert_allclose(plan, theirs, atol=1e-8)


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("mass", [1.0, 0.6])
def test_low_epsilon_agrees_with_exact_transport(backend, mass):
    similarity, mu, nu = random_problem(queries=5, candidates=5)
    result = solve(similarity, mu, nu, epsilon=0.002, mass=mass, backend=backend, max_iterations=10000)
    emd = ot.emd2 if mass == 1.0 else partial(ot.partial.partial_wasserstein2, m=mass)
    exact = [emd(a, b, 1 - s) for s, a, b in zip(similarity, mu, nu)]
    assert (result.marginal_error < 1e-4).all()
    np.testing.assert_allclose(mass - result.score, exact, atol=5e-3)


def test_two_by_two_by_hand():
    """T = [[t, 1/2 - t], [1/2 - t, t]] with (t / (1/2 - t))^2 = exp(2 (s - d) / epsilon)."""
    same, different, epsilon = 0.6, 0.5, 0.1
    odds = np.exp((same - different) / epsilon)
    t = 0.5 * odds / (1 + odds)
    similarity = np.array([[[same, different], [different, same]]])
    for backend in CPU_BACKENDS:
        result = solve(similarity, np.full(2, 0.5), np.full(2, 0.5), epsilon=epsilon, backend=backend)
        assert result.score[0] == pytest.approx(2 * (t * same + (0.5 - t) * different), abs=1e-6)


@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", available_backends())
def test_parity(backend, shape, mass):
    """Every backend has the scores and plans of the reference, with weights of zero too."""
    problem = random_problem(3, *shape)
    result = solve(*problem, mass=mass, backend=backend, plan=True)
    assert_parity(result, problem, mass)
    assert result.backend == backend


@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_pot_agrees(shape, mass):
    """POT, by other authors, has the scores and plans of the reference, with weights of zero too."""
    problem = random_problem(3, *shape)
    assert_parity(solve_by_pot(*problem, Transport(mass=mass)), problem, mass)


def assert_parity(result, problem, mass):
    """The scores and plans are those of the reference, and the plans meet the constraints."""
    similarity, mu, nu = problem
    reference = solve(*problem, mass=mass, backend="reference", plan=True, **TIGHT)
    np.testing.assert_allclose(result.score, reference.score, atol=5e-6)
    np.testing.assert_allclose(result.plan, reference.plan, atol=2e-5)
    np.testing.assert_allclose(result.plan.sum((1, 2)), mass, atol=1e-4)
    np.testing.assert_allclose(result.score, (result.plan * similarity).sum((1, 2)), atol=2e-6)
    assert (result.plan >= 0).all() and not result.plan[0][mu[0] == 0].any() and not result.plan[0][:, nu[0] == 0].any()
    over = np.maximum(result.plan.sum(2) - mu, 0).sum(1) + np.maximum(result.plan.sum(1) - nu, 0).sum(1)
    assert (over < 1e-4).all() and (result.marginal_error < 1e-4).all()
    assert result.iterations.shape == (3,) and (result.iterations >= 1).all()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_fixed_iterations_are_plain_sinkhorn(backend):
    """Tolerance 0 runs exactly ``max_iterations`` iterations, without over-relaxation."""
    similarity, mu, nu = random_problem()
    kernel, v = np.exp((similarity - 1) / 0.05), np.ones_like(nu)
    for _ in range(3):
        u = mu / np.einsum("npq,nq->np", kernel, v)
        v = nu / np.einsum("npq,np->nq", kernel, u)
    expected = np.einsum("np,npq,nq,npq->n", u, kernel, v, similarity)
    result = solve(similarity, mu, nu, tolerance=0, max_iterations=3, backend=backend)
    np.testing.assert_allclose(result.score, expected, atol=2e-6)
    assert (result.iterations == 3).all()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_marginal_error_is_that_of_the_plan(backend):
    similarity, mu, nu = random_problem()
    result = solve(similarity, mu, nu, tolerance=0, max_iterations=2, backend=backend, plan=True)
    error = np.abs(result.plan.sum(2) - mu).sum(1) + np.abs(result.plan.sum(1) - nu).sum(1)
    np.testing.assert_allclose(result.marginal_error, error, atol=1e-6)
    assert error.max() > 1e-3  # two iterations are not enough, and the result shows it


@pytest.mark.parametrize("mass", [1.0, 0.5])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_permutation_and_transposition(backend, mass):
    similarity, mu, nu = random_problem()
    rows, columns = np.random.default_rng(1).permutation(9), np.random.default_rng(2).permutation(7)
    score = solve(similarity, mu, nu, mass=mass, backend=backend).score
    permuted = solve(similarity[:, rows][:, :, columns], mu[:, rows], nu[:, columns], mass=mass, backend=backend)
    transposed = solve(similarity.transpose(0, 2, 1), nu, mu, mass=mass, backend=backend)
    np.testing.assert_allclose(permuted.score, score, atol=5e-6)
    np.testing.assert_allclose(transposed.score, score, atol=5e-6)


def test_more_mass_never_scores_less_on_non_negative_similarities():
    similarity, mu, nu = random_problem()
    scores = [solve(np.abs(similarity), mu, nu, mass=mass).score for mass in (0.2, 0.5, 0.8, 1.0)]
    assert (np.diff(scores, axis=0) > 0).all()


def test_results_have_the_kind_of_the_arguments():
    similarity, mu, nu = random_problem()
    as_torch = solve(*map(torch.from_numpy, (similarity, mu, nu)), plan=True)
    as_numpy = solve(similarity, mu, nu, backend="torch", plan=True)
    assert all(isinstance(field, torch.Tensor) for field in as_torch[:4]) and as_torch.backend == "numba"
    assert all(isinstance(field, np.ndarray) for field in as_numpy[:4]) and as_numpy.backend == "torch"
    np.testing.assert_allclose(as_torch.score.numpy(), as_numpy.score, atol=5e-6)
    assert solve(similarity, mu, nu).plan is None


def test_shared_marginals_and_no_pairs():
    similarity, mu, nu = random_problem()
    shared = solve(similarity, mu[1], nu[1]).score
    np.testing.assert_allclose(shared, solve(similarity, mu[[1] * 4], nu[[1] * 4]).score, atol=1e-7)
    for backend in CPU_BACKENDS:
        assert solve(similarity[:0], mu[:0], nu[:0], backend=backend).score.shape == (0,)


def test_the_choice_of_a_backend_is_logged(caplog):
    from vpr.transport import dispatch

    dispatch.log_choice.cache_clear()
    caplog.set_level("INFO", "vpr.transport")
    assert solve(*random_problem()).backend == "numba"
    assert "numba" in caplog.text
    assert set(available_backends()) <= set(BACKENDS)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"epsilon": float("inf")}, "epsilon"),
        ({"mass": 0.0}, "mass"),
        ({"mass": 1.5}, "mass"),
        ({"tolerance": -1.0}, "tolerance"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"backend": "cuda"}, "backend"),
        ({"backend": "pot"}, "backend"),
        ({"query_marginals": np.full(9, 0.2)}, "sum"),
        ({"query_marginals": np.zeros(9)}, "sum"),
        ({"database_marginals": np.full(6, 1 / 6)}, "shape"),
        ({"database_marginals": np.array([2.0, -1, 0, 0, 0, 0, 0])}, "negative"),
        ({"similarity": np.zeros((9, 7))}, "shape"),
        ({"similarity": np.zeros((4, 0, 7))}, "shape"),
    ],
)
def test_refusals_name_the_cause(change, words):
    similarity, mu, nu = random_problem()
    arguments = {"similarity": similarity, "query_marginals": mu, "database_marginals": nu} | change
    with pytest.raises(TransportError, match=words):
        solve(**arguments)


def test_pairs_out_of_iterations_are_reported():
    similarity, mu, nu = random_problem()
    with pytest.warns(UserWarning, match="4 of 4 pairs stopped at 2 iterations"):
        solve(similarity, mu, nu, max_iterations=2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_bad_similarities_are_refused(backend, bad):
    similarity, mu, nu = random_problem()
    similarity[2, 1, 1] = bad
    with np.errstate(invalid="ignore"), pytest.raises(TransportError, match="finite"):
        solve(similarity, mu, nu, backend=backend)
