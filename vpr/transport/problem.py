"""The transport problem, its result, the options of a solver, and the constants of all solvers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Generic

import numpy as np
from typing_extensions import NamedTuple, TypedDict  # those of Python 3.10 cannot be generic

from vpr.transport.arrays import Array, OtherArray
from vpr.transport.errors import TransportError
from vpr.transport.marginals import Marginals, check_name

EPSILON = 0.05  # entropic regularisation, in units of cosine
SMALLEST_EPSILON = 1e-3  # below it Sinkhorn needs too many iterations
BALANCED_WITHIN = 1e-6  # a mass this close to 1 is solved as balanced transport
TOLERANCE = 2e-5  # L1 marginal violation at which a pair stops
MAX_ITERATIONS = 2000  # a pair at epsilon 0.05 needs about 15, a near-duplicate a few hundred
UNSOLVED = 10  # a pair that ran out of iterations is reported if its marginal error is more than this many tolerances

# The over-relaxed iteration of the torch, numba and triton backends; see torch_backend.sinkhorn_to_tolerance.
CHECK_EVERY = 4  # iterations between two checks of the marginals
FIRST_OMEGA = 1.4  # over-relaxation from the second iteration until the contraction is known
LARGEST_OMEGA = 1.95  # largest over-relaxation; the iteration converges below 2 only
SLOWEST_RATE, FASTEST_RATE = 0.999, 1e-6  # bounds on the contraction of one iteration
LARGEST_THETA = 0.9999  # bound on the rate of plain Sinkhorn that follows from it
OMEGA_STEP = 0.1  # at most how much over-relaxation falls at a check, if it was too large
PATIENCE = 64  # iterations without progress after which the bound on over-relaxation falls
CAUTION = 0.7  # the factor by which the bound, less 1, then falls
KEEP = 0.3  # smallest share of the plain step that an over-relaxed step gives
TINY = 1e-30  # smallest divisor, so that nothing is divided by zero
LEVEL_STEP = 1e-6  # numba and triton: the search for the water level ends if it rises by less than this share
COMPILED_SPAN = 40.0  # numba and triton: span of S / epsilon whose exp() and scalings stay inside float32
TOO_WIDE = -1  # numba and triton: the iterations of a pair beyond that span, until torch solves it in the log domain


@dataclass(frozen=True)
class Transport:
    """The transport problem between the patches of two images.

    The plan T minimises <1 - S, T> - epsilon H(T) over the plans of this mass between these marginals. S are the
    cosines of the patches. ``dataclasses.replace`` makes a changed copy.

    Attributes:
        marginals: how much each patch counts; see ``vpr.transport.marginal_weights``. Not read if a function gets
            the marginals themselves.
        epsilon: entropic regularisation, in units of cosine, at least 0.001.
        mass: share of the mass that is transported, in (0, 1]. Less than 1 leaves the worst matches out; within 1e-6
            of 1 it becomes 1.

    Raises:
        TransportError: a value is out of range; the message names the field.

    Example:
        >>> Transport(mass=0.7)
        Transport(marginals='complement', epsilon=0.05, mass=0.7)
    """

    marginals: Marginals = "complement"
    epsilon: float = EPSILON
    mass: float = 1.0

    def __post_init__(self) -> None:
        check_name(self.marginals)
        if not (isinstance(self.epsilon, Real) and math.isfinite(self.epsilon) and self.epsilon >= SMALLEST_EPSILON):
            raise TransportError(f"epsilon is {self.epsilon}; give a finite value of at least {SMALLEST_EPSILON}")
        if not (isinstance(self.mass, Real) and 0 < self.mass <= 1):
            raise TransportError(f"mass is {self.mass}; give a share of the total in (0, 1]")
        if self.mass > 1 - BALANCED_WITHIN:
            object.__setattr__(self, "mass", 1.0)


DEFAULT = Transport()


def choose_transport(
    transport: Transport | None,
    marginals: Marginals | None = None,
    epsilon: float | None = None,
    mass: float | None = None,
) -> Transport:
    """The problem of a public function's arguments: ``transport`` or its fields. None stands for a missing argument.

    Raises:
        TransportError: a value is out of range, or a field differs from ``transport``.
    """
    start = DEFAULT if transport is None else transport
    if marginals is None and epsilon is None and mass is None:
        return start
    result = Transport(
        start.marginals if marginals is None else marginals,
        start.epsilon if epsilon is None else epsilon,
        start.mass if mass is None else mass,
    )
    if transport is not None and result != transport:
        names = [field.name for field in fields(Transport)]
        different = [name for name in names if getattr(result, name) != getattr(transport, name)]
        raise TransportError(f"transport and {', '.join(different)} contradict each other; give only one of them")
    return result


class TransportResult(NamedTuple, Generic[Array]):
    """Entropic transport of N pairs of images; the arrays are numpy or torch, as the arguments were.

    Attributes:
        score: (N,) structural similarity, sum_ij S_ij T_ij (higher is better).
        iterations: (N,) integers, Sinkhorn iterations of each pair.
        marginal_error: (N,) L1 distance of the plan from its constraints. For mass 1,
            ``|T 1 - mu| + |T^T 1 - nu|``; for mass < 1, ``(T 1 - mu)_+ + (T^T 1 - nu)_+ + |sum T - mass|``.
        plan: (N, P, Q) transport plan T; None if the options do not ask for it.
        backend: name of the backend that solved the pairs.
    """

    score: Array
    iterations: Array
    marginal_error: Array
    plan: Array | None
    backend: str


def convert_result(
    result: TransportResult[Array], function: Callable[[Array], OtherArray]
) -> TransportResult[OtherArray]:
    """The result with a function applied to each of its arrays; a missing plan stays None."""
    return TransportResult(
        score=function(result.score),
        iterations=function(result.iterations),
        marginal_error=function(result.marginal_error),
        plan=None if result.plan is None else function(result.plan),
        backend=result.backend,
    )


class Images(NamedTuple, Generic[Array]):
    """Descriptors of queries and of database images, unit vectors of one kind.

    Attributes:
        query_patches: (P, C) of one query, or (B, P, C) of several.
        database_patches: (N, Q, C).
        query_global: (C,) of one query, or (B, C) of several.
        database_global: (N, C).
    """

    query_patches: Array
    database_patches: Array
    query_global: Array
    database_global: Array


class SolverOptions(TypedDict, total=False):
    """Options of every call that solves transport problems; each may be left out.

    Attributes:
        backend: "auto", or one of ``vpr.transport.BACKENDS``.
        plan: whether the result holds the plans.
        threads: CPU threads of the numba backend. None takes every CPU; callers with threads of their own give 1.
        tolerance: L1 marginal violation at which a pair stops. 0 runs exactly ``max_iterations``; None is TOLERANCE.
        max_iterations: bound on the iterations of a pair; ``marginal_error`` shows which pairs reached it.
    """

    backend: str
    plan: bool
    threads: int | None
    tolerance: float | None
    max_iterations: int


@dataclass(frozen=True)
class Solver:
    """How a problem is solved: the options of a call without the backend, with their ranges checked.

    Attributes:
        tolerance: L1 marginal violation at which a pair stops; 0 runs exactly ``max_iterations``.
        max_iterations: bound on the iterations of a pair.
        plan: whether the result holds the plans.
        threads: CPU threads of the numba backend; None takes every CPU that the process may run on.

    Raises:
        TransportError: a value is out of range; the message names the field.
    """

    tolerance: float = TOLERANCE
    max_iterations: int = MAX_ITERATIONS
    plan: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise TransportError(f"tolerance is {self.tolerance}; give 0 (fixed iterations) or more")
        if self.max_iterations < 1:
            raise TransportError(f"max_iterations is {self.max_iterations}; give at least 1")
        if self.threads is not None and self.threads < 1:
            raise TransportError(f"threads is {self.threads}; give at least 1, or None for every CPU")

    @classmethod
    def from_options(cls, **options: Any) -> Solver:
        """The solver of a call's options; a tolerance of None is the default."""
        if options.get("tolerance", 0) is None:
            del options["tolerance"]
        return cls(**options)


def check_similarity(shape: tuple[int, ...]) -> None:
    """Refuse a similarity that is not (N, P, Q) with at least one patch on each side."""
    if len(shape) != 3 or shape[1] < 1 or shape[2] < 1:
        raise TransportError(f"similarity has shape {tuple(shape)}; give (N, P, Q) with P, Q >= 1")


def check_result(result: TransportResult[Array], solver: Solver) -> None:
    """Refuse scores that are not finite, and warn of pairs that ran out of iterations."""
    if not bool((abs(result.score) < np.inf).all()):
        raise TransportError("scores are not finite: a similarity or a descriptor holds NaN or infinity")
    if solver.tolerance == 0 or len(result.score) == 0:
        return
    unsolved = (result.iterations >= solver.max_iterations) & (result.marginal_error > UNSOLVED * solver.tolerance)
    if bool(unsolved.any()):
        warnings.warn(
            f"{int(unsolved.sum())} of {len(unsolved)} pairs stopped at {solver.max_iterations} iterations with "
            f"marginal errors up to {float(result.marginal_error.max()):.1e}; raise max_iterations or epsilon",
            stacklevel=3,
        )
