"""Photographed surfaces as compiled kernels read them: texels with levels of detail, and how a colour is sampled."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from vpr.datasets.photographed.folder import Textures, read_textures

# Columns of the table: number of levels, width and height in metres, storeys, mean linear RGB. Then for each level the
# number of its first texel, its width and its height.
T_LEVELS, T_WIDE, T_HIGH, T_STOREYS, T_R, T_G, T_B, T_FIRST = range(8)


class Photographs(NamedTuple):
    """K textures. In rows of primitives, buildings, ground and light, texture k is k + 1.

    Two arrays and not one for each property: compiled functions pass them on for every pixel.
    """

    texels: np.ndarray  # (N,) uint32: square roots of linear RGB from the lowest byte on, and alpha or windows
    table: np.ndarray  # (K, 7 + 3 L) float64: the columns above, of at most L levels


@lru_cache(maxsize=1)
def load_photographs(folder: Path) -> tuple[Textures, Photographs]:
    """The textures of a folder, and the same for the kernels. Raises DatasetError if the folder holds none."""
    textures = read_textures(folder)
    deepest = max(len(texture.starts) for texture in textures.table)
    table = np.ones((len(textures.table), T_FIRST + 3 * deepest))
    for row, texture in zip(table, textures.table, strict=True):
        row[:T_R] = len(texture.starts), texture.width_m, texture.height_m, texture.storeys
        row[T_R:T_FIRST] = np.maximum(texture.mean, 1e-3)
        levels = [(start, *size) for start, size in zip(texture.starts, texture.sizes, strict=True)]
        row[T_FIRST : T_FIRST + 3 * len(levels)] = np.ravel(levels)
    return textures, Photographs(textures.texels.view("<u4").ravel(), table)


@njit(cache=True, fastmath=True)
def texel(photos, k, u, v, size):
    """Colour (r, g, b, alpha) of texture k at (u, v), shares of its width and height; it repeats. Linear light.

    size: of a pixel's footprint, as a share of the texture's width.
    """
    row, level = photos.table[k], T_FIRST
    last = T_FIRST + 3 * (int(row[T_LEVELS]) - 1)
    size *= row[T_FIRST + 1]
    while size > 1.5 and level < last:
        size *= 0.5
        level += 3
    start, wide, high = int(row[level]), int(row[level + 1]), int(row[level + 2])
    x, y = (u - np.floor(u)) * wide, (v - np.floor(v)) * high
    if size > 0.6:  # a texel is about as large as the footprint
        t = photos.texels[start + min(int(y), high - 1) * wide + min(int(x), wide - 1)]
        r, g, b, a = float(t & 255), float((t >> 8) & 255), float((t >> 16) & 255), float(t >> 24)
        return r * r / 65025.0, g * g / 65025.0, b * b / 65025.0, a / 255.0
    x, y = x - 0.5, y - 0.5
    left, top = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - left, y - top
    right, low = left + 1, top + 1
    left, right = left + wide * (left < 0), right - wide * (right >= wide)
    top, low = start + (top + high * (top < 0)) * wide, start + (low - high * (low >= high)) * wide
    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    t00, t01 = photos.texels[top + left], photos.texels[top + right]
    t10, t11 = photos.texels[low + left], photos.texels[low + right]
    r = w00 * (t00 & 255) + w01 * (t01 & 255) + w10 * (t10 & 255) + w11 * (t11 & 255)
    t00, t01, t10, t11 = t00 >> 8, t01 >> 8, t10 >> 8, t11 >> 8
    g = w00 * (t00 & 255) + w01 * (t01 & 255) + w10 * (t10 & 255) + w11 * (t11 & 255)
    t00, t01, t10, t11 = t00 >> 8, t01 >> 8, t10 >> 8, t11 >> 8
    b = w00 * (t00 & 255) + w01 * (t01 & 255) + w10 * (t10 & 255) + w11 * (t11 & 255)
    a = w00 * (t00 >> 8) + w01 * (t01 >> 8) + w10 * (t10 >> 8) + w11 * (t11 >> 8)
    return r * r / 65025.0, g * g / 65025.0, b * b / 65025.0, a / 255.0


@njit(cache=True, fastmath=True)
def detail(photos, number, x, y, size):
    """Factors (r, g, b) by which a repeated surface differs from its mean at (x, y) metres; 1 without a texture.

    number: k + 1, or 0. size: footprint of a pixel, metres.
    """
    if number < 1.0:
        return 1.0, 1.0, 1.0
    k = int(number) - 1
    wide, high = photos.table[k, T_WIDE], photos.table[k, T_HIGH]
    r, g, b, _ = texel(photos, k, x / wide, -y / high, size / wide)
    return r / photos.table[k, T_R], g / photos.table[k, T_G], b / photos.table[k, T_B]


@njit(cache=True, fastmath=True)
def cut_out(photos, number, u, z, width, top, mirrored, size):
    """Colour (r, g, b, alpha) of a picture that stands on the ground, at u metres from its middle and z up."""
    k, across = int(number) - 1, u / width
    if mirrored:
        across = -across
    u, v = across + 0.5, 1.0 - z / top
    if u < 0.004 or u > 0.996 or v < 0.004 or v > 0.996:
        return 0.0, 0.0, 0.0, 0.0
    return texel(photos, k, u, v, size / width)
