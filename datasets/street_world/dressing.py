"""Chooses photographs for the surfaces of a street, of its traffic and of its sky.

What is fixed in the world depends on the seeds of the world, so that every traverse sees the same front. Buildings of
repeated blocks have the same seed, and so the same photograph.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vpr.datasets.photographed.folder import Texture, Textures
from vpr.datasets.street_world import columns as c
from vpr.datasets.street_world.city import City
from vpr.datasets.street_world.seeds import rng_for
from vpr.datasets.street_world.street import Street
from vpr.datasets.street_world.weather import Weather

DRAWN_STREETS = 0.15  # share of the streets that stay drawn, so that a model keeps what it knows of these
CITY_FACADES = 0.5  # share of the facades that one city has
FRONTS = {"suburb": 0.75, "country": 0.7, "passage": 0.0}  # share of the buildings with a photographed front
FRONT = 0.9  # in other scenes
WALLS, ROOFS, OWN_GROUND_FLOOR, DRAWN_SHOPS, RECOLOURED = 0.8, 0.8, 0.4, 0.35, 0.6
LEAF_LIGHT = (0.045, 0.1)  # mean linear light of leaves
SKIES = {"low_sun": "dusk_sky", "dusk": "dusk_sky", "night": "night_sky", "wet_night": "night_sky", "day": "day_sky",
         "autumn": "day_sky", "bare": "day_sky", "overcast": "grey_sky", "rain": "grey_sky",
         "winter": "grey_sky"}  # fmt: skip
PHOTOGRAPHED_SKY = 0.6  # share of the traverses
SPECIES = {c.BROADLEAF: "broadleaf", c.CONIFER: "conifer", c.PALM: "palm", c.BUSH: "bush"}
LUMA = np.array([0.25, 0.6, 0.15])


def pick(textures: Textures, rng: np.random.Generator, *kinds: str) -> int:
    """The column value of a random texture of these kinds: its number plus 1, or 0 if there is none."""
    chosen = textures.of_kind(*kinds)
    return int(rng.choice(chosen)) + 1 if chosen else 0


def _texture(textures: Textures, number: float) -> Texture:
    """The texture of a column value above 0."""
    return textures.table[int(number) - 1]


def _hue(colour: np.ndarray) -> np.ndarray:
    """A linear RGB colour (3,) scaled to brightness 1."""
    hue: np.ndarray = colour / (colour @ LUMA)
    return hue


def _keep_proportions(p: np.ndarray, texture: Texture) -> None:
    """Give an object the width that its picture has at its height."""
    p[c.P_X1] = p[c.P_TOP] * texture.width_m / texture.height_m


def dress_street(street: Street, city: City, number: int, textures: Textures) -> Street:
    """The street with photographed surfaces; some streets are returned as they are."""
    rng = rng_for(city.seed, city.name, "photographs", number)
    if rng.random() < DRAWN_STREETS:
        return street
    buildings = street.buildings.copy()
    for b in buildings:
        if b[c.B_FLOOR] > 0:  # without buildings there is one row of zeros
            _dress_building(b, street.scene, city, textures)
    prims, ground = street.prims.copy(), street.ground.copy()
    for p in prims:
        _dress_object(p, textures)
    ground[c.G_ROAD_PHOTO] = pick(textures, rng, "cobbles" if ground[c.G_COBBLE] else "road")
    ground[c.G_COBBLE] = ground[c.G_COBBLE] and not ground[c.G_ROAD_PHOTO]
    ground[c.G_WALK_PHOTO] = pick(textures, rng, *(("pavement", "road") if rng.random() < 0.8 else ("cobbles",)))
    ground[c.G_LAWN_PHOTO] = pick(textures, rng, "grass")
    ground[c.G_YARD_PHOTO] = pick(textures, rng, "soil", "pavement")
    ground[c.G_TREELINE_PHOTO] = pick(textures, rng, "treeline") if rng.random() < 0.85 else 0
    return replace(street, buildings=buildings, prims=prims, ground=ground)


def _dress_building(b: np.ndarray, scene: str, city: City, textures: Textures) -> None:
    """Give a building its photographs. What repeats in a block comes from one seed, the rest from another."""
    rng = rng_for(city.seed, city.name, "front", int(b[c.B_SEED]))
    own = rng_for(city.seed, city.name, "ground floor", int(b[c.B_UNIQUE]))
    storeys = 1 + max(round(float(b[c.B_EAVES] - 0.4 - b[c.B_GROUND]) / float(b[c.B_FLOOR])), 0)
    b[c.B_STOREYS] = storeys
    if rng.random() < WALLS:
        b[c.B_WALL_PHOTO] = pick(textures, rng, "wall")
        _mix_wall(b, textures, rng.uniform(0.3, 0.8))
    if rng.random() < ROOFS:
        b[c.B_ROOF_PHOTO] = pick(textures, rng, "roof")
    if rng.random() < FRONTS.get(scene, FRONT):
        b[c.B_PHOTO] = _pick_facade(textures, rng, city, storeys)
        b[c.B_PHOTO_SCALE], b[c.B_PHOTO_SHIFT] = rng.uniform(0.75, 1.3), rng.uniform(0, 2)
        b[c.B_CAST_R : c.B_CAST_B + 1] = _cast(b, textures, rng)
        if own.random() < OWN_GROUND_FLOOR:
            b[c.B_GROUND_PHOTO] = _pick_facade(textures, own, city, max(storeys, 2))
        b[c.B_SHOP] = b[c.B_SHOP] and own.random() < DRAWN_SHOPS
        b[c.B_DOOR], b[c.B_POSTER] = pick(textures, own, "door"), pick(textures, own, "poster")


def _mix_wall(b: np.ndarray, textures: Textures, share: float) -> None:
    """Bring the colour of a wall towards that of its photograph."""
    if b[c.B_WALL_PHOTO]:
        mean = np.array(_texture(textures, b[c.B_WALL_PHOTO]).mean)
        wall = b[c.B_WALL_R : c.B_WALL_B + 1]
        wall[:] = wall ** (1 - share) * np.clip(mean * 1.3, 0.02, 0.8) ** share


def _pick_facade(textures: Textures, rng: np.random.Generator, city: City, storeys: int) -> int:
    """The column value of a facade of the city; those of about as many storeys are likelier."""
    every = np.array(textures.of_kind("facade"))
    chosen = every[rng_for(city.seed, city.name, "facades").random(len(every)) < CITY_FACADES]
    known = np.array([textures.table[k].storeys for k in chosen])
    weight = np.exp(-2.5 * np.abs(np.log(known / storeys)))
    return int(rng.choice(chosen, p=weight / weight.sum())) + 1


def _cast(b: np.ndarray, textures: Textures, rng: np.random.Generator) -> np.ndarray:
    """Factors (3,) on the wall of a facade: another brightness and white balance, and often the colour of the style."""
    cast = np.exp(rng.normal(0, 0.2) + rng.normal(0, 0.06, 3))
    if rng.random() < RECOLOURED:
        mean, wall = np.array(_texture(textures, b[c.B_PHOTO]).mean), b[c.B_WALL_R : c.B_WALL_B + 1]
        cast *= (_hue(wall) / _hue(mean)) ** rng.uniform(0.1, 0.7)
    return cast


def _dress_object(p: np.ndarray, textures: Textures) -> None:
    """Give a tree, a hedge or a garden wall its photograph; the width of a tree follows from its picture."""
    rng, kind = rng_for("object", int(p[c.P_SEED]), float(p[c.P_X0]), float(p[c.P_Y0])), p[c.P_KIND]
    if kind == c.TREE:
        _dress_tree(p, textures, rng)
    elif kind == c.HEDGE:
        p[c.P_PHOTO] = pick(textures, rng, "hedge")
    elif kind == c.FENCE and p[c.P_AUX] == 0:
        p[c.P_PHOTO] = pick(textures, rng, "wall")


def _dress_tree(p: np.ndarray, textures: Textures, rng: np.random.Generator) -> None:
    species = SPECIES[int(p[c.P_AUX])]
    if not (number := pick(textures, rng, species)):
        return
    p[c.P_PHOTO], texture = number, _texture(textures, number)
    if species == "broadleaf" or (species == "bush" and rng.random() < 0.4):
        p[c.P_BARE_PHOTO] = pick(textures, rng, "bare")
    _keep_proportions(p, texture)
    p[c.P_X1] = np.clip(p[c.P_X1], 0.25 * p[c.P_TOP], 2.2 * p[c.P_TOP])
    p[c.P_X1] *= rng.uniform(0.85, 1.15)
    mean = np.array(texture.mean)
    light = rng.uniform(*LEAF_LIGHT) / (mean @ LUMA)
    p[c.P_R : c.P_B + 1] = np.clip(light, 0.5, 5.0) * np.exp(rng.normal(0, 0.1, 3))


def dress_traffic(prims: np.ndarray, textures: Textures, rng: np.random.Generator) -> np.ndarray:
    """Cars and walkers (N, PRIMITIVE_WIDTH) with photographs of people, and of lorries on the sides of vans."""
    prims = prims.copy()
    for p in prims:
        tint = rng.uniform(0.7, 1.3) * np.exp(rng.normal(0, 0.12, 3))
        if p[c.P_KIND] == c.PERSON and (number := pick(textures, rng, "person")):
            p[c.P_PHOTO], p[c.P_SEED] = number, rng.integers(1, 9000)
            _keep_proportions(p, _texture(textures, number))
            p[c.P_R : c.P_B + 1] = tint
        elif p[c.P_KIND] == c.CAR_SIDE and p[c.P_AUX] > 0.5 and rng.random() < 0.5:
            p[c.P_PHOTO] = pick(textures, rng, "lorry")
            if p[c.P_PHOTO]:
                p[c.P_R : c.P_B + 1] = tint
    return prims


def dress_sky(light: np.ndarray, weather: Weather, textures: Textures, rng: np.random.Generator) -> np.ndarray:
    """The light of a traverse, often with a photographed sky as bright as the drawn one, its sun where the sun is."""
    kind = SKIES.get(weather.name)
    if kind is None or rng.random() > PHOTOGRAPHED_SKY or not (number := pick(textures, rng, kind)):
        return light
    light, texture = light.copy(), _texture(textures, number)
    drawn = 0.5 * (light[c.L_HOR_R : c.L_HOR_B + 1] + light[c.L_ZEN_R : c.L_ZEN_B + 1])
    mean = np.maximum(texture.mean, 1e-3)
    bright = (drawn @ LUMA) / (mean @ LUMA)
    light[c.L_SKY_R : c.L_SKY_B + 1] = bright * (_hue(drawn) / _hue(mean)) ** 0.4
    light[c.L_SKY_PHOTO] = number
    azimuth = np.arctan2(light[c.L_SUN_Y], light[c.L_SUN_X]) / (2 * np.pi)
    light[c.L_SKY_TURN] = _brightest(textures, texture) + azimuth
    light[c.L_CLOUD] *= rng.random() < 0.3
    return light


def _brightest(textures: Textures, texture: Texture) -> float:
    """Where a sky is brightest, as a share of its width."""
    wide, high = texture.sizes[-2]
    start = texture.starts[-2]
    grey = textures.texels[start : start + wide * high, :3].reshape(high, wide, 3).mean(axis=(0, 2))
    return (float(grey.argmax()) + 0.5) / wide
