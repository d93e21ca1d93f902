"""Parked and moving cars, and walkers; drawn again for each traverse."""

from __future__ import annotations

import numpy as np

from vpr.datasets.street_world import columns as c
from vpr.datasets.street_world.city import rgb
from vpr.datasets.street_world.ground import centre_line
from vpr.datasets.street_world.street import Street

PAINTS = (
    (0.6, 0.6, 0.6),
    (0.75, 0.75, 0.75),
    (0.03, 0.03, 0.035),
    (0.25, 0.26, 0.28),
    (0.35, 0.03, 0.03),
    (0.04, 0.08, 0.25),
    (0.12, 0.13, 0.14),
    (0.5, 0.45, 0.35),
    (0.05, 0.16, 0.1),
)


def box(street: Street, x: float, lateral: float, size: tuple, rng: np.random.Generator) -> list[np.ndarray]:
    """The four sides of a car at x, `lateral` metres left of the centre line. size: length, width, height."""
    length, width, height = size
    slope = centre_line(street.ground, x + 0.5) - centre_line(street.ground, x - 0.5)
    forward = np.array([1.0, slope]) / np.hypot(1.0, slope)
    left = np.array([-forward[1], forward[0]])
    middle = np.array([x, centre_line(street.ground, x)]) + lateral * left
    corners = [
        middle + forward * a * length / 2 + left * b * width / 2 for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    towards = -1 if lateral > 0 else 1  # right-hand traffic
    if towards < 0:
        corners = corners[2:] + corners[:2]
    paint = PAINTS[int(rng.integers(len(PAINTS)))]
    sides = []
    for kind, i, j in ((c.CAR_SIDE, 0, 1), (c.CAR_END, 1, 2), (c.CAR_SIDE, 3, 2), (c.CAR_END, 3, 0)):
        p = np.zeros(c.PRIMITIVE_WIDTH)
        p[c.P_X0 : c.P_Y1 + 1] = *corners[i], *corners[j]
        p[c.P_TOP], p[c.P_KIND], p[c.P_AUX] = height, kind, float(height > 1.7)
        p[c.P_SEED] = 1.0 if i == 1 else 2.0
        p[c.P_R : c.P_B + 1] = paint
        sides.append(p)
    return sides


def draw_traffic(street: Street, rng: np.random.Generator) -> np.ndarray:
    """The primitives of this traverse's cars and walkers, (N, PRIMITIVE_WIDTH)."""
    g, prims = street.ground, []
    start, end = -30.0, street.length_m + 70.0
    if street.scene != "passage":
        share = rng.uniform(0.1, 0.85) if street.scene not in ("country", "vista") else 0.04
        for side in (1, -1):
            if g[c.G_ROAD] < 3.4 and side > 0:
                continue
            for x in np.arange(start, end, 6.2):
                if rng.random() < share * 0.8:
                    van = rng.random() < 0.15
                    size = (rng.uniform(3.8, 4.8), 1.75, rng.uniform(1.9, 2.6) if van else rng.uniform(1.38, 1.65))
                    prims += box(street, x + rng.normal(0, 0.5), side * (g[c.G_ROAD] - 0.95), size, rng)
        for _ in range(rng.integers(0, 4)):
            lateral = rng.choice([-1, 1]) * min(1.9, g[c.G_ROAD] * 0.5)
            size = (rng.uniform(3.9, 4.8), 1.78, rng.uniform(1.4, 1.65) if rng.random() < 0.8 else 2.7)
            prims += box(street, rng.uniform(start, end), lateral, size, rng)
    crowd = {"downtown": 14, "terrace": 6, "park": 8, "passage": 16}.get(street.scene, 3)
    for _ in range(rng.integers(0, crowd + 1)):
        p = np.zeros(c.PRIMITIVE_WIDTH)
        x = rng.uniform(start, end)
        offset = rng.choice([-1, 1]) * (g[c.G_ROAD] * (street.scene != "passage") + rng.uniform(0.3, g[c.G_WALK] + 0.3))
        p[c.P_X0 : c.P_Y1 + 1] = x, centre_line(g, x) + offset, 0.8, 0
        p[c.P_TOP], p[c.P_KIND], p[c.P_AUX] = rng.uniform(1.5, 1.9), c.PERSON, rng.random()
        p[c.P_R : c.P_B + 1] = rgb(rng, (0, 1), (0.1, 0.8), (0.15, 0.8))
        prims.append(p)
    return np.array(prims).reshape(-1, c.PRIMITIVE_WIDTH)
