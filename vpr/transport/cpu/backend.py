"""Entropic transport on the CPU: compiled kernels, candidates shared among threads."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit

from vpr.transport.cpu.compiling import ENTRY, SOURCES, compiling_alone
from vpr.transport.cpu.layout import whole_columns
from vpr.transport.cpu.simd import LANES
from vpr.transport.cpu.solver import pair_memory, solve_pairs
from vpr.transport.cpu.threads import arena, in_threads, thread_count
from vpr.transport.problem import TOO_WIDE, Settings, TransportResult


def split(total: int, parts: int) -> list[slice]:
    """``parts`` contiguous slices of nearly equal length; empty ones are left out."""
    edges = [total * k // parts for k in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges) if b > a]


def compiled_settings(settings: Settings) -> tuple[np.float32, np.float32, np.float32, int]:
    """What the compiled functions take: epsilon, mass, tolerance, max_iterations."""
    return (
        np.float32(settings.epsilon), np.float32(settings.mass),
        np.float32(settings.tolerance), settings.max_iterations,
    )  # fmt: skip


def empty_result(shape: tuple[int, ...], plan: bool) -> TransportResult:
    """Arrays of zeros for the result of N pairs of ``shape`` (N, P, Q); the plans have no rows when none are wanted."""
    pairs = shape[0]
    return TransportResult(
        score=np.zeros(pairs, np.float32),
        iterations=np.zeros(pairs, np.int64),
        marginal_error=np.zeros(pairs, np.float32),
        plan=np.zeros(shape if plan else (0, *shape[1:]), np.float32),
        backend="numba",
    )


def entry(sources: str) -> Any:
    """The compiled function that ``solve`` calls; ``sources`` is the digest of the files that it is made of."""

    @njit(**ENTRY)
    def solve_part(similarity, mu, nu, settings, outputs, memory):
        sources  # noqa: B018  makes the digest part of the cache's key
        solve_pairs(similarity, mu, nu, settings, outputs, memory)

    return solve_part


solve_part = entry(SOURCES)


def two_parts(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarities (R, Q) as the two parts (wholes, singles) that ``solve_pairs`` takes."""
    whole = whole_columns(rows.shape[1])
    wholes = np.pad(rows[:, :whole], ((0, 0), (0, max(0, whole - rows.shape[1]))))
    return wholes, np.pad(rows[:, whole:].T, ((0, 0), (0, LANES)))


def solve(similarity: np.ndarray, mu: np.ndarray, nu: np.ndarray, settings: Settings) -> TransportResult:
    """Solve (N, P, Q) problems in float32; arguments as in ``vpr.transport.solve``."""
    similarity, mu, nu = (np.ascontiguousarray(array, dtype=np.float32) for array in (similarity, mu, nu))
    result = empty_result(similarity.shape, settings.plan)
    values = compiled_settings(settings)
    parts = split(len(similarity), thread_count(settings, similarity.size))

    def work(k: int) -> None:
        part = parts[k]
        rows = similarity[part].reshape(-1, similarity.shape[2])
        outputs = *(array[part] for array in result[:3]), result.plan[part] if settings.plan else result.plan
        memory = arena.take(pair_memory(*similarity.shape[1:]))
        solve_part(two_parts(rows), mu[part], nu[part], values, outputs, memory)

    if parts:
        with compiling_alone(solve_part):
            in_threads(work, len(parts))
    finish_wide(result, settings, lambda wide: (similarity[wide], mu[wide], nu[wide]))
    return result if settings.plan else result._replace(plan=None)


def finish_wide(
    result: TransportResult, settings: Settings, problem: Callable[[np.ndarray], tuple[np.ndarray, ...]]
) -> None:
    """Solve in the log domain the pairs that the kernels left as TOO_WIDE, by torch in float64.

    ``problem(indices)`` gives their similarities and marginals, laid out as the result's plan.
    """
    wide = np.flatnonzero(result.iterations == TOO_WIDE)
    if len(wide) == 0:
        return
    import torch

    from vpr.transport import torch_backend

    arrays = (torch.from_numpy(np.asarray(array, dtype=np.float64)) for array in problem(wide))
    solved = torch_backend.solve(*arrays, settings)
    for ours, theirs in zip(result[:4], solved[:4]):
        if theirs is not None:
            ours[wide] = theirs.numpy()
