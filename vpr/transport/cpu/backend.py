"""Entropic transport on the CPU: compiled kernels, pairs shared among threads."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit

from vpr.transport.cpu.compiling import ENTRY, SOURCES, compile_once
from vpr.transport.cpu.layout import whole_columns
from vpr.transport.cpu.simd import LANES
from vpr.transport.cpu.solver import pair_memory_size, solve_pairs
from vpr.transport.cpu.threads import arena, run_in_threads, thread_count
from vpr.transport.problem import TOO_WIDE, Solver, Transport, TransportResult


def split_evenly(total: int, parts: int) -> list[slice]:
    """``parts`` contiguous slices of nearly equal length, without empty ones."""
    edges = [total * k // parts for k in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges) if b > a]


def kernel_scalars(transport: Transport, solver: Solver) -> tuple[np.float32, np.float32, np.float32, int]:
    """The scalars that the compiled functions take: epsilon, mass, tolerance, max_iterations."""
    return (
        np.float32(transport.epsilon), np.float32(transport.mass),
        np.float32(solver.tolerance), solver.max_iterations,
    )  # fmt: skip


def empty_result(shape: tuple[int, ...], plan: bool, memory: np.ndarray | None = None) -> TransportResult[np.ndarray]:
    """Arrays for the result of N pairs of ``shape`` (N, P, Q); without ``plan`` the plans have no rows.

    memory: float32 numbers to write the plans into, at least N * P * Q; None takes new memory.
    """
    pairs = shape[0]
    if memory is None:
        plans = np.zeros(shape if plan else (0, *shape[1:]), np.float32)
    else:
        plans = memory[: math.prod(shape)].reshape(shape)
    return TransportResult(
        score=np.zeros(pairs, np.float32),
        iterations=np.zeros(pairs, np.int64),
        marginal_error=np.zeros(pairs, np.float32),
        plan=plans,
        backend="numba",
    )


def make_entry(sources: str) -> Any:
    """The compiled function that ``solve`` calls; ``sources`` is the digest of the files that it is made of."""

    @njit(**ENTRY)
    def solve_part(similarity, mu, nu, scalars, outputs, memory):
        sources  # noqa: B018  makes the digest part of the cache's key
        solve_pairs(similarity, mu, nu, scalars, outputs, memory)

    return solve_part


solve_part = make_entry(SOURCES)


def split_columns(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Similarities (R, Q) as the two parts (wholes, singles) that ``solve_pairs`` takes."""
    whole = whole_columns(rows.shape[1])
    wholes = np.pad(rows[:, :whole], ((0, 0), (0, max(0, whole - rows.shape[1]))))
    return wholes, np.pad(rows[:, whole:].T, ((0, 0), (0, LANES)))


def solve(
    similarity: np.ndarray, mu: np.ndarray, nu: np.ndarray, transport: Transport, solver: Solver
) -> TransportResult[np.ndarray]:
    """Solve (N, P, Q) problems in float32; arguments as in ``vpr.transport.solve``."""
    similarity, mu, nu = (np.ascontiguousarray(array, dtype=np.float32) for array in (similarity, mu, nu))
    result = empty_result(similarity.shape, solver.plan)
    scalars = kernel_scalars(transport, solver)
    parts = split_evenly(len(similarity), thread_count(solver.threads, similarity.size))

    def work(k: int) -> None:
        part = parts[k]
        rows = similarity[part].reshape(-1, similarity.shape[2])
        outputs = *(array[part] for array in result[:3]), result.plan[part] if solver.plan else result.plan
        memory = arena.take(pair_memory_size(*similarity.shape[1:]))
        solve_part(split_columns(rows), mu[part], nu[part], scalars, outputs, memory)

    if parts:
        with compile_once(solve_part):
            run_in_threads(work, len(parts))
    solve_wide_pairs(result, transport, solver, lambda wide: (similarity[wide], mu[wide], nu[wide]))
    return result if solver.plan else result._replace(plan=None)


def solve_wide_pairs(
    result: TransportResult[np.ndarray],
    transport: Transport,
    solver: Solver,
    problem: Callable[[np.ndarray], tuple[np.ndarray, ...]],
) -> None:
    """Solve in the log domain, by torch in float64, the pairs that the kernels marked as TOO_WIDE.

    ``problem(indices)`` returns their similarities and marginals, in the layout of the result's plan.
    """
    wide = np.flatnonzero(result.iterations == TOO_WIDE)
    if len(wide) == 0:
        return
    import torch

    from vpr.transport import torch_backend

    arrays = (torch.from_numpy(np.asarray(array, dtype=np.float64)) for array in problem(wide))
    solved = torch_backend.solve(*arrays, transport, solver)
    for target, source in zip(result[:4], solved[:4]):
        if source is not None:
            target[wide] = source.numpy()
