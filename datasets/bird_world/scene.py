"""What differs between photos of one species: background, things in front, light and camera."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from vpr.datasets.bird_world.drawing import Canvas, Pose, draw_bird
from vpr.datasets.bird_world.species import Species

SUPERSAMPLE = 2
PLACES = (
    ((196, 214, 228), (150, 178, 206)), ((92, 118, 64), (44, 66, 34)), ((122, 104, 80), (70, 58, 44)),
    ((150, 164, 160), (84, 104, 112)), ((214, 204, 184), (172, 158, 134)), ((60, 70, 60), (28, 34, 30)),
)  # fmt: skip


def photograph(species: Species, size: int, rng: np.random.Generator) -> bytes:
    """A JPEG of a bird, size x size pixels."""
    pixels = size * SUPERSAMPLE
    background = _background(pixels, rng)
    pose = Pose.draw(rng)
    canvas = Canvas(background, pose.matrix(pixels))
    _draw_twigs(canvas.image, rng, under=pose)
    draw_bird(canvas, species, pose)
    lit = _add_light(canvas, rng)
    _draw_twigs(lit, rng)
    return _develop(lit.resize((size, size), Image.Resampling.LANCZOS), rng)


def _texture(pixels: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise (pixels, pixels) in [0, 1], from ``cells`` x ``cells`` random values."""
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), np.uint8))
    return np.asarray(coarse.resize((pixels, pixels), Image.Resampling.BICUBIC), np.float32) / 255


def _background(pixels: int, rng: np.random.Generator) -> Image.Image:
    first, second = (np.array(colour, np.float32) for colour in PLACES[rng.integers(len(PLACES))])
    mix = sum(_texture(pixels, int(cells), rng) for cells in rng.choice([2, 3, 5, 9, 17, 33], 3, replace=False)) / 3
    mix = np.clip((mix - 0.5) * rng.uniform(1.0, 3.0) + 0.5, 0, 1)[..., None]
    noisy = first * mix + second * (1 - mix) + rng.normal(0, 12, 3)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _draw_twigs(image: Image.Image, rng: np.random.Generator, under: Pose | None = None) -> None:
    """Draw one branch below the bird, or a few leaves in front of it."""
    pen, pixels = ImageDraw.Draw(image), image.size[0]
    shade = np.array(PLACES[rng.integers(1, len(PLACES))][1]) * rng.uniform(0.6, 1.3)
    colour = tuple(int(value) for value in np.clip(shade, 0, 255))
    if under is not None:
        level = (under.place[1] + 0.4 * under.size) * pixels
        ends = [(-10, level + rng.normal(0, 0.06) * pixels), (pixels + 10, level + rng.normal(0, 0.06) * pixels)]
        pen.line(ends, colour, int(rng.uniform(0.02, 0.06) * pixels))
        return
    for _ in range(rng.integers(0, 4)):
        centre, length = rng.uniform(0.1, 0.9, 2) * pixels, rng.uniform(0.06, 0.2) * pixels
        direction = rng.uniform(0, np.pi)
        along = np.array([np.cos(direction), np.sin(direction)]) * length
        across = np.array([-along[1], along[0]]) * rng.uniform(0.1, 0.35)
        leaf = [centre - along, centre + across, centre + along, centre - across]
        pen.polygon([tuple(point) for point in np.array(leaf).tolist()], colour)


def _add_light(canvas: Canvas, rng: np.random.Generator) -> Image.Image:
    """The image with light from one side on the bird, and feathers of uneven colour."""
    pixels = canvas.image.size[0]
    direction = rng.uniform(-np.pi, 0)
    across, down = np.meshgrid(np.linspace(-1, 1, pixels), np.linspace(-1, 1, pixels))
    light = 1 + rng.uniform(0.1, 0.5) * (np.cos(direction) * across + np.sin(direction) * down)
    light = light * (1 + 0.3 * (_texture(pixels, 40, rng) - 0.5))
    covered = np.asarray(canvas.cover, np.float32)[..., None] / 255
    colours = np.asarray(canvas.image, np.float32)
    lit = colours * (covered * light[..., None] + 1 - covered)
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _develop(image: Image.Image, rng: np.random.Generator) -> bytes:
    """The JPEG of the image after exposure, white balance, contrast, blur and noise."""
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    values = np.asarray(image, np.float32) / 255
    values = values ** rng.uniform(0.7, 1.4) * rng.uniform(0.8, 1.15) * rng.uniform(0.9, 1.1, 3)
    values = 255 * values + rng.normal(0, rng.uniform(1, 6), values.shape)
    content = io.BytesIO()
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(content, "JPEG", quality=int(rng.integers(75, 95)))
    return content.getvalue()
