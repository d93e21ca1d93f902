"""The ray-caster: columns of an image against vertical rectangles, ground and sky; linear RGB out.

The ray of a column meets every rectangle at most once. The hits are sorted by depth and painted front to back, each
over the rows that its height covers; through holes the next hit is seen. The rest is ground below the horizon and sky
above it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vpr.datasets.street_world.columns import (
    B_EAVES,
    B_ROOF_H,
    BILLBOARD,
    CAR_END,
    CAR_SIDE,
    FACADE,
    G_CEILING,
    HEDGE,
    L_AMB_B,
    L_AMB_G,
    L_AMB_R,
    L_FOG,
    L_FOG_B,
    L_FOG_G,
    L_FOG_R,
    L_HEAD,
    L_LAMP,
    L_SUN_B,
    L_SUN_G,
    L_SUN_R,
    L_SUN_X,
    L_SUN_Y,
    L_SUN_Z,
    LAMP,
    P_AUX,
    P_KIND,
    P_ROW,
    P_TOP,
    P_X0,
    P_X1,
    P_Y0,
    P_Y1,
    PERSON,
    SIGN,
    TREE,
)
from vpr.datasets.street_world.facade import facade
from vpr.datasets.street_world.ground import ceiling, floor_colour, sky, skyline
from vpr.datasets.street_world.noise import mip_level
from vpr.datasets.street_world.props import car_end, car_side, fence, hedge, lamp, person, sign, tree

FAR_M = 260.0
MAX_HITS = 96


@njit(cache=True, fastmath=True)
def sunlit(shadow, x, y, z):
    """The share of sun at (x, y, z), 0..1. shadow: (rows, columns) heights, their place in row 0; see `shadow_map`."""
    cell = shadow[0, 2]
    i, j = int((y - shadow[0, 1]) / cell) + 1, int((x - shadow[0, 0]) / cell)
    if i < 1 or j < 0 or i >= shadow.shape[0] - 1 or j >= shadow.shape[1] - 1:
        return 1.0
    fy, fx = (y - shadow[0, 1]) / cell + 1 - i, (x - shadow[0, 0]) / cell - j
    height = (shadow[i, j] * (1 - fx) + shadow[i, j + 1] * fx) * (1 - fy) + (
        shadow[i + 1, j] * (1 - fx) + shadow[i + 1, j + 1] * fx
    ) * fy
    return min(max((z - height) * 1.5 + 0.5, 0.0), 1.0)


@njit(cache=True, fastmath=True)
def lamplight(lamps, x, y, z, light):
    """The brightness of a point by street lamps. lamps: (K, 3) positions, metres."""
    total = 0.0
    for k in range(lamps.shape[0]):
        dx, dy, dz = lamps[k, 0] - x, lamps[k, 1] - y, lamps[k, 2] - z
        d2 = dx * dx + dy * dy + dz * dz
        if d2 < 900.0:
            total += 22.0 / (d2 + 6.0) * (1.0 if dz > 0 else 0.15)
    return total * light[L_LAMP]


@njit(cache=True, fastmath=True)
def lit_colour(r, g, b, glow, sun, occlusion, lamp_sum, head, light):
    """The light that leaves a surface of albedo (r, g, b) towards the eye."""
    ar = light[L_AMB_R] * occlusion + light[L_SUN_R] * sun + lamp_sum + head
    ag = light[L_AMB_G] * occlusion + light[L_SUN_G] * sun + lamp_sum * 0.74 + head * 0.95
    ab = light[L_AMB_B] * occlusion + light[L_SUN_B] * sun + lamp_sum * 0.42 + head * 0.85
    return r * ar + glow, g * ag + glow * 0.8, b * ab + glow * 0.5


@njit(cache=True, fastmath=True)
def shade(p, b, u, z, width, tile, level, light, photos, size):
    """Values (alpha, r, g, b, glow) of primitive `p` at (u, z) metres, by the shape of its kind.

    photos: `Photographs`, or None for drawn surfaces only. size: footprint of a pixel, metres.
    """
    kind = int(p[P_KIND])
    if kind == FACADE:
        return facade(b, u, z, width, p[P_AUX], tile, level, light, photos, size)
    if kind == TREE:
        return tree(p, u - 0.5 * width, z, tile, level, light, photos, size)
    if kind == CAR_SIDE:
        return car_side(p, u, z, width, light, photos, size)
    if kind == CAR_END:
        return car_end(p, u, z, width, light)
    if kind == PERSON:
        return person(p, u - 0.5 * width, z, light, photos, size)
    if kind == LAMP:
        return lamp(p, u - 0.5 * width, z, light)
    if kind == SIGN:
        return sign(p, u - 0.5 * width, z, light)
    if kind == HEDGE:
        return hedge(p, u, z, tile, level, light, photos, size)
    return fence(p, u, z, tile, level, photos, size)


@njit(cache=True, fastmath=True)
def place_segments(prims, buildings, cx, cy):
    """Segments (N, 5) x, y, ex, ey, top as seen from (cx, cy); billboards turn to face the camera."""
    out = np.empty((prims.shape[0], 5))
    for i in range(prims.shape[0]):
        p = prims[i]
        if p[P_KIND] >= BILLBOARD:
            dx, dy = p[P_X0] - cx, p[P_Y0] - cy
            d = np.sqrt(dx * dx + dy * dy) + 1e-6
            ex, ey = dy / d * p[P_X1], -dx / d * p[P_X1]
            out[i, 0], out[i, 1], out[i, 2], out[i, 3] = p[P_X0] - 0.5 * ex, p[P_Y0] - 0.5 * ey, ex, ey
        else:
            out[i, 0], out[i, 1] = p[P_X0], p[P_Y0]
            out[i, 2], out[i, 3] = p[P_X1] - p[P_X0], p[P_Y1] - p[P_Y0]
        out[i, 4] = p[P_TOP]
        if p[P_KIND] == FACADE:
            row = int(p[P_ROW])
            out[i, 4] = buildings[row, B_EAVES] + buildings[row, B_ROOF_H] + 1.1
    return out


@njit(cache=True, fastmath=True)
def column_hits(segments, cx, cy, dx, dy, depth, along, index):
    """Fill depth, along (metres) and index with the hits of one ray, nearest first; return their number."""
    count = 0
    for i in range(segments.shape[0]):
        ex, ey = segments[i, 2], segments[i, 3]
        det = dx * ey - dy * ex
        if abs(det) < 1e-9:
            continue
        qx, qy = segments[i, 0] - cx, segments[i, 1] - cy
        t = (qx * ey - qy * ex) / det
        if t < 0.7 or t > FAR_M:
            continue
        s = (qx * dy - qy * dx) / det
        if s < 0.0 or s > 1.0 or count >= MAX_HITS:
            continue
        j = count
        while j > 0 and depth[j - 1] > t:
            depth[j], along[j], index[j] = depth[j - 1], along[j - 1], index[j - 1]
            j -= 1
        depth[j], along[j], index[j] = t, s * np.sqrt(ex * ex + ey * ey), i
        count += 1
    return count


@njit(cache=True, fastmath=True)
def paint_hit(image, done, col, rows, p, b, seg, t, u, ray, eye, tile, light, shadow, lamps, photos):
    """Paint the rows of one column that one hit covers. ray: (x, y, dx, dy); eye: height, horizon row, slope/row."""
    fog = 1.0 - np.exp(-light[L_FOG] * t)
    level = mip_level(t * eye[2])
    length = np.sqrt(seg[2] * seg[2] + seg[3] * seg[3])
    x, y = ray[0] + t * ray[2], ray[1] + t * ray[3]
    nx, ny = -seg[3] / length, seg[2] / length
    if nx * ray[2] + ny * ray[3] > 0:
        nx, ny = -nx, -ny
    facing = max(nx * light[L_SUN_X] + ny * light[L_SUN_Y], 0.0)
    if p[P_KIND] >= BILLBOARD:
        facing = 0.6
    elif p[P_KIND] != FACADE:
        facing = 0.35 + 0.5 * facing
    head = light[L_HEAD] * 0.5 * np.exp(-t / 14.0) * (1.0 if ray[2] != 0.0 else 0.0)
    top = int(max(np.floor(eye[1] - (seg[4] - eye[0]) / (t * eye[2])), 0))
    bottom = int(min(np.ceil(eye[1] + eye[0] / (t * eye[2])), rows))
    for row in range(top, bottom):
        if done[row]:
            continue
        z = eye[0] + (eye[1] - row - 0.5) * eye[2] * t
        if z < 0.0 or z > seg[4]:
            continue
        alpha, r, g, bl, glow = shade(p, b, u, z, length, tile, level, light, photos, t * eye[2])
        if not alpha:
            continue
        sun = facing * sunlit(shadow, x + nx * 1.2, y + ny * 1.2, z) if facing > 0 else 0.0
        lamp_sum = lamplight(lamps, x + nx * 0.3, y + ny * 0.3, z, light) if light[L_LAMP] > 0 else 0.0
        r, g, bl = lit_colour(
            r, g, bl, glow, sun, 0.62 + 0.38 * min(z / 9.0, 1.0), lamp_sum, head * np.exp(-z / 3.0), light
        )
        image[row, col, 0] = r * (1 - fog) + light[L_FOG_R] * fog
        image[row, col, 1] = g * (1 - fog) + light[L_FOG_G] * fog
        image[row, col, 2] = bl * (1 - fog) + light[L_FOG_B] * fog
        done[row] = True


@njit(cache=True, fastmath=True)
def paint_rest(image, done, col, rows, ray, eye, wall_t, ground, tile, light, shadow, lamps, photos):
    """Paint the rows of a column that no rectangle covers: sky, skyline, ceiling, ground and its reflections."""
    for row in range(rows):
        if done[row]:
            continue
        slope = (eye[1] - row - 0.5) * eye[2]
        if slope > 0.0 and ground[G_CEILING] <= 0.0:
            hit, r, g, b, glow, distance = skyline(ground, ray[2], ray[3], slope, tile, light, photos, eye[2])
            sr, sg, sb = sky(ray[2], ray[3], slope, tile, light, photos, eye[2])
            haze = 1.0
            if hit:
                haze = 1.0 - np.exp(-(0.5 * light[L_FOG] + 0.0002) * distance)
                r, g, b = lit_colour(r, g, b, glow, 0.5, 0.9, 0.0, 0.0, light)
                sr, sg, sb = light[L_FOG_R], light[L_FOG_G], light[L_FOG_B]
            else:
                r, g, b = 0.0, 0.0, 0.0
            image[row, col, 0] = r * (1 - haze) + sr * haze
            image[row, col, 1] = g * (1 - haze) + sg * haze
            image[row, col, 2] = b * (1 - haze) + sb * haze
            continue
        rise = ground[G_CEILING] - eye[0] if slope > 0.0 else eye[0]
        t = min(rise / max(abs(slope), 1e-4), 900.0)
        x, y = ray[0] + t * ray[2], ray[1] + t * ray[3]
        size = max(t * eye[2], t * t * eye[2] / rise * 0.35)
        level = mip_level(size)
        mirror, glow, sun = 0.0, 0.0, 0.0
        if slope > 0.0:
            r, g, b, glow = ceiling(ground, x, y, tile, level)
        else:
            r, g, b, mirror = floor_colour(ground, x, y, tile, level, light, photos, size)
            sun = light[L_SUN_Z] * sunlit(shadow, x, y, 0.0)
        lamp_sum = lamplight(lamps, x, y, 0.0, light) if light[L_LAMP] > 0 else 0.0
        head = light[L_HEAD] * 1.1 * np.exp(-t / 11.0)
        r, g, b = lit_colour(r, g, b, glow, sun, 0.8, lamp_sum, head, light)
        if mirror > 0.0:
            up = int(2 * eye[1] - row + (2.0 * eye[0] / (wall_t * eye[2]) if wall_t < 1e8 else 0.0))
            up = min(max(up, 0), row - 1)
            k = min(mirror * (0.15 + 0.55 * np.exp(slope * 5.0)), 0.9)
            r = r * (1 - k) + image[up, col, 0] * k
            g = g * (1 - k) + image[up, col, 1] * k
            b = b * (1 - k) + image[up, col, 2] * k
        fog = 1.0 - np.exp(-light[L_FOG] * t)
        image[row, col, 0] = r * (1 - fog) + light[L_FOG_R] * fog
        image[row, col, 1] = g * (1 - fog) + light[L_FOG_G] * fog
        image[row, col, 2] = b * (1 - fog) + light[L_FOG_B] * fog


@njit(cache=True, fastmath=True)
def cast(rays, eye, rows, prims, buildings, ground, tile, light, shadow, lamps, photos=None):
    """One image (rows, columns, 3), linear light.

    Args:
        rays: (columns, 4) x, y, dx, dy, metres.
        eye: camera height (m), horizon row, slope of one row (tangent), roll (rows that the horizon falls a column).
        rows: of the image.
        prims: (N, PRIMITIVE_WIDTH).
        buildings: (B, BUILDING_WIDTH).
        ground: (GROUND_WIDTH,).
        tile: all levels of `noise_tile`.
        light: (LIGHT_WIDTH,).
        shadow: from `shadow_map`.
        lamps: (K, 3) positions, metres.
        photos: `Photographs`, or None for drawn surfaces only.
    """
    columns = rays.shape[0]
    image = np.zeros((rows, columns, 3), np.float32)
    segments = place_segments(prims, buildings, rays[0, 0], rays[0, 1])
    depth, along, index = np.empty(MAX_HITS), np.empty(MAX_HITS), np.empty(MAX_HITS, np.int64)
    done = np.empty(rows, np.bool_)
    level_row, eye = eye[1], eye.copy()
    for col in range(columns):
        done[:] = False
        eye[1] = level_row + eye[3] * (col - 0.5 * columns)
        ray = rays[col]
        count = column_hits(segments, ray[0], ray[1], ray[2], ray[3], depth, along, index)
        wall_t = 1e9
        for k in range(count):
            p = prims[index[k]]
            paint_hit(
                image,
                done,
                col,
                rows,
                p,
                buildings[int(p[P_ROW])],
                segments[index[k]],
                depth[k],
                along[k],
                ray,
                eye,
                tile,
                light,
                shadow,
                lamps,
                photos,
            )
            if p[P_KIND] == FACADE and wall_t > 1e8:
                wall_t = depth[k]
        paint_rest(image, done, col, rows, ray, eye, wall_t, ground, tile, light, shadow, lamps, photos)
    return image
