"""Chooses a backend, and calls it with arrays of the kind that it takes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from vpr.transport.arrays import (
    AnyArray,
    Array,
    is_on_cuda,
    needs_gradient,
    repeat_rows,
    to_cuda,
    to_kind_of,
    to_numpy,
    to_tensor,
)
from vpr.transport.errors import TransportError
from vpr.transport.marginals import check_marginals
from vpr.transport.problem import (
    Solver,
    SolverOptions,
    Transport,
    TransportResult,
    check_result,
    check_similarity,
    choose_transport,
    convert_result,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

BACKENDS = ("reference", "torch", "numba", "triton")
MODULES = {
    "reference": "vpr.transport.reference",
    "torch": "vpr.transport.torch_backend",
    "numba": "vpr.transport.cpu.backend",
    "triton": "vpr.transport.cuda.backend",
}
PACKAGES = {"torch": "torch", "numba": "numba"}
CONVERTERS = {"reference": to_numpy, "torch": to_tensor, "numba": to_numpy, "triton": to_cuda}  # to their arrays
log = logging.getLogger("vpr.transport")


def available_backends() -> tuple[str, ...]:
    """Names of the backends that this machine can run; triton needs CUDA or TRITON_INTERPRET=1."""
    return tuple(name for name in BACKENDS if is_available(name))


@cache
def is_available(name: str) -> bool:
    """Whether this machine can run a backend. Imports the package of the backend only for triton."""
    if name == "triton":
        if importlib.util.find_spec("triton") is None or importlib.util.find_spec("torch") is None:
            return False
        return bool(importlib.import_module(MODULES[name]).can_run())
    return name == "reference" or importlib.util.find_spec(PACKAGES[name]) is not None


def choose_backend(backend: str, *, on_cuda: bool, gradient: bool) -> str:
    """The named backend; for "auto" the fastest that fits.

    Gradients need torch. CUDA tensors go to triton if it can run and agrees with torch at its first use, otherwise
    to torch. All else goes to numba, or to torch without numba. Each automatic choice is logged once (logger
    ``vpr.transport``); ``TransportResult.backend`` names it.

    Raises:
        TransportError: the backend is unknown or cannot run here.
    """
    if backend != "auto":
        if backend not in BACKENDS:
            raise TransportError(f"backend is '{backend}'; choose auto or one of {', '.join(BACKENDS)}")
        if not is_available(backend):
            raise TransportError(f"backend '{backend}' cannot run here; available: {', '.join(available_backends())}")
        return backend
    if gradient:
        choice, reason = "torch", "gradients are needed"
    elif on_cuda:
        choice = "triton" if is_available("triton") and kernels_agree("cuda") else "torch"
        reason = "descriptors are on CUDA"
    else:
        choice = "numba" if is_available("numba") else "torch"
        reason = "arrays are on the CPU"
    log_choice(choice, reason)
    return choice


def kernels_agree(device: str) -> bool:
    """Whether the Triton kernels agree with torch on a device; tested at their first use in a process."""
    return bool(importlib.import_module("vpr.transport.cuda.trial").kernels_agree(device))


@cache
def log_choice(choice: str, reason: str) -> None:
    """Log a choice the first time it is made."""
    log.info("transport backend: %s (%s)", choice, reason)


def convert_for(backend: str, array: AnyArray) -> Any:
    """An array of the kind that a backend takes, on the device where it computes."""
    return CONVERTERS[backend](array)


def solve_by(
    backend: str, similarity: Array, mu: Array, nu: Array, transport: Transport, solver: Solver
) -> TransportResult[Array]:
    """Call a backend and return arrays of the kind of ``similarity``.

    Args:
        backend: one of BACKENDS.
        similarity: (N, P, Q), numpy or torch.
        mu: query marginals (N, P).
        nu: database marginals (N, Q).
        transport: epsilon and mass; its marginals are not read.
        solver: tolerance, iterations, and whether the plans are wanted.
    """
    arrays = (convert_for(backend, array) for array in (similarity, mu, nu))
    result = importlib.import_module(MODULES[backend]).solve(*arrays, transport, solver)
    return convert_result(result, lambda array: to_kind_of(similarity, array))


def solve(
    similarity: Array,
    query_marginals: Array,
    database_marginals: Array,
    *,
    epsilon: float | None = None,
    mass: float | None = None,
    transport: Transport | None = None,
    **options: Unpack[SolverOptions],
) -> TransportResult[Array]:
    r"""Entropic optimal transport between the patches of N pairs of images.

    .. math::
        \min_T \; \langle 1 - S, T \rangle - \epsilon H(T) \quad \text{s.t.} \quad
        T 1 = \mu, \; T^\top 1 = \nu, \; T \ge 0

    and for mass m < 1 (entropic partial Wasserstein): :math:`T 1 \le \mu`, :math:`T^\top 1 \le \nu`,
    :math:`1^\top T 1 = m`. H(T) = -sum T (log T - 1); the score is <S, T>.

    Args:
        similarity: (N, P, Q) cosine similarities, numpy or torch.
        query_marginals: (N, P) or (P,), non-negative, of sum 1.
        database_marginals: (N, Q) or (Q,), non-negative, of sum 1.
        epsilon: entropic regularisation, in units of cosine, at least 0.001; 0.05 by default.
        mass: transported mass, in (0, 1]; 1 by default.
        transport: epsilon and mass as one value, instead of these two; its marginals are not read.
        **options: ``backend``, ``plan``, ``threads``, ``tolerance`` and ``max_iterations``; see ``SolverOptions``.
            Tolerance 0 runs exactly ``max_iterations`` plain iterations, as training does; the backend torch
            keeps all of them in the graph.

    Returns:
        TransportResult with arrays of the kind of ``similarity``.

    Raises:
        TransportError: (a VprError and a ValueError) a parameter, a shape or a value is invalid.

    Example:
        >>> import numpy as np
        >>> result = solve(np.eye(2)[None], np.full(2, 0.5), np.full(2, 0.5))
        >>> result.score.round(4).tolist()
        [1.0]

    References:
        Cuturi, "Sinkhorn distances", NeurIPS 2013.
        Benamou et al., "Iterative Bregman projections for regularized transportation problems", 2015.
    """
    problem = choose_transport(transport, epsilon=epsilon, mass=mass)
    wanted_backend = options.pop("backend", "auto")
    solver = Solver.from_options(**options)
    check_similarity(similarity.shape)
    pairs, queries, candidates = similarity.shape
    mu, nu = repeat_rows(query_marginals, pairs), repeat_rows(database_marginals, pairs)
    check_marginals("query marginals", mu, (pairs, queries))
    check_marginals("database marginals", nu, (pairs, candidates))
    mu, nu = mu / mu.sum(-1)[:, None], nu / nu.sum(-1)[:, None]
    gradient = needs_gradient(similarity, mu, nu)
    backend = choose_backend(wanted_backend, on_cuda=is_on_cuda(similarity), gradient=gradient)
    result = solve_by(backend, similarity, mu, nu, problem, solver)
    check_result(result, solver)
    return result
