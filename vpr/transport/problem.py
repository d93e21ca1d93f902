"""The transport problem: its result, its parameters and what is refused at the edge."""

import math
import warnings
from typing import Any, NamedTuple, TypedDict

import numpy as np

from vpr.base.errors import VprError

EPSILON = 0.05  # entropic regularisation, in units of cosine
TOLERANCE = 2e-5  # L1 marginal violation at which a pair stops
MAX_ITERATIONS = 2000  # a pair at epsilon 0.05 needs about 15, a near-duplicate a few hundred
SMALLEST_EPSILON = 1e-3  # below it Sinkhorn needs more iterations than anyone would wait for
UNSOLVED = 10  # tolerances of marginal error beyond which a pair out of iterations is reported
BALANCED_WITHIN = 1e-6  # a mass this close to 1 is solved as balanced transport
SUM_TOLERANCE = 1e-3  # how far from 1 the sum of a marginal may be, half precision included


class TransportError(VprError):
    """A transport problem without a meaningful answer."""


class TransportResult(NamedTuple):
    """Entropic transport of N pairs of images; arrays are of the kind that was given.

    Attributes
    ----------
    score : (N,) structural similarity, sum_ij S_ij T_ij (higher is better)
    iterations : (N,) integers, Sinkhorn iterations each pair took
    marginal_error : (N,) L1 distance of the plan from its constraints: for mass 1,
        ``|T 1 - mu| + |T^T 1 - nu|``; for mass < 1, ``(T 1 - mu)_+ + (T^T 1 - nu)_+ + |sum T - mass|``
    plan : (N, P, Q) transport plan T, or None unless it was asked for
    backend : name of the backend that solved it
    """

    score: Any
    iterations: Any
    marginal_error: Any
    plan: Any
    backend: str


class SolverOptions(TypedDict, total=False):
    """Options of every call that solves transport problems; each may be left out."""

    backend: str  # "auto", or one of ``vpr.transport.BACKENDS``
    plan: bool  # whether the result carries the plans
    threads: (
        int | None
    )  # CPU threads of the numba backend; None takes every CPU. Callers with threads of their own give 1
    tolerance: (
        float | None
    )  # L1 marginal violation at which a pair stops; 0 runs exactly max_iterations, None is TOLERANCE
    max_iterations: int  # bound on the iterations of a pair; pairs that reach it show it in ``marginal_error``


class Settings(NamedTuple):
    """Parameters of the solver, validated once.

    Attributes
    ----------
    epsilon : entropic regularisation, in units of cosine
    mass : transported mass, in (0, 1]
    tolerance : L1 marginal violation at which a pair stops; 0 means exactly ``max_iterations``
    max_iterations : bound on the iterations of a pair
    plan : whether the plan is wanted
    threads : CPU threads of the numba backend; None takes every CPU that the process may run on
    """

    epsilon: float = EPSILON
    mass: float = 1.0
    tolerance: float = TOLERANCE
    max_iterations: int = MAX_ITERATIONS
    plan: bool = False
    threads: int | None = None

    @classmethod
    def of(cls, epsilon: float, mass: float, **options: Any) -> "Settings":
        """Checked settings; a tolerance of None is the default."""
        if options.get("tolerance", 0) is None:
            options["tolerance"] = TOLERANCE
        return cls(epsilon, mass, **options).check()

    def check(self) -> "Settings":
        """Return the settings, or raise TransportError naming the parameter that is out of range."""
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


def check_similarity(shape: tuple) -> None:
    """Refuse a similarity that is not (N, P, Q) with at least one patch on each side."""
    if len(shape) != 3 or shape[1] < 1 or shape[2] < 1:
        raise TransportError(f"similarity has shape {tuple(shape)}; give (N, P, Q) with P, Q >= 1")


def check_marginals(name: str, weights, shape: tuple) -> None:
    """Refuse weights (N, P), torch or numpy, that are no probability vectors of the expected shape."""
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
