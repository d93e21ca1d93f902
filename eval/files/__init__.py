"""Prediction files and submissions: reading, looking up names, writing, checking."""
