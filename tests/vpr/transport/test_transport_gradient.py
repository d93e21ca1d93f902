"""Gradients of the torch backend against finite differences."""

import numpy as np
import pytest
import torch
from problems import random_problem

from vpr.similarity import structural_similarity
from vpr.transport import solve

UNROLLED, CONVERGED = {"tolerance": 0, "max_iterations": 8}, {"tolerance": 1e-13, "max_iterations": 5000}


def tensors(**options):
    return [torch.from_numpy(array).requires_grad_() for array in random_problem(2, 5, 4, **options)]


def normalised(weights):
    return weights / weights.sum(-1, keepdim=True)


@pytest.mark.slow
@pytest.mark.parametrize("mass", [1.0, 0.6])
@pytest.mark.parametrize(
    ("options", "epsilon"),
    [(UNROLLED, 0.05), (UNROLLED, 0.5), (UNROLLED, 0.002), (CONVERGED, 0.05), (CONVERGED, 0.5)],
)
def test_finite_differences(options, epsilon, mass):
    """Gradients of similarities and marginals, in the scaling domain and, with epsilon 0.002, in the log domain. There
    a converged problem takes too many iterations for a test."""
    inputs = tensors(zero_weights=False)

    def score(similarity, mu, nu):
        return solve(similarity, normalised(mu), normalised(nu), epsilon=epsilon, mass=mass, **options).score

    assert torch.autograd.gradcheck(score, inputs, eps=1e-7, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("epsilon", [0.05, 0.002])
@pytest.mark.parametrize("mass", [1.0, 0.6])
def test_zero_weights_have_finite_gradients(epsilon, mass):
    inputs = tensors(zero_weights=True)
    solve(*inputs, epsilon=epsilon, mass=mass, **UNROLLED).score.sum().backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in inputs)
    assert inputs[0].grad[0, 0].abs().max() == 0  # a patch of weight zero moves no mass


def test_float32_gradients_follow_float64():
    exact = [torch.from_numpy(array).requires_grad_() for array in random_problem(3, 49, 49)]
    single = [tensor.detach().float().requires_grad_() for tensor in exact]
    for inputs in (exact, single):
        solve(*inputs, **UNROLLED).score.sum().backward()
    np.testing.assert_allclose(single[0].grad.numpy(), exact[0].grad.numpy(), atol=1e-5)


def test_structural_similarity_reaches_the_patches():
    generator = torch.Generator().manual_seed(0)
    query, database = torch.randn(4, 8, generator=generator), torch.randn(3, 4, 8, generator=generator)
    inputs = [torch.nn.functional.normalize(array.double(), dim=-1).requires_grad_() for array in (query, database)]

    def score(query, database):
        return structural_similarity(query, database, query[0], database[:, 0], tolerance=0, max_iterations=8).score

    assert torch.autograd.gradcheck(score, inputs, eps=1e-7, atol=1e-4, rtol=1e-3)
