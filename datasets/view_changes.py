"""What changes between two photographs of a place: the light, the season, the sky, things in front, the camera.

Pictures are (H, W, 3) arrays of numbers in [0, 1]. All chances and ranges were chosen by eye.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage
from torchvision.transforms import v2

FLAT_SKY = 0.03  # change of grey from pixel to pixel up to which what touches the upper edge counts as sky
MOST_SKY = 0.5  # share of the picture from which flat pixels do not count as sky
NIGHT, SHADOW, SEASON, NEW_SKY = 0.25, 0.4, 0.5, 0.6  # chances of changes
FOLIAGE = np.array([[0.45, 0.32, 0.16], [0.55, 0.25, 0.08], [0.42, 0.40, 0.38], [0.9, 0.92, 0.95]])  # without leaves
HUE = 0.4  # share of another picture's tint that is taken over; with all of it views look painted
THINGS = 3  # in front of a place, at most, such as cars and people


def in_other_light(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture brighter or darker, in other colours or grey, blurred or noisy."""
    pixels = pixels ** rng.uniform(0.5, 2.0) * rng.uniform(0.35, 1.1) * rng.uniform(0.75, 1.25, 3)
    return _taken(pixels, rng, grey=0.3, blurred=0.4, blur=2.0, noise=0.05)


def at_another_time(pixels: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture in another season or at another hour, as a camera takes it that stays where it is.

    other: a picture of the same shape, whose colours and whose parts are taken.
    """
    sky = _sky(pixels)
    changed = _colours_of(pixels, other, rng.uniform(0.2, 0.9))
    if rng.random() < SEASON:
        changed = _without_leaves(pixels, changed, rng)
    changed = changed * _light(pixels.shape[:2], rng)
    if rng.random() < NEW_SKY:
        changed = np.where(sky, _clouds(pixels.shape[:2], rng), changed)
    if rng.random() < NIGHT:
        changed = _night(changed, sky, rng)
    changed = _things_in_front(changed, other, rng)
    changed = np.clip(changed, 0, 1) ** rng.uniform(0.7, 1.4)
    return _taken(changed, rng, grey=0.1, blurred=0.3, blur=1.5, noise=0.04)


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Convert numbers in [0, 1] to uint8; others are clipped."""
    whole: np.ndarray = (np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return whole


def _taken(
    pixels: np.ndarray, rng: np.random.Generator, *, grey: float, blurred: float, blur: float, noise: float
) -> np.ndarray:
    """The picture as a camera takes it. grey, blurred: chances; blur, noise: standard deviations, at most."""
    if rng.random() < grey:
        pixels = np.repeat(pixels.mean(2, keepdims=True), 3, 2)
    if rng.random() < blurred:
        soft = v2.functional.gaussian_blur(Image.fromarray(to_bytes(pixels)), [7, 7], [rng.uniform(0.5, blur)])
        pixels = np.asarray(soft, np.float32) / 255
    noisy: np.ndarray = pixels + rng.normal(0, rng.uniform(0, noise), pixels.shape)
    return noisy


def _sky(pixels: np.ndarray) -> np.ndarray:
    """Where the picture is flat and bright from its upper edge on, (H, W, 1); nowhere if that is most of it."""
    grey = ndimage.gaussian_filter(pixels.mean(2), 1)
    flat = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1)) / 4 < FLAT_SKY
    mask = np.logical_and.accumulate(flat & (grey > np.median(grey)), axis=0)
    mask = ndimage.median_filter(mask, (1, 5))
    sky: np.ndarray = mask[..., None] & (mask.mean() < MOST_SKY)
    return sky


def _colours_of(pixels: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """The picture with mean and deviation of each channel moved towards those of another picture, by a share."""
    mean, deviation = pixels.mean((0, 1)), pixels.std((0, 1)) + 1e-3
    others = other.mean() + HUE * (other.mean((0, 1)) - other.mean())
    wanted = mean + share * (others - mean)
    spread = deviation + share * (np.maximum(other.std((0, 1)), 0.08) - deviation)
    moved: np.ndarray = np.clip((pixels - mean) / deviation * spread + wanted, 0, 1)
    return moved


def _without_leaves(pixels: np.ndarray, changed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give what is green in the picture the colour of autumn, of bare branches or of snow."""
    green = np.clip((2 * pixels[..., 1] - pixels[..., 0] - pixels[..., 2]) * 6, 0, 1)[..., None]
    colour = FOLIAGE[rng.integers(len(FOLIAGE))]
    other = colour * (0.4 + changed.mean(2, keepdims=True))
    mixed: np.ndarray = changed + green * (other - changed)
    return mixed


def _field(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random numbers (H, W, 1) with mean about 0 and deviation about 1, of ``cells`` waves a side."""
    coarse = rng.normal(0, 1, (cells, cells))
    smooth: np.ndarray = ndimage.zoom(coarse, (shape[0] / cells, shape[1] / cells), order=3, mode="nearest")[..., None]
    return smooth


def _light(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Factors (H, W, 3) of light that differs across the picture, sometimes with the edge of a shadow."""
    light = np.exp(rng.uniform(0, 0.35) * _field(shape, 4, rng)) * np.ones(3)
    if rng.random() < SHADOW:
        inside = _field(shape, 3, rng) > rng.uniform(-0.5, 1)
        light = light * np.where(inside, rng.uniform(0.4, 0.75) * np.array([0.95, 1.0, 1.08]), 1)
    return light


def _clouds(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Another sky, (H, W, 3): blue, grey or red, brighter below, with clouds."""
    sky = np.array([[0.4, 0.6, 0.9], [0.7, 0.72, 0.75], [0.9, 0.7, 0.55]])[rng.integers(3)] * rng.uniform(0.6, 1.1)
    down = np.linspace(0, rng.uniform(0, 0.3), shape[0])[:, None, None]
    cover = np.clip(_field(shape, int(rng.integers(4, 10)), rng) * rng.uniform(0, 0.5), 0, 1)
    painted: np.ndarray = sky + down + cover * (0.9 - sky)
    return painted


def _night(pixels: np.ndarray, sky: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Darkness with a few lamps, which light what is around them."""
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    light = np.full(pixels.shape[:2], rng.uniform(0.2, 0.5))
    glare = np.zeros(pixels.shape[:2])
    for _ in range(int(rng.integers(1, 7))):
        row, column = rng.uniform(0.2, 0.8) * pixels.shape[0], rng.uniform(0, 1) * pixels.shape[1]
        distance = np.hypot(rows - row, columns - column) / pixels.shape[0]
        light += rng.uniform(0.2, 0.8) * np.exp(-((distance / rng.uniform(0.05, 0.3)) ** 2))
        glare += np.exp(-((distance / rng.uniform(0.008, 0.02)) ** 2))
    tint = np.array([1.0, rng.uniform(0.75, 0.95), rng.uniform(0.45, 0.9)])
    dark = pixels ** rng.uniform(0.8, 1.3) * np.where(sky, rng.uniform(0.05, 0.4), light[..., None]) * tint
    lit: np.ndarray = dark + glare[..., None] * tint
    return lit


def _things_in_front(pixels: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cover parts of the lower three quarters with round or square parts of another picture."""
    height, width = pixels.shape[:2]
    covered: np.ndarray = pixels.copy()
    for _ in range(int(rng.integers(0, THINGS + 1))):
        tall, wide = (max(1, int(rng.uniform(0.08, 0.3) * side)) for side in (height, width))
        row, column = int(rng.integers(height // 4, height - tall + 1)), int(rng.integers(0, width - wide + 1))
        down, across = np.mgrid[-1 : 1 : tall * 1j, -1 : 1 : wide * 1j]
        inside = (np.abs(down) ** 4 + np.abs(across) ** 4 < 1) if rng.random() < 0.5 else np.hypot(down, across) < 1
        top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
        part = other[top : top + tall, left : left + wide]
        spot = covered[row : row + tall, column : column + wide]
        spot[inside] = part[inside]
    return covered
