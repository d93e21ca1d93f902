"""Natural texture: a tile with a 1/f spectrum and its mip levels; and an integer hash."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

SIZE = 256  # texels a side of the finest tile
TEXEL_M = 0.05  # side of a texel of the finest tile, metres
LEVELS = 6
OFFSETS = (0, 65536, 81920, 86016, 87040, 87296)  # where each level starts in the flat array


@lru_cache(maxsize=1)
def noise_tile() -> np.ndarray:
    """All mip levels of one 1/f tile, flat float32; mean 0 and about unit variance at the finest level.

    The values are rounded to 1/64, so that the images do not depend on the last bits of an FFT library.
    """
    rng = np.random.default_rng(20190617)
    spectrum = np.fft.fft2(rng.standard_normal((SIZE, SIZE)))
    fy, fx = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    radius = np.maximum(np.hypot(fx, fy), 1.5 / SIZE)
    field = np.fft.ifft2(spectrum / radius).real
    field = np.clip(np.round(64 * (field - field.mean()) / field.std()) / 64, -3, 3)
    levels = [field]
    for _ in range(LEVELS - 1):
        side = levels[-1].shape[0] // 2
        levels.append(levels[-1].reshape(side, 2, side, 2).mean(axis=(1, 3)))
    return np.concatenate([level.ravel() for level in levels]).astype(np.float32)


@njit(cache=True, fastmath=True)
def noise(tile, u, v, level):
    """Sample the tile at (u, v) metres on mip `level`, bilinear."""
    mask = (SIZE >> level) - 1
    scale = 1.0 / (TEXEL_M * (1 << level))
    x, y = u * scale, v * scale
    fx, fy = np.floor(x), np.floor(y)
    left, top = int(fx) & mask, (int(fy) & mask) * (mask + 1) + OFFSETS[level]
    right, low = (int(fx) + 1) & mask, ((int(fy) + 1) & mask) * (mask + 1) + OFFSETS[level]
    fx, fy = x - fx, y - fy
    return (tile[top + left] * (1 - fx) + tile[top + right] * fx) * (1 - fy) + (
        tile[low + left] * (1 - fx) + tile[low + right] * fx
    ) * fy


@njit(cache=True, fastmath=True)
def mip_level(footprint_m):
    """The mip level whose texels are about as large as a pixel's footprint."""
    level = 0
    size = TEXEL_M * 1.5
    while size < footprint_m and level < LEVELS - 1:
        size *= 2.0
        level += 1
    return level


@njit(cache=True)
def hash01(a, b, c):
    """A number in [0, 1) that depends on three integers only."""
    h = (int(a) * 374761393 + int(b) * 668265263 + int(c) * 2246822519) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    return (h ^ (h >> 16)) / 4294967296.0
