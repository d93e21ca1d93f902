"""Entropic transport on CUDA: launches the fused kernels; Triton's interpreter can run them where there is no GPU."""

import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vpr.transport import torch_backend
from vpr.transport.marginals import CODES, GIVEN, FromGlobals, marginal_weights
from vpr.transport.problem import Settings, TransportError, TransportResult

REGISTER_ENTRIES = 128 * 128  # a pair of at most so many padded similarities stays in registers
CHANNEL_BLOCK = 32  # channels of a step of the products; with 64 the registers do not suffice
ROW_BLOCK = 32  # rows of a tile of the kernel in scratch
TILED_WARPS = 16  # with 128 registers a thread, one program fills a multiprocessor


def runnable() -> bool:
    """Whether the kernels can run: on a CUDA device, or interpreted when TRITON_INTERPRET=1."""
    return torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"


def block(count: int) -> int:
    """Smallest power of two that is at least ``count``, and at least 16, the least that matrix instructions take."""
    return max(16, 1 << (count - 1).bit_length())


def warps(entries: int) -> int:
    """Warps of a program for so many similarities, so that a thread holds about 32 of them."""
    return min(16, max(1, entries // 1024))


def outputs(pairs: int, shape: tuple[int, int], device: torch.device, plan: bool) -> TransportResult:
    """Tensors for the result of N pairs of ``shape`` (P, Q); the plan is (1,) when none is wanted."""
    return TransportResult(
        score=torch.full((pairs,), float("nan"), device=device),
        iterations=torch.zeros(pairs, dtype=torch.int64, device=device),
        marginal_error=torch.zeros(pairs, device=device),
        plan=torch.empty((pairs, *shape) if plan else (1,), device=device),
        backend="triton",
    )


def finish_wide(
    result: TransportResult, settings: Settings, problem: Callable[[Tensor], tuple[Tensor, ...]]
) -> TransportResult:
    """Solve in the log domain the pairs that the kernels left as TOO_WIDE; ``problem(indices)`` gives them."""
    wide = (result.iterations < 0).nonzero()[:, 0]
    if len(wide):
        solved = torch_backend.solve(*(array.double() for array in problem(wide)), settings)
        for ours, theirs in zip(result[:4], solved[:4]):
            if theirs is not None:
                ours[wide] = theirs.to(ours.dtype)
    return result if settings.plan else result._replace(plan=None)


def solve(similarity: Tensor, mu: Tensor, nu: Tensor, settings: Settings) -> TransportResult:
    """Solve (N, P, Q) problems; those whose padded size does not fit into registers go to the torch backend.

    Arguments as in ``vpr.transport.solve``.
    """
    from vpr.transport.cuda.kernels import pair_kernel

    pairs, queries, candidates = similarity.shape
    entries = block(queries) * block(candidates)
    if entries > REGISTER_ENTRIES or pairs == 0:
        return torch_backend.solve(similarity, mu, nu, settings)._replace(backend="triton")
    similarity, mu, nu = (array.float().contiguous() for array in (similarity, mu, nu))
    result = outputs(pairs, (queries, candidates), similarity.device, settings.plan)
    pair_kernel[(pairs,)](
        similarity, similarity, similarity, similarity, result.iterations, result.iterations,
        similarity, mu, nu, result.score, result.iterations, result.marginal_error, result.plan,
        queries, candidates, 1, *parameters(settings),
        KIND=GIVEN, FROM_PATCHES=False, PARTIAL=settings.mass < 1, PLAN=settings.plan,
        BP=block(queries), BQ=block(candidates), BC=16, num_warps=warps(entries),
    )  # fmt: skip
    return finish_wide(result, settings, lambda wide: (similarity[wide], mu[wide], nu[wide]))


def parameters(settings: Settings) -> tuple[float, float, float, int]:
    """The scalars that the kernels take: epsilon, mass, tolerance, max_iterations."""
    return settings.epsilon, settings.mass, settings.tolerance, settings.max_iterations


def structural(
    query_patches: Tensor,
    database_patches: Tensor,
    query_global: Tensor,
    database_global: Tensor,
    kind: FromGlobals | None,
    weights: tuple[Tensor, Tensor] | None,
    settings: Settings,
) -> TransportResult:
    """Scores of one query (P, C) against N database images (N, Q, C); see ``structural_pairs``."""
    device = database_patches.device
    pairs = torch.arange(len(database_patches), device=device)
    sources = (query_patches[None], database_patches, query_global[None], database_global)
    return structural_pairs(sources, (torch.zeros_like(pairs), pairs), kind, weights, settings)


def structural_pairs(
    sources: Sequence[Tensor],
    indices: tuple[Tensor, Tensor],
    kind: FromGlobals | None,
    weights: tuple[Tensor, Tensor] | None,
    settings: Settings,
) -> TransportResult:
    """Scores of N pairs of images out of two sets.

    Args:
        sources: query patches (B, P, C), database patches (M, Q, C), query globals (B, C), database globals (M, C).
        indices: query (N,) and database image (N,) of each pair; side by side, the pairs of a query share its
            patches in L2.
        kind: marginals, or None when ``weights`` are given.
        weights: marginals (query (N, P), database (N, Q)), or None.
        settings: of the solver.

    Raises:
        TransportError: the grids do not fit into registers, and the mass is less than 1 or the plan is wanted.
    """
    query, database, *globals_ = (source.contiguous() for source in sources)
    common = query.dtype if query.dtype == database.dtype else torch.float32
    query, database = query.to(common), database.to(common)
    shape = query.shape[1], database.shape[1]
    result = outputs(len(indices[0]), shape, database.device, settings.plan)
    if len(indices[0]) == 0:
        return result if settings.plan else result._replace(plan=None)
    mu, nu = (side.float().contiguous() for side in weights) if weights else (result.score, result.score)
    code = GIVEN if weights else CODES[kind]
    arrays = (query, database, *globals_, *indices), (mu, nu), result
    if block(shape[0]) * block(shape[1]) <= REGISTER_ENTRIES:
        launch_pairs(*arrays, code, settings)
    elif settings.mass == 1.0 and not settings.plan:
        launch_tiled(*arrays, code, settings)
    else:
        raise TransportError(
            f"grids of {shape[0]} and {shape[1]} patches need mass 1 and no plan on triton; pass backend='torch'"
        )

    def problem(wide: Tensor) -> tuple[Tensor, ...]:
        similarity = query[indices[0][wide]].float() @ database[indices[1][wide]].float().mT
        if weights:
            return similarity, mu[wide], nu[wide]
        pairs = (query, database, *globals_), (*indices, *indices)
        return similarity, *marginal_weights(kind, *(source[index[wide]] for source, index in zip(*pairs)))

    return finish_wide(result, settings, problem)


def launch_pairs(
    arrays: Sequence[Tensor], weights: Sequence[Tensor], result: TransportResult, code: int, settings: Settings
) -> None:
    """Fill the result by one program for each pair, with K in registers; ``arrays`` are sources, then indices."""
    from vpr.transport.cuda.kernels import pair_kernel

    (_, queries, channels), candidates = arrays[0].shape, arrays[1].shape[1]
    rows, columns = block(queries), block(candidates)
    pair_kernel[(len(result.score),)](
        *arrays, result.score, *weights, result.score, result.iterations, result.marginal_error, result.plan,
        queries, candidates, channels, *parameters(settings),
        KIND=code, FROM_PATCHES=True, PARTIAL=settings.mass < 1, PLAN=settings.plan,
        BP=rows, BQ=columns, BC=min(CHANNEL_BLOCK, block(channels)), num_warps=warps(rows * columns),
    )  # fmt: skip


def launch_tiled(
    arrays: Sequence[Tensor], weights: Sequence[Tensor], result: TransportResult, code: int, settings: Settings
) -> None:
    """Fill the result by one program a multiprocessor, each with a scratch for K, which stays in L2."""
    from vpr.transport.cuda.tiled import tiled_kernel

    (_, queries, channels), candidates = arrays[0].shape, arrays[1].shape[1]
    device, columns = arrays[0].device, block(candidates)
    processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    programs = min(len(result.score), processors)
    epsilon, _, tolerance, max_iterations = parameters(settings)
    tiled_kernel[(programs,)](
        *arrays, *weights, result.score, result.iterations, result.marginal_error,
        torch.empty((programs, queries, columns), device=device), torch.empty((programs, 2, queries), device=device),
        len(result.score), queries, candidates, channels, epsilon, tolerance, max_iterations,
        KIND=code, BR=ROW_BLOCK, BQ=columns, BC=min(CHANNEL_BLOCK, block(channels)), num_warps=TILED_WARPS,
    )  # fmt: skip
