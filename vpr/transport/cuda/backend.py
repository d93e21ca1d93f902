"""Entropic transport on CUDA: launches the fused kernels. Without a GPU, Triton's interpreter can run them."""

import os
from collections.abc import Callable

import torch
from torch import Tensor

from vpr.transport import torch_backend
from vpr.transport.errors import TransportError
from vpr.transport.marginals import CODES, GIVEN, marginal_weights
from vpr.transport.problem import Images, Solver, Transport, TransportResult

REGISTER_ENTRIES = 128 * 128  # most padded similarities of a pair that stays in registers
CHANNEL_BLOCK = 32  # channels of a step of the products; 64 need more registers than there are
ROW_BLOCK = 32  # rows of a tile of the kernel in scratch
PAIRS_AT_ONCE = 4096  # whose learnt marginals are computed at a time
TILED_WARPS = 16  # with 128 registers a thread, one program fills a multiprocessor


def can_run() -> bool:
    """Whether the kernels can run: on a CUDA device, or in the interpreter with TRITON_INTERPRET=1."""
    return torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"


def block_size(count: int) -> int:
    """Smallest power of two that is at least ``count``, and at least 16, the least that matrix instructions take."""
    return max(16, 1 << (count - 1).bit_length())


def warp_count(entries: int) -> int:
    """Warps of a program for a number of similarities, so that a thread holds about 32 of them."""
    return min(16, max(1, entries // 1024))


def kernel_scalars(transport: Transport, solver: Solver) -> tuple[float, float, float, int]:
    """The scalars that the kernels take: epsilon, mass, tolerance, max_iterations."""
    return transport.epsilon, transport.mass, solver.tolerance, solver.max_iterations


def empty_result(pairs: int, shape: tuple[int, int], device: torch.device, plan: bool) -> TransportResult[Tensor]:
    """Tensors for the result of N pairs of ``shape`` (P, Q); without ``plan`` the plan is (1,)."""
    return TransportResult(
        score=torch.full((pairs,), float("nan"), device=device),
        iterations=torch.zeros(pairs, dtype=torch.int64, device=device),
        marginal_error=torch.zeros(pairs, device=device),
        plan=torch.empty((pairs, *shape) if plan else (1,), device=device),
        backend="triton",
    )


def solve_wide_pairs(
    result: TransportResult[Tensor],
    transport: Transport,
    solver: Solver,
    problem: Callable[[Tensor], tuple[Tensor, ...]],
) -> TransportResult[Tensor]:
    """Solve in the log domain the pairs that the kernels marked as TOO_WIDE; ``problem(indices)`` returns them."""
    wide = (result.iterations < 0).nonzero()[:, 0]
    if len(wide):
        solved = torch_backend.solve(*(array.double() for array in problem(wide)), transport, solver)
        for target, source in zip(result[:4], solved[:4]):
            if source is not None:
                target[wide] = source.to(target.dtype)
    return result if solver.plan else result._replace(plan=None)


def solve(similarity: Tensor, mu: Tensor, nu: Tensor, transport: Transport, solver: Solver) -> TransportResult[Tensor]:
    """Solve (N, P, Q) problems; if the padded size does not fit into registers, the torch backend solves them.

    Arguments as in ``vpr.transport.solve``.
    """
    from vpr.transport.cuda.kernels import pair_kernel

    pairs, queries, candidates = similarity.shape
    entries = block_size(queries) * block_size(candidates)
    if entries > REGISTER_ENTRIES or pairs == 0:
        return torch_backend.solve(similarity, mu, nu, transport, solver)._replace(backend="triton")
    similarity, mu, nu = (array.float().contiguous() for array in (similarity, mu, nu))
    result = empty_result(pairs, (queries, candidates), similarity.device, solver.plan)
    pair_kernel[(pairs,)](
        similarity, similarity, similarity, similarity, result.iterations, result.iterations,
        similarity, mu, nu, result.score, result.iterations, result.marginal_error, result.plan,
        queries, candidates, 1, *kernel_scalars(transport, solver),
        KIND=GIVEN, FROM_PATCHES=False, PARTIAL=transport.mass < 1, PLAN=solver.plan,
        BP=block_size(queries), BQ=block_size(candidates), BC=16, num_warps=warp_count(entries),
    )  # fmt: skip
    return solve_wide_pairs(result, transport, solver, lambda wide: (similarity[wide], mu[wide], nu[wide]))


def score_candidates(
    images: Images[Tensor],
    weights: tuple[Tensor, Tensor] | None,
    transport: Transport,
    solver: Solver,
) -> TransportResult[Tensor]:
    """Scores of one query (P, C) against N database images (N, Q, C); see ``score_pairs``."""
    query, database, query_global, database_global = images
    pairs = torch.arange(len(database), device=database.device)
    one = Images(query[None], database, query_global[None], database_global)
    return score_pairs(one, (torch.zeros_like(pairs), pairs), weights, transport, solver)


def score_pairs(
    images: Images[Tensor],
    pairs: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor] | None,
    transport: Transport,
    solver: Solver,
) -> TransportResult[Tensor]:
    """Scores of N pairs of images out of two sets.

    Args:
        images: query patches (B, P, C), database patches (M, Q, C), query globals (B, C), database globals (M, C).
        pairs: query (N,) and database image (N,) of each pair. Neighbouring pairs of a query share its patches in L2.
        weights: marginals (query (N, P), database (N, Q)) in place of those of ``transport``, or None. For learnt
            marginals the weights that they are made from.
        transport: the problem.
        solver: tolerance, iterations, and whether the plans are wanted.

    Raises:
        TransportError: the grids do not fit into registers, and the mass is less than 1 or the plan is wanted.
    """
    images = Images(*(array.contiguous() for array in images))
    kinds = {images.query_patches.dtype, images.database_patches.dtype}
    common = kinds.pop() if len(kinds) == 1 else torch.float32
    query, database = images.query_patches.to(common), images.database_patches.to(common)
    images = images._replace(query_patches=query, database_patches=database)
    grids = query.shape[1], database.shape[1]
    result = empty_result(len(pairs[0]), grids, database.device, solver.plan)
    if len(pairs[0]) == 0:
        return result if solver.plan else result._replace(plan=None)
    if weights and transport.marginals == "learnt":
        weights = learnt_marginals(images, pairs, weights)
    mu, nu = (side.float().contiguous() for side in weights) if weights else (result.score, result.score)
    code = GIVEN if weights else CODES[transport.marginals]
    if block_size(grids[0]) * block_size(grids[1]) <= REGISTER_ENTRIES:
        launch_pairs(images, pairs, (mu, nu), result, code, transport, solver)
    elif transport.mass == 1.0 and not solver.plan:
        launch_tiled(images, pairs, (mu, nu), result, code, transport, solver)
    else:
        raise TransportError(
            f"grids of {grids[0]} and {grids[1]} patches need mass 1 and no plan on triton; pass backend='torch'"
        )

    def problem(wide: Tensor) -> tuple[Tensor, ...]:
        first, second = pairs[0][wide], pairs[1][wide]
        own, other = query[first], database[second]
        similarity = own.float() @ other.float().mT
        if weights:
            return similarity, mu[wide], nu[wide]
        descriptors = images.query_global[first], images.database_global[second]
        return similarity, *marginal_weights(transport.marginals, own, other, *descriptors)

    return solve_wide_pairs(result, transport, solver, problem)


def learnt_marginals(
    images: Images[Tensor], pairs: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Learnt marginals (N, P) and (N, Q), some pairs at a time; arguments as in ``score_pairs``."""
    parts = []
    for own, other, *some in zip(*(side.split(PAIRS_AT_ONCE) for side in (*pairs, *weights))):
        chosen = images.query_patches[own], images.database_patches[other]
        guides = images.query_global[own], images.database_global[other]
        parts.append(marginal_weights("learnt", *chosen, *guides, (some[0].float(), some[1].float())))
    mu, nu = zip(*parts)
    return torch.cat(mu), torch.cat(nu)


def launch_pairs(
    images: Images[Tensor],
    pairs: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
    result: TransportResult[Tensor],
    code: int,
    transport: Transport,
    solver: Solver,
) -> None:
    """Fill the result by one program for each pair, with K in registers; ``code`` is that of the marginals."""
    from vpr.transport.cuda.kernels import pair_kernel

    (_, queries, channels), candidates = images.query_patches.shape, images.database_patches.shape[1]
    rows, columns = block_size(queries), block_size(candidates)
    pair_kernel[(len(result.score),)](
        *images, *pairs, result.score, *weights,
        result.score, result.iterations, result.marginal_error, result.plan,
        queries, candidates, channels, *kernel_scalars(transport, solver),
        KIND=code, FROM_PATCHES=True, PARTIAL=transport.mass < 1, PLAN=solver.plan,
        BP=rows, BQ=columns, BC=min(CHANNEL_BLOCK, block_size(channels)), num_warps=warp_count(rows * columns),
    )  # fmt: skip


def launch_tiled(
    images: Images[Tensor],
    pairs: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
    result: TransportResult[Tensor],
    code: int,
    transport: Transport,
    solver: Solver,
) -> None:
    """Fill the result by one program for each multiprocessor, each with a scratch for K, which stays in L2."""
    from vpr.transport.cuda.tiled import tiled_kernel

    (_, queries, channels), candidates = images.query_patches.shape, images.database_patches.shape[1]
    device, columns = images.query_patches.device, block_size(candidates)
    processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    programs = min(len(result.score), processors)
    epsilon, _, tolerance, max_iterations = kernel_scalars(transport, solver)
    tiled_kernel[(programs,)](
        *images, *pairs, *weights, result.score, result.iterations, result.marginal_error,
        torch.empty((programs, queries, columns), device=device), torch.empty((programs, 2, queries), device=device),
        len(result.score), queries, candidates, channels, epsilon, tolerance, max_iterations,
        KIND=code, BR=ROW_BLOCK, BQ=columns, BC=min(CHANNEL_BLOCK, block_size(channels)), num_warps=TILED_WARPS,
    )  # fmt: skip
