"""Random numbers and names that depend only on words, not on the order of the work."""

from __future__ import annotations

import hashlib

import numpy as np

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
KEY_LENGTH = 22


def digest_of(*words: object) -> bytes:
    """32 bytes that depend on the words and on nothing else."""
    return hashlib.blake2b("/".join(str(word) for word in words).encode(), digest_size=32).digest()


def rng_for(*words: object) -> np.random.Generator:
    """The generator that belongs to these words, e.g. (seed, city, street, traverse)."""
    return np.random.default_rng(np.frombuffer(digest_of(*words), np.uint32))


def mapillary_key(*words: object) -> str:
    """A key of 22 characters, as Mapillary gave its images."""
    return "".join(ALPHABET[byte & 63] for byte in digest_of("key", *words)[:KEY_LENGTH])
