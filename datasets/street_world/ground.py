"""Ground, ceiling, sky and skyline, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from vpr.datasets.street_world.columns import (
    G_AMP,
    G_COBBLE,
    G_CROSSING,
    G_GAP0,
    G_GAP0_HALF,
    G_GAP1,
    G_GAP1_HALF,
    G_HILL,
    G_LAWN_PHOTO,
    G_LINES,
    G_PHASE,
    G_RIDGE,
    G_ROAD,
    G_ROAD_PHOTO,
    G_SEED,
    G_TONE,
    G_TOWER,
    G_TREELINE_PHOTO,
    G_VERGE,
    G_WALK,
    G_WALK_B,
    G_WALK_G,
    G_WALK_PHOTO,
    G_WALK_R,
    G_WATER,
    G_WAVE,
    G_YARD_PHOTO,
    L_AUTUMN,
    L_CLOUD,
    L_DRY,
    L_HOR_B,
    L_HOR_G,
    L_HOR_R,
    L_LIT,
    L_SEED,
    L_SKY_B,
    L_SKY_G,
    L_SKY_PHOTO,
    L_SKY_R,
    L_SKY_TURN,
    L_SNOW,
    L_SUN_B,
    L_SUN_G,
    L_SUN_R,
    L_SUN_X,
    L_SUN_Y,
    L_SUN_Z,
    L_WET,
    L_ZEN_B,
    L_ZEN_G,
    L_ZEN_R,
)
from vpr.datasets.street_world.noise import hash01, noise
from vpr.datasets.street_world.photographs import T_B, T_G, T_HIGH, T_R, T_WIDE, detail, texel


@njit(cache=True, fastmath=True)
def centre_line(ground, x):
    """The street's lateral position at x metres along it; 0 at x = 0."""
    return ground[G_AMP] * (np.sin(ground[G_WAVE] * x + ground[G_PHASE]) - np.sin(ground[G_PHASE]))


@njit(cache=True, fastmath=True)
def asphalt(ground, x, lat, half, tile, level):
    """Colour (r, g, b) of the carriageway with its patches, joints and painted lines."""
    seed = ground[G_SEED]
    broad = noise(tile, x * 0.12, lat * 0.3 + seed, 0)
    tone = ground[G_TONE] * (1 + 0.14 * noise(tile, x + seed, lat, level) + 0.16 * broad)
    if hash01(int(x / 3.1), int(lat / 1.7 + 50), int(seed)) < 0.07:
        tone *= 0.72
    if ground[G_COBBLE] > 0.5 and level < 3:
        shift = 0.5 * (int(x / 0.3) & 1)
        if (x / 0.3) % 1.0 < 0.14 or (lat / 0.3 + shift) % 1.0 < 0.14:
            tone *= 0.65
    r, g, b = tone, tone * 0.99, tone * 0.97
    worn = 0.55 + 0.2 * noise(tile, x * 0.7, lat * 0.7 + 3.0, level)
    lines = ground[G_LINES]
    painted = False
    if lines > 0.5 and abs(lat) < 0.08 and (lines > 1.5 or (x / 6.0) % 1.0 < 0.5):
        painted = True
    if lines > 0.5 and abs(abs(lat) - half + (2.2 if lines < 2.5 else 0.4)) < 0.07:
        painted = True
    if abs(x - ground[G_CROSSING]) < 2.0 and abs(lat) < half - 0.3 and (lat / 1.1) % 1.0 < 0.5:
        painted = True
    if painted:
        return worn, worn, worn * 0.95
    if (x / 17.3 + seed) % 1.0 < 0.04 and abs(lat - 1.1) < 0.35:
        return tone * 0.5, tone * 0.48, tone * 0.46
    return r, g, b


@njit(cache=True, fastmath=True)
def lawn(x, y, seed, tile, level, light):
    """Colour (r, g, b) of grass by season."""
    tone = 0.75 + 0.22 * noise(tile, x * 0.8, y * 0.8 + seed, level) + 0.2 * noise(tile, x * 0.07 + seed, y * 0.07, 0)
    dry = light[L_DRY]
    field = hash01(int(x / 55.0 + 40.0), int(y / 32.0 + 40.0), int(seed))
    if abs(y) > 14.0:
        dry = min(dry + 0.9 * (field > 0.6), 1.2)
        tone *= 0.7 + 0.6 * field
        if noise(tile, x * 0.12 + seed, y * 0.12, 0) > 0.9:
            return 0.2 * tone, 0.17 * tone, 0.13 * tone
    r = (0.075 + 0.10 * dry) * tone
    g = (0.13 + 0.01 * dry) * tone
    if light[L_AUTUMN] > 0.2 and noise(tile, x * 1.6, y * 1.6, level) > 1.2 - light[L_AUTUMN]:
        return 0.32 * tone, 0.17 * tone, 0.04 * tone
    return max(r, 0.01), max(g, 0.01), max(0.03 * tone, 0.01)


@njit(cache=True, fastmath=True)
def floor_colour(ground, x, y, tile, level, light, photos, size):
    """Colour (r, g, b) of the ground at street coordinates (x, y), and how much it mirrors.

    photos: `Photographs`, or None for drawn ground. size: footprint of a pixel, metres.
    """
    lat = y - centre_line(ground, x)
    half, walk = ground[G_ROAD], ground[G_WALK]
    side, seed = abs(lat), ground[G_SEED]
    gap = 99.0
    if abs(x - ground[G_GAP0]) < ground[G_GAP0_HALF]:
        gap = abs(x - ground[G_GAP0]) - ground[G_GAP0_HALF] * 0.62
    if abs(x - ground[G_GAP1]) < ground[G_GAP1_HALF]:
        gap = abs(x - ground[G_GAP1]) - ground[G_GAP1_HALF] * 0.62
    wet = light[L_WET]
    if ground[G_WATER] > 0.0 and -lat > ground[G_WATER] + 1.2 * noise(tile, x * 0.1, seed, 0):
        ripple = 0.06 + 0.02 * noise(tile, x * 0.5, y * 0.5, level)
        return 0.5 * ripple, 0.8 * ripple, ripple, 1.6
    tracks, surface = 1.0, 0.0
    if side < half or gap < 0.0:
        surface = ground[G_ROAD_PHOTO]
        if gap < 0.0 and side >= half:
            r, g, b = asphalt(ground, lat, gap, 99.0, tile, level)
        else:
            r, g, b = asphalt(ground, x, lat, half, tile, level)
        tracks = 0.95 if abs(abs(lat) - 1.7) > 0.7 else 0.35
    elif side < half + 0.16:
        r, g, b = 0.36, 0.355, 0.34
        surface = ground[G_ROAD_PHOTO]
    elif side < half + walk or gap < 50.0:
        tone = 1.0 + 0.12 * noise(tile, x, lat + seed, level) + 0.1 * noise(tile, x * 0.1, lat * 0.1, 0)
        if level < 3 and ((x / 0.8) % 1.0 < 0.06 or (lat / 0.8) % 1.0 < 0.06):
            tone *= 0.75
        r, g, b = ground[G_WALK_R] * tone, ground[G_WALK_G] * tone, ground[G_WALK_B] * tone
        tracks, surface = 0.8, ground[G_WALK_PHOTO]
    elif ground[G_VERGE] > 0.5:
        r, g, b = lawn(x, y, seed, tile, level, light)
        surface = ground[G_LAWN_PHOTO]
        wet *= 0.1
    else:
        tone = 0.24 + 0.04 * noise(tile, x, y, level)
        r, g, b = tone, tone * 0.97, tone * 0.9
        surface = ground[G_YARD_PHOTO]
    if photos is not None:
        dr, dg, db = detail(photos, surface, x, lat, size)
        r, g, b = r * dr, g * dg, b * db
    if light[L_SNOW] > 0.0:
        cover = light[L_SNOW] * tracks + 0.16 * noise(tile, x * 0.4 + seed, lat * 0.9, level)
        s = min(max((cover - 0.35) * 3.0, 0.0), 1.0)
        white = 0.78 + 0.06 * noise(tile, x * 0.8, y * 0.8, level)
        r, g, b = r * (1 - s) + white * 0.97 * s, g * (1 - s) + white * s, b * (1 - s) + white * 1.05 * s
        wet *= 1.0 - s
    if wet > 0.0:
        puddle = wet * (0.55 + 0.45 * (noise(tile, x * 0.15 + seed, lat * 0.3, 0) > 0.2))
        return r * (1 - 0.55 * wet), g * (1 - 0.55 * wet), b * (1 - 0.5 * wet), puddle
    return r, g, b, 0.0


@njit(cache=True, fastmath=True)
def sky(dx, dy, slope, tile, light, photos, size):
    """Colour (r, g, b) of the sky along the level direction (dx, dy) at a slope >= 0."""
    up = slope / np.sqrt(1.0 + slope * slope)
    t = min(up * 1.6, 1.0) ** 0.6
    r = light[L_HOR_R] * (1 - t) + light[L_ZEN_R] * t
    g = light[L_HOR_G] * (1 - t) + light[L_ZEN_G] * t
    b = light[L_HOR_B] * (1 - t) + light[L_ZEN_B] * t
    if photos is not None:
        if light[L_SKY_PHOTO] > 0.0:
            turn = light[L_SKY_TURN] - np.arctan2(dy, dx) / (2.0 * np.pi)
            high = min(0.985 - 0.97 * np.arctan(slope) / (0.5 * np.pi), 0.985)
            pr, pg, pb, _ = texel(photos, int(light[L_SKY_PHOTO]) - 1, turn, high, size / (2.0 * np.pi))
            r, g, b = pr * light[L_SKY_R], pg * light[L_SKY_G], pb * light[L_SKY_B]
    cloud = light[L_CLOUD]
    if cloud > 0.0:
        s = 1.4 / (slope + 0.16)
        cu, cv = dx * s + light[L_SEED], dy * s + 0.37 * light[L_SEED]
        n = 0.75 * noise(tile, cu * 0.55, cv * 0.55, 0) + 0.25 * noise(tile, cu * 1.9, cv * 1.9, 1)
        cover = min(max((n + 2.6 * cloud - 1.3) * 0.9, 0.0), 1.0)
        shade = 1.0 - 0.30 * min(max(n + 1.6 * cloud - 0.9, 0.0), 1.2)
        white = (light[L_HOR_R] + light[L_HOR_G] + light[L_HOR_B]) * 0.36
        sun = 0.25 * (light[L_SUN_R] + light[L_SUN_G])
        r = r * (1 - cover) + (white + 0.10 * sun) * shade * cover
        g = g * (1 - cover) + (white + 0.09 * sun) * shade * cover
        b = b * (1 - cover) + (white + 0.08 * sun) * shade * cover
    near = (dx * light[L_SUN_X] + dy * light[L_SUN_Y] + slope * light[L_SUN_Z]) / np.sqrt(
        dx * dx + dy * dy + slope * slope
    )
    if near > 0.0:
        halo = (0.25 * near**12 + 2.0 * near**300) * (1.0 - 0.8 * cloud)
        r, g, b = r + light[L_SUN_R] * halo, g + light[L_SUN_G] * halo, b + light[L_SUN_B] * halo
    return r, g, b


@njit(cache=True, fastmath=True)
def hillside(angle, slope, crest, seed, tile, light):
    """Colour (r, g, b) of a hill: woods, meadows and rock, white above the snow line."""
    patch = noise(tile, angle * 5.0 + seed, slope * 22.0 + seed, 0)
    grain = noise(tile, angle * 21.0, slope * 60.0 + seed, 0)
    tone = max(0.75 + 0.3 * grain + 0.25 * patch, 0.2)
    r, g, b = 0.045 + 0.10 * light[L_AUTUMN], 0.07, 0.035
    if patch > 0.35:
        r, g, b = 0.11 + 0.06 * light[L_DRY], 0.13 + 0.02 * light[L_DRY], 0.06
    if slope + 0.05 * patch > 0.26:
        r, g, b = 0.20, 0.19, 0.18
    cover = light[L_SNOW] * (0.9 if patch > 0.35 else 0.4) + (0.9 if slope + 0.06 * patch > 0.36 else 0.0)
    s = min(max(cover + 0.2 * grain, 0.0), 0.9)
    return (r * (1 - s) + 0.75 * s) * tone, (g * (1 - s) + 0.78 * s) * tone, (b * (1 - s) + 0.84 * s) * tone


@njit(cache=True, fastmath=True)
def skyline(ground, dx, dy, slope, tile, light, photos, size):
    """Values (alpha, r, g, b, glow, distance in metres) of what is far away: woods, towers, two ranges of hills."""
    angle = np.arctan2(dy, dx)
    seed = ground[G_SEED]
    fine = noise(tile, angle * 11.0, seed, 0)
    ridge = ground[G_RIDGE] * (
        0.6 + 0.22 * noise(tile, angle * 3.0 + 2.0 * seed, 1.3, 0) + 0.12 * noise(tile, angle * 16.0, seed + 2.0, 0)
    )
    snow = light[L_SNOW]
    dr, dg, db = 1.0, 1.0, 1.0
    if photos is not None:
        if ground[G_TREELINE_PHOTO] > 0.0:
            k = int(ground[G_TREELINE_PHOTO]) - 1
            ridge = 1.5 * ground[G_RIDGE]
            across = ridge * photos.table[k, T_WIDE] / photos.table[k, T_HIGH]
            high = 1.0 - slope / ridge
            alpha = 0.0
            if high > 0.004:
                dr, dg, db, alpha = texel(photos, k, angle / across, min(high, 0.99), size / across)
                dr, dg, db = dr / photos.table[k, T_R], dg / photos.table[k, T_G], db / photos.table[k, T_B]
            if alpha < 0.4:
                ridge = -1.0
    if slope < ridge:
        tone = 0.7 + 0.3 * noise(tile, angle * 14.0, slope * 30.0 + seed, 0) + 0.4 * slope / max(ridge, 0.01)
        turn, bare = light[L_AUTUMN] * 0.7, light[L_DRY] * 0.6
        return (
            True,
            (0.06 + 0.16 * turn + 0.05 * bare + 0.2 * snow) * tone * dr,
            (0.10 + 0.01 * turn - 0.02 * bare + 0.17 * snow) * tone * dg,
            (0.04 + 0.03 * bare + 0.22 * snow) * tone * db,
            0.0,
            350.0,
        )
    cell = int((angle + 4.0) * 22.0)
    tower = ground[G_TOWER] * max(hash01(cell, int(seed), 61) ** 3, 0.6 * hash01(cell // 3, int(seed), 62))
    if slope < tower:
        wu, wz = int((angle + 4.0) * 220.0), int(slope * 130.0)
        pane = 0.8 if (wu + wz) & 1 else 1.0
        tone = (0.16 + 0.22 * hash01(cell, int(seed), 63)) * pane
        lit = 0.5 if hash01(wu, wz, int(seed)) < 0.35 * light[L_LIT] else 0.0
        return True, tone, tone, tone * 1.03, lit, 400.0
    near = ground[G_HILL] * (0.40 + 0.32 * noise(tile, angle * 2.1 + 3.0 * seed, 2.2, 4) + 0.012 * fine)
    if slope < near:
        r, g, b = hillside(angle, slope, near, seed, tile, light)
        return True, r, g, b, 0.0, 600.0
    far = ground[G_HILL] * (0.62 + 0.42 * noise(tile, angle * 2.1 + seed, 7.1, 3) + 0.02 * fine)
    if slope < far:
        r, g, b = hillside(angle * 1.3 + 1.0, slope, far, seed + 3.0, tile, light)
        return True, r, g, b, 0.0, 1500.0
    return False, 0.0, 0.0, 0.0, 0.0, 0.0


@njit(cache=True, fastmath=True)
def ceiling(ground, x, y, tile, level):
    """Colour and glow (r, g, b, glow) of a passage's ceiling: beams, panels and strip lights."""
    lat = y - centre_line(ground, x)
    tone = 0.5 + 0.06 * noise(tile, x, y + ground[G_SEED], level)
    if (x / 3.0) % 1.0 < 0.12 or (lat / 1.5) % 1.0 < 0.05:
        tone *= 0.6
    if abs(lat) < 0.25 and (x / 3.0) % 1.0 > 0.4:
        return 0.9, 0.9, 0.88, 2.2
    return tone, tone * 0.98, tone * 0.94, 0.0
