"""The photographed front of a building: storeys of a facade's photograph, doors, posters and lit windows; compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from vpr.datasets.street_world.columns import (
    B_CAST_B,
    B_CAST_G,
    B_CAST_R,
    B_DOOR,
    B_EAVES,
    B_GROUND_PHOTO,
    B_PHOTO,
    B_PHOTO_SCALE,
    B_PHOTO_SHIFT,
    B_POSTER,
    B_STOREYS,
    B_UNIQUE,
    L_LIT,
)
from vpr.datasets.street_world.noise import hash01
from vpr.datasets.street_world.photographs import T_HIGH, T_STOREYS, T_WIDE, texel

STOREY_M = 3.3  # of the photographs


@njit(cache=True, fastmath=True)
def storey_of(storey, storeys, shift, known):
    """The storey of a photograph with `known` storeys that shows a storey of a building: the lowest and the highest
    show themselves, the others repeat those between."""
    if known == 1 or storey == 0:
        return 0
    if storey == storeys - 1:
        return known - 1
    return 1 + (storey - 1 + shift) % max(known - 2, 1) if known > 2 else 1


@njit(cache=True, fastmath=True)
def fixture(b, u, z, photos, size):
    """Values (hit, r, g, b) of a door or a poster at street level, at places drawn from the unique seed."""
    unique = int(b[B_UNIQUE])
    part = 4.0 + 3.0 * hash01(unique, 2, 71)
    cell = int(u / part)
    kind = hash01(unique, cell, 72)
    middle = (cell + 0.35 + 0.3 * hash01(unique, cell, 73)) * part
    number, low = 0.0, 0.0
    if kind < 0.45:
        number = b[B_DOOR]
    elif kind > 0.72:
        number, low = b[B_POSTER], 0.9 + 3.0 * hash01(unique, cell, 74)
    if number < 1.0:
        return False, 0.0, 0.0, 0.0
    k = int(number) - 1
    wide = photos.table[k, T_WIDE] * (0.9 + 0.3 * hash01(unique, cell, 75))
    high = min(photos.table[k, T_HIGH] * wide / photos.table[k, T_WIDE], 2.6)
    x, y = (u - middle) / wide + 0.5, (z - low) / high
    if x < 0.0 or x > 1.0 or y < 0.0 or y > 1.0:
        return False, 0.0, 0.0, 0.0
    r, g, bl, _ = texel(photos, k, 0.01 + 0.98 * x, 0.99 - 0.98 * y, size / wide)
    return True, r, g, bl


@njit(cache=True, fastmath=True)
def front(b, u, z, photos, size, light):
    """Values (r, g, b, glow) of the front at u metres from its left edge and z metres up, below the eaves."""
    hit, r, g, bl = fixture(b, u, z, photos, size)
    if hit:
        return r, g, bl, 0.0
    storeys = int(b[B_STOREYS])
    high = b[B_EAVES] / storeys
    storey = min(int(z / high), storeys - 1)
    share = z / high - storey
    k = int(b[B_PHOTO]) - 1
    if storey == 0 and b[B_GROUND_PHOTO] > 0.0:
        k = int(b[B_GROUND_PHOTO]) - 1
    known = int(photos.table[k, T_STOREYS])
    shown = storey_of(storey, storeys, int(b[B_UNIQUE]) % 7, known)
    wide = photos.table[k, T_WIDE] * high / STOREY_M * b[B_PHOTO_SCALE]
    across = u / wide + b[B_PHOTO_SHIFT]
    turn = across - 2.0 * np.floor(across * 0.5)
    across = turn if turn < 1.0 else 2.0 - turn  # mirrored copies have no seams
    down = 1.0 - (shown + min(max(share, 0.005), 0.995)) / known
    r, g, bl, window = texel(photos, k, 0.003 + 0.994 * across, down, size / wide)
    glow = 0.0
    if light[L_LIT] > 0.0 and window > 0.3:
        cell = int(u / 1.7 + 50.0)
        if hash01(cell, storey, int(b[B_UNIQUE]) + int(light[L_LIT] * 1000.0)) < light[L_LIT]:
            glow = window * (0.3 + 0.9 * hash01(cell, storey, 77))
    keep = 1.0 - window
    r *= window + keep * b[B_CAST_R]
    g *= window + keep * b[B_CAST_G]
    bl *= window + keep * b[B_CAST_B]
    return r, g, bl, glow
