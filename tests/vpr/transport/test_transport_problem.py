"""The transport problem as one value: its ranges, and the public functions that take it."""

from dataclasses import FrozenInstanceError, replace
from typing import get_args

import numpy as np
import pytest
import torch
from problems import images, random_problem

import vpr.similarity
import vpr.transport
from vpr.base.errors import VprError
from vpr.transport import (
    Marginals,
    Transport,
    TransportError,
    solve,
    structural_similarity,
    structural_similarity_pairs,
)
from vpr.transport.marginals import CODES, FromGlobals
from vpr.transport.problem import Solver

PARTIAL = Transport("relevancy", 0.1, 0.6)


def test_defaults_equality_and_copies():
    assert Transport() == Transport("complement", 0.05, 1.0) and hash(Transport()) == hash(Transport())
    assert replace(Transport(), mass=0.6) == Transport(mass=0.6) != Transport()
    assert Transport(mass=0.9999999) == Transport(mass=1) == Transport()
    with pytest.raises(FrozenInstanceError):
        Transport().mass = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epsilon", 0.0),
        ("epsilon", 0.0009),
        ("epsilon", float("nan")),
        ("epsilon", float("inf")),
        ("epsilon", "0.05"),
        ("epsilon", None),
        ("mass", 0.0),
        ("mass", -0.1),
        ("mass", 1.5),
        ("mass", float("nan")),
        ("mass", "1"),
        ("marginals", "relevence"),
        ("marginals", None),
        ("marginals", ["uniform"]),
    ],
)
def test_values_out_of_range_are_refused_by_the_name_of_the_field(field, value):
    with pytest.raises(TransportError, match=f"^{field} (is|are) ") as raised:
        Transport(**{field: value})
    assert isinstance(raised.value, VprError)
    with pytest.raises(TransportError, match=f"^{field} "):
        replace(Transport(), **{field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("tolerance", -1.0), ("tolerance", float("nan")), ("max_iterations", 0), ("threads", 0)]
)
def test_the_solver_has_ranges_too(field, value):
    with pytest.raises(TransportError, match=f"^{field} is "):
        Solver(**{field: value})
    assert Solver.from_options(tolerance=None) == Solver()


def test_the_kernels_have_a_code_for_each_kind_of_marginals():
    assert list(CODES) == [*get_args(FromGlobals), "learnt"] and len(set(CODES.values())) == len(CODES)
    assert {*CODES, "rollout"} == set(get_args(Marginals))


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_one_value_is_the_three_arguments(backend):
    arrays = images()
    expected = structural_similarity(*arrays, "relevancy", 0.1, 0.6, backend=backend, plan=True)
    by_name = structural_similarity(*arrays, marginals="relevancy", epsilon=0.1, mass=0.6, backend=backend, plan=True)
    as_one = structural_similarity(*arrays, transport=PARTIAL, backend=backend, plan=True)
    for result in (by_name, as_one):
        for field, first in zip(result[:4], expected[:4]):
            np.testing.assert_array_equal(field, first)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_pairs_take_the_same_value(backend):
    query, database, query_global, database_global = images()
    sides = query[None], database, query_global[None], database_global
    pairs, options = ([0, 0, 0], [4, 1, 7]), {"backend": backend}
    expected = structural_similarity_pairs(*sides, pairs, PARTIAL, **options).score
    alone = structural_similarity(
        query, database[[4, 1, 7]], query_global, database_global[[4, 1, 7]], transport=PARTIAL
    )
    np.testing.assert_allclose(expected, alone.score, atol=5e-6)


def test_one_value_is_the_two_arguments_of_solve():
    problem = random_problem()
    expected = solve(*problem, epsilon=0.1, mass=0.6).score
    np.testing.assert_array_equal(solve(*problem, transport=PARTIAL).score, expected)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"mass": 1.0}, "transport and mass contradict"),
        ({"epsilon": 0.05}, "transport and epsilon contradict"),
        ({"epsilon": 0.05, "mass": 0.5}, "transport and epsilon, mass contradict"),
        ({"mass": 7.0}, "mass is 7.0"),
    ],
)
def test_arguments_that_contradict_the_value_are_refused(other, words):
    query, database, query_global, database_global = images()
    for call in (
        lambda: structural_similarity(query, database, query_global, database_global, transport=PARTIAL, **other),
        lambda: solve(*random_problem(), transport=PARTIAL, **other),
    ):
        with pytest.raises(TransportError, match=words):
            call()
    with pytest.raises(TransportError, match="transport and marginals contradict"):
        structural_similarity(*images(), "complement", transport=PARTIAL)
    assert structural_similarity(*images(), "relevancy", 0.1, transport=PARTIAL).score.shape == (12,)


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
def test_pairs_keep_the_solver_of_the_caller(backend):
    """Every backend takes the tolerance and the iterations, and returns no plans."""
    query, database, query_global, database_global = images()
    sides = query[None], database, query_global[None], database_global
    options = {"tolerance": 0, "max_iterations": 3, "plan": True, "backend": backend}
    result = structural_similarity_pairs(*sides, ([0, 0], [3, 1]), **options)
    assert result.iterations.tolist() == [3, 3] and result.plan is None
    alone = structural_similarity(query, database[[3, 1]], query_global, database_global[[3, 1]], **options)
    np.testing.assert_allclose(result.score, alone.score, atol=5e-6)


def test_results_have_the_kind_of_the_arguments():
    arrays = images()
    tensors = [torch.from_numpy(array) for array in arrays]
    for kind, given in ((np.ndarray, arrays), (torch.Tensor, tensors)):
        for backend in ("numba", "torch", "reference"):
            result = structural_similarity(*given, backend=backend, plan=True)
            assert all(isinstance(field, kind) for field in result[:4]), (kind, backend)


def test_the_former_module_has_the_public_functions():
    for name in vpr.similarity.__all__[1:]:
        assert getattr(vpr.similarity, name) is getattr(vpr.transport, name)
