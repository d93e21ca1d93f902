"""Structural similarity against the float64 reference, and the upper bound against scores."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from problems import images, random_problem
from threadpoolctl import threadpool_info

from vpr.similarity import structural_similarity, structural_similarity_pairs
from vpr.transport import Transport, TransportError, available_backends, marginal_weights, solve, upper_bound

KINDS = ("uniform", "relevancy", "inverse", "complement", "softmax")
BACKENDS = tuple(name for name in available_backends() if name != "reference")


def exact(query, database, query_global, database_global, kind="complement", mass=1.0):
    """Converged float64 scores of the same descriptors, which may be rounded."""
    arrays = [array.astype("f8") for array in (query, database, query_global, database_global)]
    mu, nu = marginal_weights(kind, *(torch.from_numpy(array) for array in arrays))
    similarity = torch.from_numpy(np.einsum("pc,nqc->npq", arrays[0], arrays[1]))
    return solve(similarity, mu, nu, mass=mass, backend="torch", tolerance=1e-10, max_iterations=20000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_marginal(backend, kind):
    arrays = images(other_patches=11)
    result = structural_similarity(*arrays, kind, backend=backend)
    np.testing.assert_allclose(result.score, exact(*arrays, kind).score, atol=5e-6)
    assert result.score.shape == (12,) and result.plan is None and result.backend == backend


@pytest.mark.parametrize("mass", [1.0, 0.5])
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_and_plan(backend, mass):
    query, database, query_global, database_global = images(other_patches=11)
    database = database.astype("f2")
    arrays = query, database, query_global, database_global
    result = structural_similarity(*arrays, mass=mass, backend=backend, plan=True)
    np.testing.assert_allclose(result.score, exact(*arrays, mass=mass).score, atol=5e-6)
    assert result.plan.shape == (12, 9, 11)
    mu, nu = marginal_weights("complement", query, database, query_global, database_global)
    assert (result.plan.sum(2) < mu + 1e-4).all() and (result.plan.sum(1) < nu + 1e-4).all()
    np.testing.assert_allclose(result.plan.sum((1, 2)), mass, atol=1e-4)


def test_large_grids_and_threads_agree():
    """196 patches, more candidates than a chunk holds, one thread and several, and threads of the caller."""
    arrays = images(candidates=7, patches=196, other_patches=180, channels=96)
    expected = exact(*arrays).score
    one = structural_similarity(*arrays, threads=1).score
    np.testing.assert_allclose(one, expected, atol=5e-6)
    np.testing.assert_array_equal(structural_similarity(*arrays, threads=3).score, one)
    before = [library["num_threads"] for library in threadpool_info()]
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: structural_similarity(*arrays, threads=1), range(8)):
            np.testing.assert_array_equal(result.score, one)
    assert [library["num_threads"] for library in threadpool_info()] == before


def test_wide_similarities_are_solved_in_the_log_domain():
    arrays = images(candidates=3)
    narrow = structural_similarity(*arrays, epsilon=0.004, backend="numba", plan=True, max_iterations=20000)
    tensors = [torch.from_numpy(array).double() for array in arrays]
    wide = structural_similarity(*tensors, epsilon=0.004, backend="torch", plan=True, max_iterations=20000)
    np.testing.assert_allclose(narrow.score, wide.score, atol=2e-5)
    np.testing.assert_allclose(narrow.plan, wide.plan, atol=2e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_as_marginals(backend):
    query, database, *_ = images(candidates=3, patches=4, other_patches=5)
    weights = np.array([1.0, 0, 2, 1]), np.arange(15.0).reshape(3, 5)
    mu, nu = weights[0] / 4, weights[1] / weights[1].sum(1, keepdims=True)
    result = structural_similarity(query, database, weights=weights, backend=backend)
    expected = solve(np.einsum("pc,nqc->npq", query, database).astype("f8"), mu, nu, backend="torch").score
    np.testing.assert_allclose(result.score, expected, atol=5e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pairs_of_two_sets(backend):
    query, database, query_global, database_global = map(torch.from_numpy, images(candidates=6))
    queries = torch.stack([query, database[5], database[0]])
    globals_ = torch.stack([query_global, *database_global[[5, 0]]])
    pairs = [2, 0, 0, 1], [5, 1, 2, 0]
    result = structural_similarity_pairs(queries, database, globals_, database_global, pairs, backend=backend)
    for score, i, j in zip(result.score, *pairs):
        alone = structural_similarity(queries[i], database[j : j + 1], globals_[i], database_global[j : j + 1])
        assert float(score) == pytest.approx(float(alone.score[0]), abs=5e-6)


@pytest.mark.parametrize("mass", [1.0, 0.7])
@pytest.mark.parametrize("backend", BACKENDS)
def test_pairs_with_weights_equal_a_loop(backend, mass):
    query, database, *_ = images(candidates=6, patches=4, other_patches=5)
    queries, zeros = np.stack([query, database[5, :4], database[0, 1:]]), (np.zeros((3, 16)), np.zeros((6, 16)))
    rng, pairs = np.random.default_rng(0), ([2, 0, 0, 1], [5, 1, 2, 0])
    weights = rng.uniform(size=(3, 4)), rng.uniform(size=(6, 5))
    weights[0][1, 2] = 0
    sources = queries, database, *(side[:, : queries.shape[2]].astype("f4") for side in zeros)
    given = {"weights": weights, "backend": backend}
    result = structural_similarity_pairs(*sources, pairs, Transport("rollout", mass=mass), **given)
    tensors = [torch.from_numpy(array) for array in (*sources, *weights)]
    given["weights"] = tensors[4], tensors[5].float()
    again = structural_similarity_pairs(*tensors[:4], pairs, Transport("rollout", mass=mass), **given)
    for score, same, i, j in zip(result.score, again.score, *pairs):
        one = weights[0][i], weights[1][j : j + 1]
        alone = structural_similarity(queries[i], database[j : j + 1], mass=mass, weights=one, backend=backend)
        assert float(score) == pytest.approx(float(alone.score[0]), abs=5e-6) == float(same)
    for bad, words in (
        ((weights[0][:2], weights[1]), "query weights"),
        ((weights[0], weights[1] - 0.3), "database weights"),
    ):
        with pytest.raises(TransportError, match=words), np.errstate(all="ignore"):
            structural_similarity_pairs(*sources, pairs, weights=bad, backend=backend)
    with pytest.raises(TransportError, match="need the weights"):
        structural_similarity_pairs(*sources, pairs, Transport("rollout"), backend=backend)


@pytest.mark.parametrize("mass", [1.0, 0.7])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("patches", "candidates"), [(4, 5), (40, 3)])  # more patches than the candidates' too
def test_learnt_marginals_of_pairs(backend, mass, patches, candidates):
    """Against the definition in float64; with equal weights they are complement, and the weights are not changed."""
    query, database, query_global, database_global = images(candidates=6, patches=patches, other_patches=candidates)
    queries, globals_ = np.stack([query, query[::-1]]), np.stack([query_global, database_global[3]])
    rng, pairs = np.random.default_rng(0), ([1, 0, 0, 1], [5, 1, 2, 0])
    weights = rng.uniform(size=(2, patches)).astype("f4"), rng.uniform(size=(6, candidates)).astype("f4")
    kept = weights[0].copy(), weights[1].copy()
    sources, problem = (queries, database, globals_, database_global), Transport("learnt", mass=mass)
    found = structural_similarity_pairs(*sources, pairs, problem, weights=weights, backend=backend).score
    for score, i, j in zip(found, *pairs):
        pair = (queries[i], database[[j]], globals_[i], database_global[[j]])
        exact = [torch.from_numpy(np.ascontiguousarray(side)).double() for side in pair]
        given = torch.from_numpy(weights[0][i]).double(), torch.from_numpy(weights[1][[j]]).double()
        mu, nu = marginal_weights("learnt", *exact, given)
        expected = solve(exact[0] @ exact[1].mT, mu, nu, mass=mass, backend="torch", tolerance=1e-9).score
        assert float(score) == pytest.approx(float(expected[0]), abs=2e-5)
        own = weights[0][i], weights[1][[j]]
        alone = structural_similarity(*pair, transport=problem, weights=own, backend=backend).score
        assert float(score) == pytest.approx(float(alone[0]), abs=5e-6)
    np.testing.assert_array_equal(weights[0], kept[0])
    np.testing.assert_array_equal(weights[1], kept[1])
    equal = np.ones_like(weights[0]), np.ones_like(weights[1])
    same = structural_similarity_pairs(*sources, pairs, problem, weights=equal, backend=backend).score
    plain = structural_similarity_pairs(*sources, pairs, Transport(mass=mass), backend=backend).score
    np.testing.assert_allclose(same, plain, atol=5e-6)


def test_swapping_the_images_keeps_the_score():
    query, database, query_global, database_global = images(candidates=1)
    there = structural_similarity(query, database, query_global, database_global).score[0]
    back = structural_similarity(database[0], query[None], database_global[0], query_global[None]).score[0]
    assert there == pytest.approx(back, abs=5e-6)


def test_refusals():
    query, database, query_global, database_global = images()
    for arguments, words in (
        ((query[None], database, query_global, database_global), "shapes"),
        ((query[:, :5], database, query_global, database_global), "shapes"),
        ((query, database, query_global, database_global[1:]), "global"),
        ((query, database), "need query_global"),
        ((query, database, query_global, database_global, "rollout"), "rollout marginals need the weights"),
        ((query, database, query_global, database_global, "learnt"), "learnt marginals need the weights"),
        ((query, database, query_global, database_global, "relevence"), "choose one of"),
    ):
        with pytest.raises(TransportError, match=words):
            structural_similarity(*arguments)
    with pytest.raises(TransportError, match="need query_global"):
        structural_similarity(query, database, marginals="learnt", weights=(np.ones(9), np.ones((12, 9))))
    with pytest.raises(TransportError, match="threads"):
        structural_similarity(query, database, query_global, database_global, threads=0)
    for bad in (np.nan, np.inf):
        broken = database.copy()
        broken[3, 2, 1] = bad
        with np.errstate(invalid="ignore"), pytest.raises(TransportError, match="finite"):
            structural_similarity(query, broken, query_global, database_global)


@pytest.mark.parametrize("mass", [1.0, 0.7, 0.2])
def test_no_plan_beats_the_bound(mass):
    """The bound is above every entropic score, at every epsilon. It equals the score if one side has a single patch."""
    similarity, mu, nu = random_problem(pairs=20)
    bound = upper_bound(similarity, mu, nu, mass)
    for epsilon in (0.02, 0.05, 0.5):
        result = solve(similarity, mu, nu, epsilon=epsilon, mass=mass, backend="torch", max_iterations=20000)
        assert (result.score <= bound + result.marginal_error + 1e-9).all()
    as_torch = upper_bound(*map(torch.from_numpy, (similarity, mu, nu)), mass)
    np.testing.assert_allclose(as_torch.numpy(), bound)
    single, one = similarity[:, :1], np.ones(1)
    np.testing.assert_allclose(upper_bound(single, one, nu), solve(single, one, nu).score, atol=1e-6)


@pytest.mark.parametrize("mass", [1.0, 0.5])
def test_pruning_by_the_bound_keeps_the_best(mass):
    """Candidates in order of their bound, until none can reach the k-th score, have the top k of all scores."""
    k, skipped = 3, 0
    for seed in range(100):
        similarity, mu, nu = random_problem(pairs=15, queries=6, candidates=6, seed=seed, zero_weights=False)
        scores = solve(similarity, mu, nu, mass=mass, backend="torch").score
        bound = upper_bound(similarity, mu, nu, mass)
        best = []
        for candidate in np.argsort(-bound):
            if len(best) == k and bound[candidate] < best[-1][0] - 1e-4:
                skipped += 1
                continue
            best = sorted([*best, (scores[candidate], candidate)], reverse=True)[:k]
        assert [candidate for _, candidate in best] == list(np.argsort(-scores)[:k])
    assert skipped > 100
