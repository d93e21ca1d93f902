"""One unit of work: plans or renders a street with all its traverses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr.base.files import write_bytes
from vpr.datasets.street_world import columns as c
from vpr.datasets.street_world.camera import Camera, develop, draw_camera, encode, rays_of
from vpr.datasets.street_world.city import City, make_city
from vpr.datasets.street_world.config import CityPlan, MiniConfig
from vpr.datasets.street_world.dressing import dress_sky, dress_street, dress_traffic
from vpr.datasets.street_world.drive import Frame, Traverse, plan_traverses, street_length
from vpr.datasets.street_world.noise import noise_tile
from vpr.datasets.street_world.photographs import load_photographs
from vpr.datasets.street_world.raycast import cast
from vpr.datasets.street_world.seeds import rng_for
from vpr.datasets.street_world.shadow import shadow_map
from vpr.datasets.street_world.street import Street, make_street
from vpr.datasets.street_world.traffic import draw_traffic
from vpr.datasets.street_world.weather import indoor_light


def plan_street(config: MiniConfig, plan: CityPlan, number: int) -> tuple[City, Street, list[Traverse]]:
    """Lay out one street and plan its traverses, without rendering."""
    city = make_city(config.seed, plan.name)
    street = make_street(city, number, street_length(config))
    if config.textures:
        street = dress_street(street, city, number, load_photographs(Path(config.textures))[0])
    return city, street, plan_traverses(config, plan, city, street, number)


def image_path(root: Path, plan: CityPlan, side: str, key: str) -> Path:
    """The file of an image of a city. side: query or database."""
    return root / plan.part / plan.name / side / "images" / f"{key}.jpg"


def render_frame(config: MiniConfig, street: Street, frame: Frame, camera: Camera, scene: tuple, words: tuple) -> bytes:
    """Render one frame to a JPEG. scene: primitives, light, shadow map of the traverse."""
    prims, light, shadow = scene
    factor = 1 if frame.pano else config.supersample
    rows, columns = config.size * factor, config.size * factor * (2 if frame.pano else 1)
    rays, eye = rays_of(frame, camera, columns, rows)
    photos = load_photographs(Path(config.textures))[1] if config.textures else None
    linear = cast(
        rays, eye, rows, prims, street.buildings, street.ground, noise_tile(), light, shadow, street.lamps, photos
    )
    image = develop(linear, camera, factor, rng_for(*words, frame.key, "develop"))
    return encode(image, camera.quality)


def render_street(config: MiniConfig, plan: CityPlan, number: int, root: Path) -> int:
    """Render the missing images of a street, each atomically; returns their number."""
    _, street, traverses = plan_street(config, plan, number)
    written = 0
    for traverse in traverses:
        todo = [frame for frame in traverse.frames if not image_path(root, plan, traverse.side, frame.key).exists()]
        if not todo:
            continue
        rng = rng_for(*traverse.words, "render")
        prims = np.concatenate([street.prims, draw_traffic(street, rng)])
        camera = draw_camera(traverse.weather.night, street.ground[c.G_EYE], rng)
        light = traverse.weather.light if street.scene != "passage" else indoor_light(traverse.weather, rng)
        if config.textures:
            textures, sky_rng = load_photographs(Path(config.textures))[0], rng_for(*traverse.words, "photographs")
            prims[len(street.prims) :] = dress_traffic(prims[len(street.prims) :], textures, sky_rng)
            light = dress_sky(light, traverse.weather, textures, sky_rng)
        scene = (prims, light, shadow_map(street, light))
        for frame in todo:
            data = render_frame(config, street, frame, camera, scene, traverse.words)
            write_bytes(image_path(root, plan, traverse.side, frame.key), data)
            written += 1
    return written
