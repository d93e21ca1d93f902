"""The fixed geometry of one street: buildings, gardens, trees, lamps and ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr.datasets.street_world import columns as c
from vpr.datasets.street_world.city import ALIASED, BLOCK_POOL, SCENES, STYLES, City, rgb
from vpr.datasets.street_world.ground import centre_line
from vpr.datasets.street_world.seeds import rng_for

BEFORE_M, AFTER_M = 50.0, 110.0  # length of the street before the first and behind the last frame

# half width of the road, pavement, setback of the buildings (from, to), storeys (from, to), tree spacing, gap share
SCENE_SHAPES = {
    "downtown": ((3.5, 7.5), (2.0, 4.5), (0.0, 0.4), (3, 10), 14.0, 0.03),
    "terrace": ((3.0, 5.0), (1.4, 3.0), (0.0, 1.2), (2, 4), 22.0, 0.03),
    "suburb": ((2.8, 4.0), (1.2, 2.2), (4.0, 10.0), (1, 2), 12.0, 0.30),
    "park": ((3.0, 5.0), (1.6, 3.0), (0.0, 3.0), (2, 6), 7.0, 0.10),
    "country": ((2.8, 4.2), (0.3, 1.0), (6.0, 25.0), (1, 2), 9.0, 0.7),
    "industrial": ((3.5, 6.0), (1.0, 2.0), (2.0, 12.0), (1, 3), 30.0, 0.35),
    "vista": ((2.4, 4.5), (0.2, 0.6), (12.0, 45.0), (1, 2), 2.4, 0.85),
    "passage": ((1.4, 2.6), (0.6, 1.4), (0.0, 0.0), (1, 1), 1e9, 0.0),
}

FAR_TREES_M = {"park": 30.0, "country": 40.0, "suburb": 6.0, "vista": 75.0}  # distance of trees from the pavement


@dataclass(frozen=True)
class Street:
    """A street in its own frame: x along it from the first frame, y to the left, metres."""

    scene: str
    length_m: float
    prims: np.ndarray  # (N, PRIMITIVE_WIDTH)
    buildings: np.ndarray  # (B, BUILDING_WIDTH)
    ground: np.ndarray  # (GROUND_WIDTH,)
    lamps: np.ndarray  # (K, 3)
    heights: np.ndarray  # (Y, X) heights of objects that cast shadows, on cells of CELL_M
    corner: tuple[float, float]  # x, y of the first cell


CELL_M = 1.5


class Builder:
    """Collects primitives, building rows and the height map of a street that is being laid out."""

    def __init__(self, city: City, scene: str, length_m: float, rng: np.random.Generator):
        self.city, self.scene, self.rng = city, scene, rng
        self.start, self.end = -BEFORE_M, length_m + AFTER_M
        self.prims: list[np.ndarray] = []
        self.buildings: list[np.ndarray] = []
        self.lamps: list[tuple[float, float, float]] = []
        self.ground = self._ground(length_m)
        self.corner = (self.start - 10.0, -60.0)
        self.heights = np.full((80, int((self.end - self.start + 20) / CELL_M)), -1.0)

    def _ground(self, length_m: float) -> np.ndarray:
        """Draw the cross section, the curve and the backdrop."""
        rng, city, g = self.rng, self.city, np.zeros(c.GROUND_WIDTH)
        road, walk = SCENE_SHAPES[self.scene][:2]
        g[c.G_AMP] = rng.uniform(0, 5.0) * (self.scene != "passage") * (rng.random() < 0.7)
        g[c.G_WAVE], g[c.G_PHASE] = 2 * np.pi / rng.uniform(110, 240), rng.uniform(0, 2 * np.pi)
        g[c.G_ROAD], g[c.G_WALK] = rng.uniform(*road), rng.uniform(*walk)
        g[c.G_VERGE] = self.scene in ("suburb", "park", "country", "vista")
        g[c.G_LINES] = 0 if self.scene == "passage" else rng.integers(0, 4)
        g[c.G_TONE] = rng.uniform(0.09, 0.24) * (1.8 if self.scene == "passage" else 1.0)
        g[c.G_WALK_R : c.G_WALK_B + 1] = rgb(rng, (0.0, 0.15), (0.0, 0.25), (0.45, 0.72))
        g[c.G_SEED] = rng.integers(1, 9000)
        g[c.G_HILL] = city.hills * rng.uniform(0.5, 1.5) + (
            rng.uniform(0.1, 0.8) if self.scene in ("country", "vista") else 0
        )
        g[c.G_TOWER] = city.towers * rng.uniform(0, 1.3) * (self.scene not in ("country", "suburb", "vista"))
        g[c.G_RIDGE] = rng.uniform(0.02, 0.14)
        g[c.G_CEILING] = rng.uniform(3.2, 6.0) if self.scene == "passage" else 0.0
        g[c.G_CROSSING] = rng.uniform(-20, length_m + 20) if rng.random() < 0.5 else -900.0
        g[c.G_GAP0], g[c.G_GAP1] = rng.uniform(-10, length_m * 0.6), rng.uniform(length_m * 0.7, length_m + 60)
        junction = self.scene in ("downtown", "terrace", "suburb", "industrial")
        g[c.G_GAP0_HALF], g[c.G_GAP1_HALF] = rng.uniform(4.5, 8.0, 2) * junction
        g[c.G_COBBLE] = self.scene in ("terrace", "downtown", "park") and rng.random() < 0.25
        if self.scene in ("vista", "park") and rng.random() < 0.4:
            g[c.G_WATER] = g[c.G_ROAD] + g[c.G_WALK] + rng.uniform(3, 20)
        if self.scene == "vista":
            g[c.G_EYE], g[c.G_RIDGE] = rng.uniform(1.8, 9.0), rng.uniform(0.0, 0.2)
        return g

    def add(
        self,
        kind: int,
        ends: tuple,
        top: float,
        colour: tuple | np.ndarray = (0.0, 0.0, 0.0),
        aux: float = 0.0,
        row: int = 0,
    ) -> None:
        """Append a primitive; `ends` is x0, y0, x1, y1 (a billboard: x, y, width, 0)."""
        p = np.zeros(c.PRIMITIVE_WIDTH)
        p[c.P_X0 : c.P_Y1 + 1] = ends
        p[c.P_TOP], p[c.P_KIND], p[c.P_ROW], p[c.P_AUX] = top, kind, row, aux
        p[c.P_SEED] = self.rng.integers(1, 9000)
        p[c.P_R : c.P_B + 1] = colour
        self.prims.append(p)

    def y(self, x: float, side: int, offset: float) -> float:
        """The y, metres, at x and `offset` metres from the centre line on a side (+1 left, -1 right)."""
        return centre_line(self.ground, x) + side * offset

    def cast_height(self, x0: float, x1: float, y0: float, y1: float, height: float) -> None:
        """Raise the height map over a box."""
        j0, j1 = (int((x - self.corner[0]) / CELL_M) for x in (x0, x1))
        i0, i1 = (int((y - self.corner[1]) / CELL_M) for y in sorted((y0, y1)))
        window = self.heights[max(i0, 0) : i1 + 1, max(j0, 0) : j1 + 1]
        np.maximum(window, height, out=window)

    def building(self, style: int, rng: np.random.Generator, storeys: int) -> int:
        """Append the row of a building and return its number.

        Deviations from the style are drawn from `rng`, unique properties from the generator of the street.
        """
        b = self.city.styles[style].copy()
        b[c.B_SEED] = rng.integers(1, 9000)
        b[c.B_WALL_R : c.B_WALL_B + 1] *= rng.uniform(0.75, 1.2) * rng.uniform(0.88, 1.12, 3)
        b[c.B_EAVES] = b[c.B_GROUND] + max(storeys - 1, 0) * b[c.B_FLOOR] + 0.4
        b[c.B_SHOP] = rng.random() < (0.75 if self.scene == "downtown" else 0.25)
        b[c.B_UNIQUE] = b[c.B_SEED] if self.rng.random() < 0.6 else self.rng.integers(1, 9000)
        b[c.B_SHOP_R : c.B_SHOP_B + 1] = rgb(self.rng, (0, 1), (0.2, 0.9), (0.25, 0.85))
        b[c.B_MURAL] = self.rng.uniform(0.5, 1.5) if self.rng.random() < 0.3 else 0.0
        b[c.B_IVY] = self.rng.uniform(0.3, 1.3) if self.rng.random() < 0.12 else 0.0
        if self.scene == "passage":
            b[c.B_EAVES] = self.ground[c.G_CEILING]
            b[c.B_GROUND] = min(b[c.B_GROUND], b[c.B_EAVES])
            b[c.B_ROOF_KIND], b[c.B_ROOF_H] = c.FLAT, 0.4
        if b[c.B_ROOF_KIND] == c.FLAT and self.scene == "suburb":
            b[c.B_ROOF_KIND], b[c.B_ROOF_H] = c.PITCHED, 3.0
        self.buildings.append(b)
        return len(self.buildings) - 1

    def house(self, side: int, span: tuple[float, float], setback: float, row: int, depth: float) -> None:
        """Put up the four walls of a building over `span` along the street."""
        x0, x1 = span
        front = self.ground[c.G_ROAD] + self.ground[c.G_WALK] + setback
        ya, yb = self.y(x0, side, front), self.y(x1, side, front)
        za, zb = self.y(x0, side, front + depth), self.y(x1, side, front + depth)
        self.add(c.FACADE, (x0, ya, x1, yb), 0, aux=1.0, row=row)
        self.add(c.FACADE, (x0, ya, x0, za), 0, aux=0.25, row=row)
        self.add(c.FACADE, (x1, yb, x1, zb), 0, aux=0.25, row=row)
        b = self.buildings[row]
        self.cast_height(x0, x1, (ya + yb) / 2 + side, (za + zb) / 2, b[c.B_EAVES] + 0.5 * b[c.B_ROOF_H])


def lay_block(builder: Builder, side: int, start: float, stop: float, words: tuple) -> None:
    """Fill one stretch of a side with buildings; 35 % of the blocks repeat a sequence of the city's pool."""
    rng, city, scene = builder.rng, builder.city, builder.scene
    aliased = rng.random() < ALIASED
    source = (city.seed, city.name, "pool", scene, rng.integers(BLOCK_POOL)) if aliased else (*words, side, start)
    block = rng_for(*source)
    setback, storeys, gap = SCENE_SHAPES[scene][2], SCENE_SHAPES[scene][3], SCENE_SHAPES[scene][5]
    row_house = scene == "terrace" and block.random() < 0.5
    style, floors, back = (
        int(block.integers(STYLES)),
        int(block.integers(storeys[0], storeys[1] + 1)),
        block.uniform(*setback),
    )
    x = start
    while x < stop - 4.0:
        width = min(
            block.uniform(6, 9) if row_house else block.uniform(8, 20) * (2 if scene == "industrial" else 1), stop - x
        )
        if block.random() < gap:
            x += width
            continue
        if not row_house:
            style, floors = int(block.integers(STYLES)), int(block.integers(storeys[0], storeys[1] + 1))
            back = block.uniform(*setback)
        row = builder.building(style, block, floors)
        span = (x + 1.5, x + width - 1.5) if scene in ("suburb", "country") else (x, x + width)
        builder.house(side, span, back, row, block.uniform(8, 12))
        x += width


def lay_side(builder: Builder, side: int, words: tuple) -> None:
    """Fill one side of the street block by block, leaving out the junctions."""
    g, rng = builder.ground, builder.rng
    open_side = builder.scene == "park" and (side > 0 or rng.random() < 0.4)
    open_side = open_side or (side < 0 and g[c.G_WATER] > 0)
    x = builder.start
    while x < builder.end and not open_side:
        stop = min(x + rng.uniform(40, 70), builder.end)
        for centre, half in ((g[c.G_GAP0], g[c.G_GAP0_HALF]), (g[c.G_GAP1], g[c.G_GAP1_HALF])):
            if half and x < centre - half < stop:
                stop = centre - half
            elif half and centre - half <= x < centre + half:
                x, stop = centre + half, max(stop, centre + half + 20.0)
        lay_block(builder, side, x, stop, words)
        x = stop + 0.01
    lay_front(builder, side)


def lay_front(builder: Builder, side: int) -> None:
    """Add the objects before the houses: fences, hedges, trees, lamps, signs."""
    rng, scene, g = builder.rng, builder.scene, builder.ground
    edge = g[c.G_ROAD] + g[c.G_WALK]
    if scene in ("suburb", "country", "park", "industrial", "vista"):
        x = builder.start
        while x < builder.end:
            run = rng.uniform(8, 25)
            kind = rng.random()
            ends = (x, builder.y(x, side, edge), x + run, builder.y(x + run, side, edge))
            if kind < 0.35:
                builder.add(c.HEDGE, ends, rng.uniform(0.7, 1.9), (0.05, 0.11, 0.03))
            elif kind < 0.75:
                tint = rgb(rng, (0, 0.15), (0, 0.5), (0.3, 0.9))
                builder.add(c.FENCE, ends, rng.uniform(0.7, 1.6), tint, float(rng.integers(4)))
            x += run + rng.uniform(1, 6) + (rng.random() < 0.2) * 12 + (scene == "vista") * rng.uniform(0, 90)
    lay_trees(builder, side, edge)
    spacing, x = rng.uniform(22, 34), builder.start + rng.uniform(0, 20)
    tint = rgb(rng, (0, 1), (0, 0.3), (0.2, 0.6))
    while x < builder.end and scene not in ("passage", "vista"):
        height = rng.uniform(5.5, 8.0)
        if side > 0 or g[c.G_ROAD] > 4.5:
            at = builder.y(x, side, g[c.G_ROAD] + 0.6)
            builder.add(c.LAMP, (x, at, 0.9, 0), height, tint)
            builder.lamps.append((x, at - side * 0.4, height - 0.3))
        if rng.random() < 0.45:
            at = x + rng.uniform(4, 16)
            colour = rgb(rng, (0, 1), (0.7, 1), (0.6, 0.95))
            ends = (at, builder.y(at, side, g[c.G_ROAD] + 0.5), 1.2, 0)
            builder.add(c.SIGN, ends, rng.uniform(2.2, 3.6), colour, float(rng.integers(4)))
        x += spacing


def lay_trees(builder: Builder, side: int, edge: float) -> None:
    """Plant a row of trees along the pavement and, outside towns, single trees further away."""
    rng, scene, g = builder.rng, builder.scene, builder.ground
    spacing, x = SCENE_SHAPES[scene][4] * rng.uniform(0.7, 1.6), builder.start + rng.uniform(0, 10)
    avenue = rng.random() < 0.55 or scene in ("park", "country", "suburb", "vista")
    favourite = int(rng.choice(4, p=builder.city.species))
    while x < builder.end and avenue and spacing < 1e6:
        species = favourite if rng.random() < 0.7 else int(rng.choice(4, p=builder.city.species))
        far = scene in FAR_TREES_M and rng.random() < (0.65 if scene != "vista" else 0.95)
        reach = g[c.G_WATER] - edge if side < 0 and g[c.G_WATER] else FAR_TREES_M.get(scene, 0.0)
        offset = edge + (1.5 + (reach - 1.5) * rng.random() if far else -0.6)
        top = rng.uniform(1.0, 2.5) if species == c.BUSH else rng.uniform(4.5, 12.0)
        width = top * rng.uniform(0.5, 0.95) * (0.75 if species == c.CONIFER else 1.0)
        at = builder.y(x, side, offset)
        builder.add(c.TREE, (x, at, width, 0), top, rgb(rng, (0.18, 0.34), (0.3, 0.68), (0.28, 0.46)), float(species))
        if top > 3:
            builder.cast_height(x - width / 3, x + width / 3, at - width / 3, at + width / 3, 0.8 * top)
        x += spacing * rng.uniform(0.4, 1.6) + (scene == "vista" and rng.random() < 0.06) * rng.uniform(10, 50)


def end_walls(builder: Builder) -> None:
    """Close the far end with a building in half of the built-up streets."""
    rng, scene = builder.rng, builder.scene
    if scene == "passage" or (scene in ("downtown", "terrace") and rng.random() < 0.5):
        for x in (builder.start, builder.end):
            row = builder.building(int(rng.integers(STYLES)), rng, int(rng.integers(2, 6)))
            mid = builder.y(x, 1, 0.0)
            builder.add(c.FACADE, (x, mid - 18, x, mid + 18), 0, aux=1.0, row=row)


def make_street(city: City, number: int, length_m: float) -> Street:
    """Lay out street `number` of a city; depends on the city's seed, its name and the number only."""
    words = (city.seed, city.name, "street", number)
    rng = rng_for(*words)
    scene = SCENES[int(rng.choice(len(SCENES), p=city.scene_shares))]
    builder = Builder(city, scene, length_m, rng)
    for side in (1, -1):
        lay_side(builder, side, words)
    end_walls(builder)
    buildings = np.stack(builder.buildings) if builder.buildings else np.zeros((1, c.BUILDING_WIDTH))
    prims = np.stack(builder.prims)
    lamps = np.array(builder.lamps, float).reshape(-1, 3)
    return Street(scene, length_m, prims, buildings, builder.ground, lamps, builder.heights, builder.corner)
