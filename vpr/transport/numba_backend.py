"""Entropic transport on the CPU: compiled kernels, candidates shared among threads."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vpr.transport.numba_kernels import TOO_WIDE, solve_pairs
from vpr.transport.problem import Settings, TransportResult

SERIAL_ENTRIES = 50_000  # similarities below which a second thread does not pay


def thread_count(settings: Settings, entries: int) -> int:
    """Threads for so many similarities: those asked for, else the CPUs that this process may run on."""
    if entries < SERIAL_ENTRIES:
        return 1
    if settings.threads is not None:
        return settings.threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def split(total: int, parts: int) -> list[slice]:
    """``parts`` contiguous slices of nearly equal length; empty ones are left out."""
    edges = [total * k // parts for k in range(parts + 1)]
    return [slice(a, b) for a, b in zip(edges, edges[1:]) if b > a]


def in_threads(work, slices: list[slice]) -> None:
    """Call ``work(slice)`` for each slice in parallel, the first of them in the calling thread."""
    if len(slices) < 2:
        for part in slices:
            work(part)
        return
    with ThreadPoolExecutor(len(slices) - 1) as pool:
        others = [pool.submit(work, part) for part in slices[1:]]
        work(slices[0])
        for other in others:
            other.result()


def compiled_settings(settings: Settings):
    """The tuple that the compiled functions take."""
    return (
        np.float32(settings.epsilon), np.float32(settings.mass),
        np.float32(settings.tolerance), settings.max_iterations,
    )  # fmt: skip


def empty_result(shape, plan: bool) -> TransportResult:
    """Output arrays for N pairs (N, P, Q); without a plan its array has no rows."""
    pairs = shape[0]
    return TransportResult(
        score=np.zeros(pairs, np.float32),
        iterations=np.zeros(pairs, np.int64),
        marginal_error=np.zeros(pairs, np.float32),
        plan=np.zeros(shape if plan else (0, *shape[1:]), np.float32),
        backend="numba",
    )


def solve(similarity, mu, nu, settings: Settings) -> TransportResult:
    """Solve (N, P, Q) problems in float32; arguments as in ``vpr.transport.solve``."""
    similarity, mu, nu = (np.ascontiguousarray(array, dtype=np.float32) for array in (similarity, mu, nu))
    result = empty_result(similarity.shape, settings.plan)
    values = compiled_settings(settings)

    def work(part: slice) -> None:
        plan = result.plan[part] if settings.plan else result.plan
        solve_pairs(
            similarity[part], mu[part], nu[part], values,
            result.score[part], result.iterations[part], result.marginal_error[part], plan,
        )  # fmt: skip

    in_threads(work, split(len(similarity), thread_count(settings, similarity.size)))
    finish_wide(result, settings, lambda wide: (similarity[wide], mu[wide], nu[wide]))
    return result if settings.plan else result._replace(plan=None)


def finish_wide(result: TransportResult, settings: Settings, problem) -> None:
    """Solve the pairs that the kernels left as too wide for float32 on logarithms, by torch in float64.

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
