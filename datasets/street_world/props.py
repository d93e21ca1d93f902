"""Trees, cars, people, lamps, signs and fences: flat shapes with holes, compiled.

Every function takes (u, z) in metres on the shape and returns (alpha, r, g, b, glow).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vpr.datasets.street_world.columns import (
    BUSH,
    CONIFER,
    L_AUTUMN,
    L_DRY,
    L_HEAD,
    L_LAMP,
    L_LEAF,
    L_SNOW,
    L_SUN_X,
    P_AUX,
    P_B,
    P_BARE_PHOTO,
    P_G,
    P_PHOTO,
    P_R,
    P_SEED,
    P_TOP,
    P_X1,
    PALM,
)
from vpr.datasets.street_world.noise import hash01, noise
from vpr.datasets.street_world.photographs import cut_out, detail


@njit(cache=True, fastmath=True)
def foliage(p, tone, light):
    """Colour (r, g, b) of the leaves of plant `p`: its own green, turned by the season."""
    turn = light[L_AUTUMN] * (0.35 + 0.65 * hash01(int(p[P_SEED]), 1, 51))
    warm = hash01(int(p[P_SEED]), 2, 52)
    r = p[P_R] * (1 - turn) + (0.34 + 0.16 * warm) * turn
    g = p[P_G] * (1 - turn) + (0.12 + 0.22 * warm) * turn
    b = p[P_B] * (1 - turn) + 0.03 * turn
    return r * tone, g * tone, b * tone


@njit(cache=True, fastmath=True)
def bare_crown(p, ru, rz, tile, level, light):
    """Alpha of the twigs of a leafless crown, at crown coordinates (ru, rz) in [-1, 1]."""
    radius = ru * ru + rz * rz
    if radius > 1.0:
        return False
    seed = p[P_SEED] * 0.37
    swirl = 0.12 * noise(tile, ru * 2.0 + seed, rz * 2.0, 1)
    angle = np.arctan2(ru + swirl, rz + 1.25)
    limb = abs(((angle * (2.6 + hash01(int(p[P_SEED]), 3, 3)) + seed) % 1.0) - 0.5)
    if limb < 0.10 * (1.1 - radius):
        return True
    twig = abs(noise(tile, ru * 1.3 + seed, rz * 1.3 + seed, 0))
    return twig < 0.14 * (1.25 - radius) + 0.04 * level


@njit(cache=True, fastmath=True)
def photographed_tree(p, u, z, tile, level, light, photos, size):
    """A photographed plant of P_X1 metres width and P_TOP height, bare in winter; u from its middle."""
    seed = p[P_SEED] * 0.61
    grain = noise(tile, u * 0.55 + seed, z * 0.55 + seed, level)
    leaf, number = light[L_LEAF], p[P_PHOTO]
    deciduous = p[P_BARE_PHOTO] > 0.0
    bare = deciduous and leaf < 0.3
    if bare:
        number = p[P_BARE_PHOTO]
    r, g, b, alpha = cut_out(photos, number, u, z, p[P_X1], p[P_TOP], int(p[P_SEED]) & 1, size)
    least = 0.35
    if deciduous and not bare:
        least += 0.5 * (1.0 - leaf) * (0.5 + 0.5 * grain)
    if alpha < least:
        return False, 0.0, 0.0, 0.0, 0.0
    snow = light[L_SNOW]
    if snow > 0.0 and 0.9 * z / p[P_TOP] + 0.5 * grain > 1.35 - 0.75 * snow:
        return True, 0.72, 0.75, 0.8, 0.0
    if bare:
        tone = 0.6 + 2.0 * (r + g + b)
        return True, 0.055 * tone, 0.048 * tone, 0.042 * tone, 0.0
    r, g, b = r * p[P_R], g * p[P_G], b * p[P_B]
    if deciduous and light[L_AUTUMN] > 0.0:
        turn = light[L_AUTUMN] * (0.35 + 0.65 * hash01(int(p[P_SEED]), 1, 51))
        warm, tone = hash01(int(p[P_SEED]), 2, 52), (r + g + b) / 0.24
        r = r * (1 - turn) + (0.24 + 0.12 * warm) * tone * turn
        g = g * (1 - turn) + (0.09 + 0.16 * warm) * tone * turn
        b = b * (1 - turn) + 0.02 * tone * turn
    return True, r, g, b, 0.0


@njit(cache=True, fastmath=True)
def tree(p, u, z, tile, level, light, photos, size):
    """A plant of P_X1 metres width and P_TOP height; u from its middle."""
    if photos is not None:
        if p[P_PHOTO] > 0.0:
            return photographed_tree(p, u, z, tile, level, light, photos, size)
    species, half, top = p[P_AUX], 0.5 * p[P_X1], p[P_TOP]
    seed = p[P_SEED] * 0.61
    grain = noise(tile, u * 0.55 + seed, z * 0.55 + seed, level)
    clump = noise(tile, u * 0.16 + seed, z * 0.16 + 2.0 * seed, 0)
    low = 0.0 if species == BUSH else (0.72 if species == PALM else (0.08 if species == CONIFER else 0.28)) * top
    trunk = (0.10 + 0.016 * top) * (1.2 - 0.5 * z / top)
    if z > low:
        ru, rz = u / half, 2.0 * (z - low) / (top - low) - 1.0
        if species == CONIFER:
            edge = 0.5 * (1.0 - rz) * (0.75 + 0.25 * ((z * 1.1 + 0.3 * abs(u)) % 1.0)) + 0.10 * grain
            inside = abs(ru) < edge
        elif species == PALM:
            angle = np.arctan2(rz, ru)
            reach = np.sqrt(ru * ru + rz * rz)
            inside = reach < 0.55 + 0.45 * np.cos(angle * 11.0 + seed) + 0.15 * grain
        else:
            fill = 1.0 - ru * ru - rz * rz + 0.30 * clump + 0.20 * grain
            inside = fill > 0.12
            if light[L_LEAF] < 0.95 and species != BUSH:
                if fill + 0.5 * grain < 1.3 * (1.0 - light[L_LEAF]):
                    inside = False
                if not inside and bare_crown(p, ru, rz, tile, level, light):
                    tone = 0.05 + 0.03 * grain + light[L_SNOW] * (0.25 if grain > 0.2 else 0.0)
                    return True, tone * 1.15, tone, tone * 0.9, 0.0
        if inside:
            side = 0.22 * ru * (1.0 if light[L_SUN_X] > 0 else -1.0)
            tone = max(0.75 + 0.30 * rz + side + 0.28 * grain + 0.22 * clump, 0.12)
            if light[L_SNOW] > 0 and 0.5 * rz + 0.5 * grain + 0.4 * clump > 0.75 - 0.55 * light[L_SNOW]:
                return True, 0.75 * tone, 0.78 * tone, 0.82 * tone, 0.0
            if species == CONIFER or species == PALM:
                return True, p[P_R] * tone, p[P_G] * tone, p[P_B] * tone, 0.0
            r, g, b = foliage(p, tone, light)
            return True, r, g, b, 0.0
    if abs(u) < trunk and z < low + 0.45 * (top - low):
        tone = 0.09 + 0.025 * grain + 0.03 * (u / trunk)
        return True, tone * 1.2, tone, tone * 0.8, 0.0
    return False, 0.0, 0.0, 0.0, 0.0


@njit(cache=True, fastmath=True)
def car_side(p, u, z, length, light, photos, size):
    """The side of a car; P_AUX 0 saloon, 1 van. u from its rear, z up."""
    if photos is not None:
        if p[P_PHOTO] > 0.0:
            r, g, b, alpha = cut_out(photos, p[P_PHOTO], u - 0.5 * length, z, length, p[P_TOP], False, size)
            return alpha > 0.4, r * p[P_R], g * p[P_G], b * p[P_B], 0.0
    x = u / length
    top = p[P_TOP]
    for wheel in (0.19, 0.81):
        reach = (u - wheel * length) ** 2 + (z - 0.32) ** 2
        if reach < 0.11:
            tone = 0.22 if reach < 0.03 else 0.015
            return True, tone, tone, tone, 0.0
    if z < 0.22:
        return False, 0.0, 0.0, 0.0, 0.0
    van = p[P_AUX] > 0.5
    belt = 0.55 * top if van else 0.62 * top
    if z > belt:
        share = (z - belt) / (top - belt)
        rear, front = (0.02, 0.97 - 0.16 * share) if van else (0.10 + 0.12 * share, 0.78 - 0.22 * share)
        if x < rear or x > front or share > 1.0:
            return False, 0.0, 0.0, 0.0, 0.0
        pane = 0.1 < share < 0.82 and x > rear + 0.03 and x < front - 0.03 and abs(x - 0.5) > 0.02
        if pane and (not van or x > 0.66):
            tone = 0.04 + 0.10 * share
            return True, tone, tone * 1.1, tone * 1.2, 0.0
        if share > 0.9 and light[L_SNOW] > 0.3:
            return True, 0.8, 0.82, 0.86, 0.0
    elif x < 0.03 and z > 0.5:
        return True, 0.4, 0.02, 0.02, 0.8 * light[L_HEAD]
    shade = 0.7 + 0.4 * z / top
    return True, p[P_R] * shade, p[P_G] * shade, p[P_B] * shade, 0.0


@njit(cache=True, fastmath=True)
def car_end(p, u, z, width, light):
    """The front (P_SEED odd) or rear of a car."""
    top, x = p[P_TOP], u / width - 0.5
    front = (int(p[P_SEED]) & 1) == 1
    if z < 0.2:
        if abs(x) > 0.3:
            return True, 0.015, 0.015, 0.015, 0.0
        return False, 0.0, 0.0, 0.0, 0.0
    belt = 0.6 * top
    if z > belt:
        share = (z - belt) / (top - belt)
        if abs(x) > 0.48 - 0.1 * share:
            return False, 0.0, 0.0, 0.0, 0.0
        if share < 0.85 and abs(x) < 0.40 - 0.08 * share:
            tone = 0.05 + 0.12 * share
            return True, tone, tone * 1.08, tone * 1.15, 0.0
    elif abs(z - 0.45 * top) < 0.09 and abs(x) > 0.30:
        if front:
            return True, 0.7, 0.7, 0.68, 6.0 * light[L_HEAD]
        return True, 0.5, 0.02, 0.02, 1.3 * light[L_HEAD]
    elif abs(z - 0.3 * top) < 0.07 and abs(x) < 0.15:
        return True, 0.7, 0.7, 0.6, 0.0
    shade = 0.55 + 0.4 * z / top
    return True, p[P_R] * shade, p[P_G] * shade, p[P_B] * shade, 0.0


@njit(cache=True, fastmath=True)
def person(p, u, z, light, photos, size):
    """A walker of P_TOP metres: head, coat, legs apart."""
    if photos is not None:
        if p[P_PHOTO] > 0.0:
            r, g, b, alpha = cut_out(photos, p[P_PHOTO], u, z, p[P_X1], p[P_TOP], int(p[P_SEED]) & 1, size)
            return alpha > 0.4, r * p[P_R], g * p[P_G], b * p[P_B], 0.0
    share, x = z / p[P_TOP], u / p[P_TOP]
    if share > 0.87:
        if x * x + (share - 0.93) ** 2 < 0.004:
            return True, 0.32, 0.2, 0.14, 0.0
    elif share > 0.45:
        if abs(x) < 0.13 - 0.10 * max(share - 0.78, 0.0):
            tone = 0.8 + 0.6 * (share - 0.5)
            return True, p[P_R] * tone, p[P_G] * tone, p[P_B] * tone, 0.0
    elif abs(abs(x) - 0.02 - 0.05 * (0.45 - share) * (1 + 3 * p[P_AUX])) < 0.035:
        return True, p[P_B] * 0.3 + 0.02, p[P_R] * 0.3 + 0.02, p[P_G] * 0.3 + 0.03, 0.0
    return False, 0.0, 0.0, 0.0, 0.0


@njit(cache=True, fastmath=True)
def lamp(p, u, z, light):
    """A street lamp: a mast and a head on an arm."""
    if z > p[P_TOP] - 0.35:
        if abs(u) < 0.45 and z < p[P_TOP] - 0.1:
            return True, 0.3, 0.3, 0.3, 9.0 * light[L_LAMP]
        return False, 0.0, 0.0, 0.0, 0.0
    if abs(u) < 0.09:
        return True, p[P_R], p[P_G], p[P_B], 0.0
    return False, 0.0, 0.0, 0.0, 0.0


@njit(cache=True, fastmath=True)
def sign(p, u, z, light):
    """A traffic sign (P_AUX 0 disc, 1 triangle, 2 board, 3 traffic light) on a thin mast."""
    r2, shape = 0.4, p[P_AUX]
    y = z - p[P_TOP] + r2
    if shape == 3.0:
        if abs(u) < 0.2 and abs(y) < r2:
            on = abs(u) < 0.11 and abs(y - 0.22) < 0.1
            return True, 0.6 if on else 0.02, 0.03, 0.02, 1.5 if on else 0.0
    else:
        inside = (
            (u * u + y * y < r2 * r2)
            if shape == 0.0
            else ((abs(u) < 0.5 * (r2 - y)) if shape == 1.0 else abs(u) < 0.55)
        )
        core = (
            (u * u + y * y < 0.08)
            if shape == 0.0
            else ((abs(u) < 0.5 * (r2 - y) - 0.12 and y > -0.3) if shape == 1.0 else (abs(u) < 0.48 and abs(y) < 0.32))
        )
        if inside and abs(y) < r2:
            if core:
                dark = hash01(int(p[P_SEED]), int(u * 9.0 + 20.0), int(y * 9.0 + 20.0)) > 0.72
                tone = 0.1 if dark else 0.8
                return (
                    True,
                    tone * (p[P_R] if shape == 2.0 else 1.0),
                    tone * (p[P_G] if shape == 2.0 else 1.0),
                    tone,
                    0.0,
                )
            return True, p[P_R], p[P_G], p[P_B], 0.0
    if abs(u) < 0.05 and y < 0.0:
        return True, 0.25, 0.25, 0.26, 0.0
    return False, 0.0, 0.0, 0.0, 0.0


@njit(cache=True, fastmath=True)
def fence(p, u, z, tile, level, photos, size):
    """A garden wall or fence; P_AUX 0 brick wall, 1 pickets, 2 rails, 3 mesh."""
    kind, top = p[P_AUX], p[P_TOP]
    grain = noise(tile, u + p[P_SEED], z, level)
    tone = 1.0 + 0.14 * grain
    if kind == 0.0:
        if z > top - 0.12:
            tone *= 1.25
        elif level < 2 and (z / 0.16) % 1.0 < 0.25:
            tone *= 0.85
    elif kind == 1.0:
        if (u / 0.16) % 1.0 > 0.62 and abs(z - 0.75 * top) > 0.05 and abs(z - 0.25 * top) > 0.05:
            return False, 0.0, 0.0, 0.0, 0.0
    elif kind == 2.0:
        if (u / 2.2) % 1.0 > 0.06 and (z / top * 3.0) % 1.0 < 0.7:
            return False, 0.0, 0.0, 0.0, 0.0
    elif (u / 2.5) % 1.0 > 0.04 and hash01(int(u * 14.0), int(z * 14.0), 3) > 0.35:
        return False, 0.0, 0.0, 0.0, 0.0
    if photos is not None:
        dr, dg, db = detail(photos, p[P_PHOTO], u + p[P_SEED], z, size)
        return True, p[P_R] * tone * dr, p[P_G] * tone * dg, p[P_B] * tone * db, 0.0
    return True, p[P_R] * tone, p[P_G] * tone, p[P_B] * tone, 0.0


@njit(cache=True, fastmath=True)
def hedge(p, u, z, tile, level, light, photos, size):
    """A clipped hedge with a ragged top."""
    grain = noise(tile, u * 0.7 + p[P_SEED], z * 0.7, level)
    if z > p[P_TOP] * (0.9 + 0.06 * grain):
        return False, 0.0, 0.0, 0.0, 0.0
    tone = max(0.55 + 0.35 * z / p[P_TOP] + 0.3 * grain, 0.1)
    if light[L_SNOW] > 0 and z > p[P_TOP] * (0.8 - 0.1 * grain):
        return True, 0.8, 0.82, 0.86, 0.0
    if photos is not None:
        dr, dg, db = detail(photos, p[P_PHOTO], u + p[P_SEED], z, size)
        tone *= 0.25 * dr + 0.5 * dg + 0.25 * db
    r, g, b = foliage(p, tone, light)
    dry = 0.5 * light[L_DRY]
    return True, r * (1 - dry) + 0.12 * tone * dry, g * (1 - dry) + 0.10 * tone * dry, b, 0.0
