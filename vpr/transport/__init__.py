"""Entropic optimal transport between sets of patch descriptors, on CPUs and GPUs."""

from vpr.transport.bounds import upper_bound
from vpr.transport.dispatch import BACKENDS, available_backends, solve
from vpr.transport.errors import TransportError
from vpr.transport.marginals import Marginals, marginal_weights
from vpr.transport.problem import Transport, TransportResult
from vpr.transport.similarity import structural_similarity, structural_similarity_pairs

__all__ = [
    "BACKENDS",
    "Marginals",
    "Transport",
    "TransportError",
    "TransportResult",
    "available_backends",
    "marginal_weights",
    "solve",
    "structural_similarity",
    "structural_similarity_pairs",
    "upper_bound",
]
