"""The facade of a building as a pure function of (u, z, building), compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from vpr.datasets.street_world.columns import (
    B_ARCH,
    B_BALCONY,
    B_BAY,
    B_CORNICE,
    B_EAVES,
    B_FLOOR,
    B_GROUND,
    B_IVY,
    B_MATERIAL,
    B_MULLION,
    B_MURAL,
    B_PHOTO,
    B_ROOF_B,
    B_ROOF_G,
    B_ROOF_H,
    B_ROOF_KIND,
    B_ROOF_PHOTO,
    B_ROOF_R,
    B_SEED,
    B_SHOP,
    B_SHOP_B,
    B_SHOP_G,
    B_SHOP_R,
    B_SHUTTER,
    B_STAIN,
    B_TRIM_B,
    B_TRIM_G,
    B_TRIM_R,
    B_UNIQUE,
    B_WALL_B,
    B_WALL_G,
    B_WALL_PHOTO,
    B_WALL_R,
    B_WINDOW_H,
    B_WINDOW_W,
    BRICK,
    CONCRETE,
    GABLE,
    GLASS,
    L_AUTUMN,
    L_LEAF,
    L_LIT,
    L_SNOW,
    MANSARD,
    PITCHED,
    STEPPED,
    STONE,
    WOOD,
)
from vpr.datasets.street_world.front import front
from vpr.datasets.street_world.noise import hash01, noise
from vpr.datasets.street_world.photographs import detail


@njit(cache=True, fastmath=True)
def wall_colour(b, u, z, tile, level, photos, size):
    """Colour (r, g, b) of bare wall: the joints, spots and stains of its material, or its photograph."""
    if photos is not None:
        if b[B_WALL_PHOTO] > 0.0:
            r, g, bl = detail(photos, b[B_WALL_PHOTO], u + 0.37 * b[B_SEED], z, size)
            shade = 1.0 + 0.09 * noise(tile, u * 0.16 + b[B_SEED], z * 0.11, 0)
            return b[B_WALL_R] * shade * r, b[B_WALL_G] * shade * g, b[B_WALL_B] * shade * bl
    seed = b[B_SEED]
    fine = noise(tile, u + 3.7 * seed, z, level)
    broad = noise(tile, u * 0.16 + seed, z * 0.11, 0)
    shade = 1.0 + 0.10 * fine + 0.09 * broad
    material = b[B_MATERIAL]
    if material == BRICK and level < 2:
        course = z / 0.16
        shift = 0.5 * (int(course) & 1)
        if course - np.floor(course) < 0.22:
            shade += 0.16
        shade += 0.22 * (hash01(int(course), int(u / 0.42 + shift), int(seed)) - 0.5)
    elif material == STONE and level < 4:
        course = z / 0.55
        block = u / 0.9 + 0.5 * (int(course) & 1)
        if course - np.floor(course) < 0.09 or block - np.floor(block) < 0.06:
            shade -= 0.22
        shade += 0.2 * (hash01(int(course), int(block), int(seed)) - 0.5)
    elif material == WOOD and level < 3:
        board = z / 0.22
        if board - np.floor(board) < 0.2:
            shade -= 0.24
    elif material == CONCRETE:
        if (u / 2.4) % 1.0 < 0.03 or (z / b[B_FLOOR]) % 1.0 < 0.04:
            shade -= 0.25
    streak = noise(tile, u * 0.9 + 11.0 * seed, z * 0.06, 0)
    if streak > 0.4:
        shade -= b[B_STAIN] * (streak - 0.4)
    if z < 1.0:
        shade -= 0.18 * (1.0 - z)
    shade = max(shade, 0.25)
    return b[B_WALL_R] * shade, b[B_WALL_G] * shade, b[B_WALL_B] * shade


@njit(cache=True, fastmath=True)
def glass(b, bay, floor, fu, fv, tile, light):
    """Colour and glow (r, g, b, glow) of a pane: reflected sky, curtains or blinds, and the lamp behind it."""
    unique = b[B_UNIQUE]
    kind = hash01(bay, floor, int(unique) + 5)
    tone = 0.07 + 0.16 * fv + 0.05 * noise(tile, fu * 2.0 + 3.0 * bay, fv * 2.0 + 5.0 * floor, 1)
    r, g, bl = tone * 0.85, tone * 0.95, tone * 1.1
    if kind < 0.22 and fv > 0.35 + 0.5 * hash01(bay, floor, int(unique) + 9):
        r, g, bl = 0.55, 0.52, 0.46
    elif kind < 0.40 and abs(fu) > 0.26:
        r, g, bl = 0.5, 0.45, 0.4
    lit = 0.0
    if hash01(bay, floor, int(unique) + int(light[L_LIT] * 1000.0)) < light[L_LIT]:
        lit = 0.35 + 0.9 * hash01(bay, floor, 77) * (0.6 + 0.4 * fv)
    return max(r, 0.01), max(g, 0.01), max(bl, 0.01), lit


@njit(cache=True, fastmath=True)
def window(b, bay, floor, fu, fv, tile, level, light):
    """Values (hit, r, g, b, glow) in the window zone of one bay, at fu in [-.5, .5] and fv in [0, 1] of the cell."""
    half = 0.5 * b[B_WINDOW_W]
    low = 0.5 - 0.5 * b[B_WINDOW_H]
    high = 0.5 + 0.5 * b[B_WINDOW_H]
    if b[B_ARCH] > 0.5:
        high -= 0.16 * (fu / half) ** 2
    x, inside = abs(fu), low < fv < high
    trim = b[B_TRIM_R], b[B_TRIM_G], b[B_TRIM_B]
    if inside and x < half:
        pu, pv = fu / (2.0 * half), (fv - low) / (high - low)
        edge = 0.06 / b[B_BAY]
        if x > half - edge or fv > high - 0.025 or fv < low + 0.02:
            return True, trim[0] * 0.8, trim[1] * 0.8, trim[2] * 0.8, 0.0
        mull = b[B_MULLION]
        if level < 3 and (
            (mull > 0.5 and abs(pu) < 0.035)
            or (mull > 1.5 and abs(pv - 0.62) < 0.025)
            or (mull > 2.5 and abs(abs(pu) - 0.25) < 0.03)
        ):
            return True, trim[0], trim[1], trim[2], 0.0
        if pv > 0.93 or pu < -0.46:
            return True, 0.03, 0.03, 0.035, 0.0  # the reveal's shadow
        r, g, bl, lit = glass(b, bay, floor, pu, pv, tile, light)
        return True, r, g, bl, lit
    if b[B_SHUTTER] > 0.5 and inside and x < half * 1.55:
        slat = 0.8 + 0.2 * ((fv * 40.0) % 1.0) if level < 2 else 0.9
        return True, b[B_SHOP_R] * slat, b[B_SHOP_G] * slat, b[B_SHOP_B] * slat, 0.0
    if x < half * 1.2 and (low - 0.05 < fv < low or high < fv < high + 0.05):
        return True, trim[0] * 0.95, trim[1] * 0.95, trim[2] * 0.95, 0.0
    return False, 0.0, 0.0, 0.0, 0.0


@njit(cache=True, fastmath=True)
def ground_floor(b, u, z, width, tile, level, light):
    """Values (hit, r, g, b, glow) of the street level: shop, garage or door, drawn from the unique seed."""
    unique, height = int(b[B_UNIQUE]), b[B_GROUND]
    part = 3.2 + 1.6 * hash01(unique, 1, 3)
    cell = int(u / part)
    fu = u / part - cell
    kind = hash01(unique, cell, 11)
    if b[B_SHOP] < 0.5:
        if kind < 0.4 and abs(fu - 0.5) < 0.16 and z < 2.3:
            tone = 0.25 + 0.75 * hash01(unique, cell, 12)
            panel = 0.75 if (abs(fu - 0.5) < 0.1 and z % 1.0 > 0.2) else 1.0
            return True, b[B_SHOP_R] * tone * panel, b[B_SHOP_G] * tone * panel, b[B_SHOP_B] * tone * panel, 0.0
        if kind > 0.78 and 0.12 < fu < 0.88 and z < 2.5:
            line = 0.45 if (z * 3.0) % 1.0 > 0.15 else 0.3
            return True, line, line, line * 1.02, 0.0
        return False, 0.0, 0.0, 0.0, 0.0
    sign = hash01(unique, cell, 13)
    sr, sg, sb = b[B_SHOP_R], b[B_SHOP_G], b[B_SHOP_B]
    if sign > 0.5:
        sr, sg, sb = sg * 0.8 + 0.05, sb * 0.8 + 0.05, sr
    if z > height - 0.95 and z < height - 0.15 and 0.04 < fu < 0.96:  # the name board
        letters = hash01(unique + cell, int(fu * 19.0), 17)
        if abs(z - height + 0.55) < 0.22 and 0.15 < fu < 0.85 and letters > 0.45:
            return True, 0.85 - 0.7 * (sr > 0.4), 0.85 - 0.7 * (sg > 0.4), 0.8 - 0.6 * (sr > 0.4), 0.5 * light[L_LIT]
        return True, sr, sg, sb, 0.35 * light[L_LIT]
    if kind < 0.45 and z > height - 1.5 and z < height - 0.9:  # awning
        stripe = (fu * 8.0) % 1.0 > 0.5
        return True, (0.8 if stripe else sr), (0.8 if stripe else sg), (0.78 if stripe else sb), 0.0
    if 0.06 < fu < 0.94 and 0.45 < z < height - 0.95:
        if abs(fu - 0.5) < 0.03 or (kind > 0.6 and abs(fu - 0.75) < 0.02):
            return True, b[B_TRIM_R] * 0.6, b[B_TRIM_G] * 0.6, b[B_TRIM_B] * 0.6, 0.0
        goods = noise(tile, u * 1.7 + unique % 97, z * 1.7, min(level + 1, 5))
        tone = 0.10 + 0.07 * goods + 0.05 * z
        hue = hash01(unique, cell, 19)
        glow = light[L_LIT] * (1.6 + 0.8 * goods) if hue > 0.25 else 0.0
        return True, max(tone, 0.02), max(tone * (0.8 + 0.3 * hue), 0.02), max(tone * (1.2 - 0.4 * hue), 0.02), glow
    return True, b[B_TRIM_R] * 0.5, b[B_TRIM_G] * 0.5, b[B_TRIM_B] * 0.5, 0.0


@njit(cache=True, fastmath=True)
def roof(b, u, z, width, tile, level, light, photos, size):
    """Values (alpha, r, g, b, is_gable_wall) above the eaves."""
    kind, eaves, rise = b[B_ROOF_KIND], b[B_EAVES], b[B_ROOF_H]
    share = (z - eaves) / max(rise, 0.1)
    ridge = 1.0 - abs(2.0 * u / width - 1.0)
    if kind == GABLE or kind == STEPPED:
        if kind == STEPPED:
            ridge = (np.floor(ridge * 5.0) + 1.0) / 5.0
        if share > ridge:
            return False, 0.0, 0.0, 0.0, False
        return True, 0.0, 0.0, 0.0, True
    limit = 1.0
    if kind == PITCHED:
        limit = min(1.0, ridge * width * 0.5)
    cell = int(u / 2.7)
    chimney = hash01(int(b[B_SEED]), cell, 31) > 0.8 and abs(u / 2.7 - cell - 0.5) < 0.17
    if share > limit and not (chimney and z < eaves + rise + 1.1):
        return False, 0.0, 0.0, 0.0, False
    tone = 1.0 + 0.12 * noise(tile, u + b[B_SEED], z, level)
    if share > limit:
        return True, 0.25 * tone, 0.13 * tone, 0.09 * tone, False
    if level < 3 and (z * 3.3) % 1.0 < 0.25:
        tone -= 0.18
    if kind == MANSARD and abs((u / b[B_BAY]) % 1.0 - 0.5) < 0.2 and 0.15 < share < 0.8:
        return True, 0.09, 0.1, 0.12, False
    if photos is not None:
        if b[B_ROOF_PHOTO] > 0.0:
            r, g, bl = detail(photos, b[B_ROOF_PHOTO], u + b[B_SEED], z, size)
            tone *= 0.333 * (r + g + bl)
    snow = light[L_SNOW] * 0.9
    r = b[B_ROOF_R] * tone * (1 - snow) + 0.82 * snow
    g = b[B_ROOF_G] * tone * (1 - snow) + 0.84 * snow
    return True, r, g, b[B_ROOF_B] * tone * (1 - snow) + 0.88 * snow, False


@njit(cache=True, fastmath=True)
def upper_floor(b, u, z, width, keep, tile, level, light):
    """Values (hit, r, g, b, glow) of windows, balconies, mural and cornice above the street level."""
    eaves, bay_w, unique = b[B_EAVES], b[B_BAY], int(b[B_UNIQUE])
    if z > eaves - 0.5 and b[B_CORNICE] > 0.5:
        tone = 0.55 if z < eaves - 0.38 else 1.0
        return True, b[B_TRIM_R] * tone, b[B_TRIM_G] * tone, b[B_TRIM_B] * tone, 0.0
    if b[B_MURAL] > 0.0:
        at = width * (0.25 + 0.5 * hash01(unique, 2, 2))
        span, low = 1.2 + 2.0 * hash01(unique, 3, 2), b[B_GROUND] + 0.4 + hash01(unique, 5, 2)
        if abs(u - at) < span and low < z < low + 2.0 * b[B_MURAL] * (1.0 + hash01(unique, 4, 2)):
            gu, gz = int((u - at + span) * 1.7), int((z - low) * 1.7)
            pick = hash01(unique, gu // 2 + 7 * (gz // 2), 21)
            return (
                True,
                0.08 + 0.7 * pick,
                0.08 + 0.7 * hash01(unique, gu + 3 * gz, 22),
                0.08 + 0.7 * hash01(unique, gz, 23),
                0.0,
            )
    bays = max(int((width - 0.8) / bay_w), 1)
    cell = (u - 0.4) / (width - 0.8) * bays
    bay = int(np.floor(cell))
    if bay < 0 or bay >= bays:
        return False, 0.0, 0.0, 0.0, 0.0
    base = b[B_GROUND] if z > b[B_GROUND] else 0.0
    height = b[B_FLOOR] if z > b[B_GROUND] else b[B_GROUND]
    floor = int((z - base) / height) + (1 if base > 0 else 0)
    fv = (z - base) / height - int((z - base) / height)
    if base > 0 and base + (floor) * height > eaves + 0.3:
        return False, 0.0, 0.0, 0.0, 0.0
    if b[B_CORNICE] > 1.5 and fv < 0.06:
        return True, b[B_TRIM_R] * 0.9, b[B_TRIM_G] * 0.9, b[B_TRIM_B] * 0.9, 0.0
    if keep < 1.0 and hash01(int(b[B_SEED]), bay, floor) > keep:
        return False, 0.0, 0.0, 0.0, 0.0
    if b[B_BALCONY] > 0.5 and base > 0 and fv < 0.36 and hash01(int(b[B_SEED]), bay, 41) < 0.6:
        if fv < 0.07 or fv > 0.32 or (level < 2 and (u * 7.0) % 1.0 < 0.3):
            return True, 0.12, 0.12, 0.13, 0.0
    return window(b, bay, floor, cell - bay - 0.5, fv, tile, level, light)


@njit(cache=True, fastmath=True)
def facade(b, u, z, width, keep, tile, level, light, photos, size):
    """Values (alpha, r, g, b, glow) of the facade at u metres from its left edge and z metres up.

    photos: `Photographs`, or None for drawn surfaces only. size: footprint of a pixel, metres.
    """
    gable = False
    if z > b[B_EAVES]:
        alpha, r, g, bl, gable = roof(b, u, z, width, tile, level, light, photos, size)
        if not alpha or not gable:
            return alpha, r, g, bl, 0.0
    hit, r, g, bl, glow = False, 0.0, 0.0, 0.0, 0.0
    if photos is not None:
        if b[B_PHOTO] > 0.0 and keep >= 1.0 and not gable:
            if b[B_SHOP] > 0.5 and z < b[B_GROUND]:
                hit, r, g, bl, glow = ground_floor(b, u, z, width, tile, level, light)
            if not hit:
                r, g, bl, glow = front(b, u, z, photos, size, light)
                hit = True
    if hit:
        pass
    elif b[B_MATERIAL] == GLASS and z > b[B_GROUND]:
        pane = int(u / b[B_BAY] * 2.0)
        level_no = int(z / b[B_FLOOR])
        if (u / b[B_BAY] * 2.0) % 1.0 > 0.07 and (z / b[B_FLOOR]) % 1.0 > 0.16:
            r, g, bl, glow = glass(b, pane, level_no, 0.0, (z / b[B_FLOOR]) % 1.0, tile, light)
            sky = 0.10 + 0.22 * min(z / b[B_EAVES], 1.0) + 0.05 * noise(tile, u * 0.3, z * 0.3 + b[B_SEED], 1)
            return True, r * 0.5 + sky * 0.8, g * 0.5 + sky * 0.95, bl * 0.5 + sky * 1.05, glow
    elif z < b[B_GROUND] and keep >= 1.0:
        hit, r, g, bl, glow = ground_floor(b, u, z, width, tile, level, light)
    if not hit and not gable and (z > b[B_GROUND] or b[B_SHOP] < 0.5):
        hit, r, g, bl, glow = upper_floor(b, u, z, width, keep, tile, level, light)
    if not hit:
        r, g, bl = wall_colour(b, u, z, tile, level, photos, size)
    if b[B_IVY] > 0.0:
        leaf = noise(tile, u * 0.35 + 5.0 * b[B_UNIQUE], z * 0.35, 0) + b[B_IVY] - z * 0.12
        if leaf > 0.8 and light[L_LEAF] > 0.3:
            tone = 0.6 + 0.3 * noise(tile, u * 1.5, z * 1.5, level)
            return True, (0.08 + 0.25 * light[L_AUTUMN]) * tone, 0.14 * tone, 0.05 * tone, 0.0
    return True, r, g, bl, glow
