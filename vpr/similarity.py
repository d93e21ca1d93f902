"""The structural similarity of images; the code is in ``vpr.transport.similarity``."""

from vpr.transport.similarity import SimilarityOptions, structural_similarity, structural_similarity_pairs

__all__ = ["SimilarityOptions", "structural_similarity", "structural_similarity_pairs"]
