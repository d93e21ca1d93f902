"""One way into every backend: checks, the choice of a backend, conversion of arrays."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from vpr.transport.marginals import spread
from vpr.transport.problem import (
    EPSILON,
    Array,
    Settings,
    SolverOptions,
    TransportError,
    TransportResult,
    check_marginals,
    check_result,
    check_similarity,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

BACKENDS = ("reference", "torch", "numba", "triton", "pot")
MODULES = {
    "reference": "vpr.transport.reference",
    "torch": "vpr.transport.torch_backend",
    "numba": "vpr.transport.cpu.backend",
    "triton": "vpr.transport.cuda.backend",
    "pot": "vpr.transport.pot_backend",
}
PACKAGES = {"torch": "torch", "numba": "numba", "pot": "ot"}
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
        return importlib.import_module(MODULES[name]).runnable()
    return name == "reference" or importlib.util.find_spec(PACKAGES[name]) is not None


def choose(backend: str, *, on_cuda: bool, needs_gradient: bool) -> str:
    """The backend to use: the one asked for, or for "auto" the fastest that fits.

    Gradients need torch. CUDA tensors go to triton where it can run and agrees with torch at its first use, otherwise
    to torch. All else goes to numba, or to torch without numba. Each automatic choice is logged once (logger
    ``vpr.transport``) and stands in ``TransportResult.backend``.

    Raises:
        TransportError: the backend is unknown or cannot run here.
    """
    if backend != "auto":
        if backend not in BACKENDS:
            raise TransportError(f"backend is '{backend}'; choose auto or one of {', '.join(BACKENDS)}")
        if not is_available(backend):
            raise TransportError(f"backend '{backend}' cannot run here; available: {', '.join(available_backends())}")
        return backend
    if needs_gradient:
        choice, reason = "torch", "gradients are wanted"
    elif on_cuda:
        choice = "triton" if is_available("triton") and on_trial("cuda") else "torch"
        reason = "descriptors are on CUDA"
    else:
        choice = "numba" if is_available("numba") else "torch"
        reason = "arrays are on the CPU"
    announce(choice, reason)
    return choice


def on_trial(device: str) -> bool:
    """Whether the Triton kernels give on this device what torch gives, as found at their first use in a process."""
    return importlib.import_module("vpr.transport.cuda.trial").agrees(device)


@cache
def announce(choice: str, reason: str) -> None:
    """Log a choice the first time it is made."""
    log.info("transport backend: %s (%s)", choice, reason)


def is_torch(array: Array) -> bool:
    """Whether an array is a torch tensor. Does not import torch, so that numpy users need not wait for it."""
    return not isinstance(array, np.ndarray) and type(array).__module__.startswith("torch")


def wants_gradient(*arrays: Array) -> bool:
    """Whether torch is recording gradients of any of the tensors."""
    if not any(is_torch(array) and array.requires_grad for array in arrays):
        return False
    return importlib.import_module("torch").is_grad_enabled()


def to_device(array: Array) -> Array:
    """A torch tensor of an array where the Triton kernels run: on the CUDA device, if there is one."""
    torch, tensor = importlib.import_module("torch"), to_tensor(array)
    return tensor.cuda() if torch.cuda.is_available() else tensor


def to_tensor(array: Array) -> Array:
    """A torch tensor of an array. Torch warns of read-only memory (spread marginals), so that is copied."""
    torch = importlib.import_module("torch")
    return torch.as_tensor(array if is_torch(array) or array.flags.writeable else array.copy())


def to_numpy(array: Array) -> np.ndarray:
    """A numpy array of an array, or of a tensor on any device, without its gradient."""
    return array.numpy(force=True) if is_torch(array) else np.asarray(array)


def solve_by(name: str, similarity: Array, mu: Array, nu: Array, settings: Settings) -> TransportResult:
    """Call a backend with arrays of the kind that it takes; return arrays of the kind that was given.

    Args:
        name: one of BACKENDS.
        similarity: (N, P, Q), numpy or torch.
        mu: query marginals (N, P).
        nu: database marginals (N, Q).
        settings: of the solver.
    """
    module, arrays = importlib.import_module(MODULES[name]), (similarity, mu, nu)
    given_torch = is_torch(similarity)
    if name in ("torch", "triton"):
        convert = to_device if name == "triton" and not given_torch else to_tensor
        result = module.solve(*(convert(array) for array in arrays), settings)
        return result if given_torch else result.mapped(to_numpy)
    result = module.solve(*(to_numpy(array) for array in arrays), settings)
    if not given_torch:
        return result
    torch = importlib.import_module("torch")
    return result.mapped(lambda field: torch.from_numpy(field).to(similarity.device))


def solve(
    similarity: Array,
    query_marginals: Array,
    database_marginals: Array,
    *,
    epsilon: float = EPSILON,
    mass: float = 1.0,
    **options: Unpack[SolverOptions],
) -> TransportResult:
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
        epsilon: entropic regularisation, at least 0.001.
        mass: transported mass, in (0, 1].
        **options: ``backend``, ``plan``, ``threads``, ``tolerance`` and ``max_iterations``; see ``SolverOptions``.
            Tolerance 0 runs exactly ``max_iterations`` plain iterations, as training does; the backend torch
            keeps all of them in the graph.

    Returns:
        TransportResult with arrays of the kind of ``similarity``.

    Raises:
        TransportError: (a VprError and a ValueError) a parameter, a shape or a value has no meaning.

    Example:
        >>> import numpy as np
        >>> result = solve(np.eye(2)[None], np.full(2, 0.5), np.full(2, 0.5))
        >>> result.score.round(4).tolist()
        [1.0]

    References:
        Cuturi, "Sinkhorn distances", NeurIPS 2013.
        Benamou et al., "Iterative Bregman projections for regularized transportation problems", 2015.
    """
    backend = options.pop("backend", "auto")
    settings = Settings.of(epsilon, mass, **options)
    check_similarity(similarity.shape)
    pairs, queries, candidates = similarity.shape
    mu, nu = spread(query_marginals, pairs), spread(database_marginals, pairs)
    check_marginals("query marginals", mu, (pairs, queries))
    check_marginals("database marginals", nu, (pairs, candidates))
    mu, nu = mu / mu.sum(-1)[:, None], nu / nu.sum(-1)[:, None]
    gradient = wants_gradient(similarity, mu, nu)
    cuda = is_torch(similarity) and similarity.is_cuda
    name = choose(backend, on_cuda=cuda, needs_gradient=gradient)
    result = solve_by(name, similarity, mu, nu, settings)
    check_result(result, settings)
    return result
