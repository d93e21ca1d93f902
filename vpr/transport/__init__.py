"""Entropic optimal transport between sets of patch descriptors, on whatever the machine has."""

from vpr.transport.bounds import upper_bound
from vpr.transport.dispatch import BACKENDS, available_backends, solve
from vpr.transport.marginals import Marginals, marginal_weights
from vpr.transport.problem import TransportError, TransportResult

__all__ = [
    "BACKENDS",
    "Marginals",
    "TransportError",
    "TransportResult",
    "available_backends",
    "marginal_weights",
    "solve",
    "upper_bound",
]
