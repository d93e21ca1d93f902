"""Entropic transport on CUDA, compiled by Triton."""
