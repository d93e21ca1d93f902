"""Losses: on global descriptors, on patch descriptors, on the teacher; and their weighted sum."""
