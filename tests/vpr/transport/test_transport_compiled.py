"""The compiled code for CPUs: every layout, fixed point, pairs in any order, threads, the digest of the sources."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from problems import images, unit

from vpr.similarity import structural_similarity, structural_similarity_pairs
from vpr.transport import TransportError
from vpr.transport.cpu import compiling, fused
from vpr.transport.cpu.fixed import SPREAD, SUPPORTED, use_fixed_point
from vpr.transport.cpu.threads import Workers, arena, run_in_threads

# (patches, other patches, channels): with and without single columns, few rows, padded channels, several panels
SHAPES = ((1, 1, 4), (5, 7, 12), (16, 5, 32), (17, 50, 100), (24, 40, 96), (49, 49, 128), (60, 49, 128), (120, 60, 384))


def problem(shape, candidates=7, half=False):
    """Images of a shape; with ``half`` the database is float16."""
    query, database, *globals_ = images(candidates, *shape)
    return (query, database.astype("f2") if half else database, *globals_)


def exact(arrays, **options):
    """The converged float64 solution of the same numbers."""
    tensors = (torch.from_numpy(array).double() for array in arrays)
    return structural_similarity(*tensors, backend="torch", tolerance=1e-9, max_iterations=20000, **options)


def errors(shape, half, mass):
    """Largest errors of score and plan, which do not depend on the former contents of the thread's memory."""
    arrays, results = problem(shape, half=half), []
    for left_over in (0, np.nan, np.inf, -3e38):
        arena.numbers[:] = left_over
        results.append(structural_similarity(*arrays, mass=mass, backend="numba", plan=True, threads=1))
    for result in results[1:]:
        for field, first in zip(result[:4], results[0][:4]):
            np.testing.assert_array_equal(field, first)
    expected = exact(arrays, mass=mass, plan=True)
    return tuple(abs(found - true.numpy()).max() for found, true in zip(results[0][::3], expected[::3]))


@pytest.mark.parametrize("mass", [1.0, 0.5])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_layout(shape, half, mass):
    of_score, of_plan = errors(shape, half, mass)
    assert of_score < 5e-6 and of_plan < 2e-5


@pytest.mark.skipif(not SUPPORTED, reason="this processor multiplies in float32 only")
@pytest.mark.parametrize("kind", SPREAD)
@pytest.mark.parametrize("channels", [128, 384])
def test_fixed_point_is_exact_enough(kind, channels, seams):
    arrays = problem((49, 49, channels), candidates=200)
    result = structural_similarity(*arrays, kind, backend="numba")
    assert abs(result.score - exact(arrays, marginals=kind).score.numpy()).max() < 5e-6
    seams.replace("vpr.transport.cpu.fused.use_fixed_point", lambda *arguments: False)
    assert (structural_similarity(*arrays, kind, backend="numba").score != result.score).any()


@pytest.mark.skipif(not SUPPORTED, reason="this processor multiplies in float32 only")
def test_fixed_point_is_exact_enough_with_learnt_weights(seams):
    arrays, rng = problem((49, 49, 128), candidates=200), np.random.default_rng(0)
    weights = tuple(np.exp(rng.choice([-0.75, 0.75], shape)).astype("f4") for shape in ((49,), (200, 49)))
    result = structural_similarity(*arrays, "learnt", weights=weights, backend="numba")
    exact_arrays, given = ([torch.from_numpy(side).double() for side in sides] for sides in (arrays, weights))
    wanted = structural_similarity(*exact_arrays, "learnt", weights=tuple(given), backend="torch", tolerance=1e-9)
    assert abs(result.score - wanted.score.numpy()).max() < 5e-6
    seams.replace("vpr.transport.cpu.fused.use_fixed_point", lambda *arguments: False)
    assert (structural_similarity(*arrays, "learnt", weights=weights, backend="numba").score != result.score).any()


def test_fixed_point_is_for_many_patches_with_spread_marginals():
    even = np.full((1, 49), 1 / 49)
    steep = np.where(np.arange(49) == 0, 0.2, 0.8 / 48)[None]
    assert use_fixed_point("learnt", 49, 128, (even, even)) == SUPPORTED
    assert not use_fixed_point("learnt", 49, 128, (even, steep)) and not use_fixed_point(
        "rollout", 49, 128, (even, even)
    )
    assert use_fixed_point("complement", 49, 128) == SUPPORTED
    assert not use_fixed_point("relevancy", 49, 128)
    assert not use_fixed_point("complement", 39, 128) and not use_fixed_point("complement", 49, 64)


@pytest.mark.parametrize("shape", [(49, 49, 128), (20, 20, 16)])
def test_vectors_need_not_be_of_length_one(shape):
    query, database, *globals_ = problem(shape)
    plain = structural_similarity(query, database, *globals_, "uniform", backend="numba").score
    for factor in (1e-4, 300.0):
        scaled = structural_similarity(query * factor, database / factor, *globals_, "uniform", backend="numba").score
        np.testing.assert_allclose(scaled, plain, atol=6e-6)
    spiked = query.copy()
    spiked[:, 0] = 5.0  # far above the other numbers
    result = structural_similarity(spiked, database, *globals_, "uniform", epsilon=0.5, backend="numba")
    expected = exact((spiked, database, *globals_), marginals="uniform", epsilon=0.5)
    np.testing.assert_allclose(result.score, expected.score.numpy(), atol=1e-4)


@pytest.mark.parametrize("row", [0, 48])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_descriptors_are_refused(side, row, bad):
    arrays = list(problem((49, 49, 128)))
    arrays[side] = arrays[side].copy()
    arrays[side][..., row, 100] = bad
    with np.errstate(invalid="ignore"), pytest.raises(TransportError, match="finite"):
        structural_similarity(*arrays, "uniform", backend="numba")


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("bad", [[9], [-1], [[0]]])
def test_pairs_are_indices(backend, bad):
    query, database, query_global, database_global = problem((49, 20, 128), candidates=9)
    sources = query[None], database, query_global[None], database_global
    for pairs in (([0], bad), (bad, [0])):
        with pytest.raises(TransportError, match="indices"):
            structural_similarity_pairs(*sources, pairs, backend=backend)
    with pytest.raises(TransportError, match="2 queries and 1 images"):
        structural_similarity_pairs(*sources, ([0, 0], [1]), backend=backend)
    assert structural_similarity_pairs(*sources, ([], []), backend=backend).score.shape == (0,)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_pairs_in_any_order(threads):
    """Mixed queries, one with more pairs than a task holds, one without pairs; float16 on both sides."""
    rng = np.random.default_rng(1)
    patches, globals_ = (unit(rng.normal(size=shape) + 0.3).astype("f4") for shape in ((6, 49, 128), (6, 128)))
    images_, images_globals = (unit(rng.normal(size=shape) + 0.3).astype("f4") for shape in ((9, 30, 128), (9, 128)))
    queries, others = np.append(np.full(150, 4), rng.choice([0, 1, 3, 5], 60)), rng.integers(0, 9, 210)
    order = rng.permutation(210)
    arrays = patches.astype("f2"), images_.astype("f2"), globals_, images_globals
    found = structural_similarity_pairs(
        *arrays, (queries[order], others[order]), threads=threads, backend="numba"
    ).score
    for query in range(6):
        own = others[order][queries[order] == query]
        if len(own):
            images = images_[own].astype("f2"), globals_[query], images_globals[own]
            alone = structural_similarity(patches[query].astype("f2"), *images, threads=1, backend="numba").score
            np.testing.assert_array_equal(found[queries[order] == query], alone)


def test_callers_threads_share_the_workers():
    arrays = problem((49, 49, 128), candidates=60)
    expected = structural_similarity(*arrays, threads=1).score
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda threads: structural_similarity(*arrays, threads=threads), [2, 3, 2, 1] * 4):
            np.testing.assert_array_equal(result.score, expected)


def test_an_exception_of_a_worker_is_raised_after_all_are_done():
    done = []

    def work(k: int) -> None:
        if k == 2:
            raise ValueError("two")
        done.append(k)

    with pytest.raises(ValueError, match="two"):
        run_in_threads(work, 4)
    assert sorted(done) == [0, 1, 3]


def test_the_digest_of_the_compiled_code_covers_its_files(tmp_path, monkeypatch):
    """Numba's cache checks one file of a function; this digest covers the others."""
    folder = Path(compiling.__file__).parent
    copies = [Path(shutil.copy(path, tmp_path)) for path in folder.glob("*.py")]
    assert {"solver.py", "fused.py", "kernels.py", "products.py", "simd.py"} <= {path.name for path in copies}
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "compiling.py"))
    assert compiling.digest_sources() == compiling.SOURCES
    for path in copies:
        path.write_text(path.read_text() + "\n")
        assert compiling.digest_sources() != compiling.SOURCES
        path.write_text(path.read_text()[:-1])


def test_memory_maps_and_arrays_share_the_compiled_code():
    """Without this, numba compiles twice, for read-only arrays and for others: half a minute more for a user."""
    arrays = problem((9, 9, 16), half=True)
    fixed = [array.copy() for array in arrays]
    for array in fixed:
        array.flags.writeable = False
    found = [structural_similarity(*images, backend="numba").score for images in (arrays, fixed)]
    np.testing.assert_array_equal(*found)
    assert len(fused.score_tasks.signatures) == 1


def test_one_process_compiles_and_logs_it(tmp_path, caplog):
    caplog.set_level("INFO", "vpr")

    class Function:
        signatures, py_func = (), problem
        stats = SimpleNamespace(cache_path=str(tmp_path))

    with compiling.compile_once(Function):
        assert (tmp_path / ".compiling.lock").exists()
    assert "compiling the optimal transport for this processor, once" in caplog.text
    caplog.clear()
    with compiling.compile_once(Function):
        assert not caplog.text


def test_the_number_of_threads_is_that_of_the_largest_call():
    team = Workers()
    for count in (2, 4, 3, 4):
        assert team.grow_to(count) is team.jobs
    assert team.count == 4
