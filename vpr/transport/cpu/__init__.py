"""Entropic transport on CPUs, compiled by numba."""
