"""The transport problem: its result, its parameters, the solver's constants, and what is refused at the edge."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypedDict

import numpy as np

from vpr.base.errors import VprError

EPSILON = 0.05  # entropic regularisation, in units of cosine
TOLERANCE = 2e-5  # L1 marginal violation at which a pair stops
MAX_ITERATIONS = 2000  # a pair at epsilon 0.05 needs about 15, a near-duplicate a few hundred
SMALLEST_EPSILON = 1e-3  # below it Sinkhorn needs more iterations than anyone would wait for
UNSOLVED = 10  # tolerances of marginal error beyond which a pair out of iterations is reported
BALANCED_WITHIN = 1e-6  # a mass this close to 1 is solved as balanced transport
SUM_TOLERANCE = 1e-3  # how far from 1 the sum of a marginal may be, half precision included

# The over-relaxed iteration of the torch, numba and triton backends; see torch_backend.converged.
CHECK_EVERY = 4  # iterations between two looks at the marginals
FIRST_OMEGA = 1.4  # over-relaxation from the second iteration on, until there is a contraction to go by
LARGEST_OMEGA = 1.95  # largest over-relaxation; the iteration converges below 2 only
SLOWEST_RATE, FASTEST_RATE = 0.999, 1e-6  # bounds on the contraction of one iteration
LARGEST_THETA = 0.9999  # bound on the rate of plain Sinkhorn that follows from it
OMEGA_STEP = 0.1  # over-relaxation falls by at most this much at a look, where it was too large
PATIENCE = 64  # iterations without progress after which a pair is allowed less over-relaxation
CAUTION = 0.7  # the factor by which omega - 1 may then be less
KEEP = 0.3  # over-relaxation never overshoots below this share of the plain step
TINY = 1e-30  # smallest divisor, so that nothing is divided by zero
LEVEL_STEP = 1e-6  # numba and triton: the water level is found when it rises by less than this share
COMPILED_SPAN = 40.0  # numba and triton: span of S / epsilon whose exp() and scalings stay inside float32
TOO_WIDE = -1  # numba and triton: the iterations of a pair beyond that span, until torch solves it in the log domain

Array: TypeAlias = Any  # numpy array or torch tensor


class TransportError(VprError):
    """A transport problem without a meaningful answer."""


class TransportResult(NamedTuple):
    """Entropic transport of N pairs of images; arrays are of the kind that was given.

    Attributes:
        score: (N,) structural similarity, sum_ij S_ij T_ij (higher is better).
        iterations: (N,) integers, Sinkhorn iterations that each pair took.
        marginal_error: (N,) L1 distance of the plan from its constraints. For mass 1,
            ``|T 1 - mu| + |T^T 1 - nu|``; for mass < 1, ``(T 1 - mu)_+ + (T^T 1 - nu)_+ + |sum T - mass|``.
        plan: (N, P, Q) transport plan T, or None unless it was asked for.
        backend: name of the backend that solved it.
    """

    score: Array
    iterations: Array
    marginal_error: Array
    plan: Array | None
    backend: str

    def mapped(self, function: Callable[[Array], Array]) -> "TransportResult":
        """The result with a function applied to each of its arrays; a missing plan stays None."""
        score, iterations, error, plan = (None if field is None else function(field) for field in self[:4])
        return TransportResult(score, iterations, error, plan, self.backend)


class SolverOptions(TypedDict, total=False):
    """Options of every call that solves transport problems; each may be left out.

    Attributes:
        backend: "auto", or one of ``vpr.transport.BACKENDS``.
        plan: whether the result carries the plans.
        threads: CPU threads of the numba backend. None takes every CPU; callers with threads of their own give 1.
        tolerance: L1 marginal violation at which a pair stops. 0 runs exactly ``max_iterations``; None is TOLERANCE.
        max_iterations: bound on the iterations of a pair; pairs that reach it show it in ``marginal_error``.
    """

    backend: str
    plan: bool
    threads: int | None
    tolerance: float | None
    max_iterations: int


class Settings(NamedTuple):
    """Parameters of the solver, validated once.

    Attributes:
        epsilon: entropic regularisation, in units of cosine.
        mass: transported mass, in (0, 1].
        tolerance: L1 marginal violation at which a pair stops; 0 means exactly ``max_iterations``.
        max_iterations: bound on the iterations of a pair.
        plan: whether the plan is wanted.
        threads: CPU threads of the numba backend; None takes every CPU that the process may run on.
    """

    epsilon: float = EPSILON
    mass: float = 1.0
    tolerance: float = TOLERANCE
    max_iterations: int = MAX_ITERATIONS
    plan: bool = False
    threads: int | None = None

    @classmethod
    def of(cls, epsilon: float, mass: float, **options: Any) -> "Settings":
        """Checked settings; a tolerance of None is the default.

        Raises:
            TransportError: a parameter is out of range.
        """
        if options.get("tolerance", 0) is None:
            options["tolerance"] = TOLERANCE
        return cls(epsilon, mass, **options).check()

    def check(self) -> "Settings":
        """The settings, mass 1 where it is as good as 1.

        Raises:
            TransportError: a parameter is out of range; the message names it.
        """
        if not (math.isfinite(self.epsilon) and self.epsilon >= SMALLEST_EPSILON):
            raise TransportError(f"epsilon is {self.epsilon}; give a finite value of at least {SMALLEST_EPSILON}")
        if not 0 < self.mass <= 1:
            raise TransportError(f"mass is {self.mass}; give a share of the total in (0, 1]")
        if not self.tolerance >= 0:
            raise TransportError(f"tolerance is {self.tolerance}; give 0 (fixed iterations) or more")
        if self.max_iterations < 1:
            raise TransportError(f"max_iterations is {self.max_iterations}; give at least 1")
        if self.threads is not None and self.threads < 1:
            raise TransportError(f"threads is {self.threads}; give at least 1, or None for every CPU")
        return self._replace(mass=1.0) if self.mass > 1 - BALANCED_WITHIN else self


def check_similarity(shape: tuple[int, ...]) -> None:
    """Refuse a similarity that is not (N, P, Q) with at least one patch on each side."""
    if len(shape) != 3 or shape[1] < 1 or shape[2] < 1:
        raise TransportError(f"similarity has shape {tuple(shape)}; give (N, P, Q) with P, Q >= 1")


def check_marginals(name: str, weights: Array, shape: tuple[int, ...]) -> None:
    """Refuse weights (N, P), numpy or torch, that are no probability vectors of the expected shape."""
    if tuple(weights.shape) != tuple(shape):
        raise TransportError(f"{name} have shape {tuple(weights.shape)}; expected {tuple(shape)}")
    if weights.shape[0] == 0:
        return
    if not bool((weights >= 0).all()):
        raise TransportError(f"{name} hold negative or NaN weights")
    total = weights.detach().sum(-1) if hasattr(weights, "detach") else weights.sum(-1)
    worst = max(float(total.max()) - 1, 1 - float(total.min()))
    if not worst <= SUM_TOLERANCE:
        raise TransportError(f"{name} sum to 1 only within {worst:.3g}; divide each row by its sum")


def check_result(result: TransportResult, settings: Settings) -> None:
    """Refuse scores that are not finite, and warn of pairs that ran out of iterations."""
    if not bool((abs(result.score) < np.inf).all()):
        raise TransportError("scores are not finite: a similarity or a descriptor holds NaN or infinity")
    if settings.tolerance == 0 or len(result.score) == 0:
        return
    unsolved = (result.iterations >= settings.max_iterations) & (result.marginal_error > UNSOLVED * settings.tolerance)
    if bool(unsolved.any()):
        warnings.warn(
            f"{int(unsolved.sum())} of {len(unsolved)} pairs stopped at {settings.max_iterations} iterations with "
            f"marginal errors up to {float(result.marginal_error.max()):.1e}; raise max_iterations or epsilon",
            stacklevel=3,
        )
