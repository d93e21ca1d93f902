"""The camera of a traverse: rays of a pose, and from linear light to the bytes of a JPEG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from vpr.datasets.street_world.drive import Frame


@dataclass(frozen=True)
class Camera:
    """One camera and its processing, the same for all frames of a traverse."""

    half_view: float  # tangent of half the field of view
    height_m: float
    pitch: float  # horizon's shift downwards, share of the image's height
    contrast: float  # strength of an S-shaped tone curve, 0..1
    bloom: float  # share of bright light that spreads
    exposure: float  # mean brightness that it aims at, linear
    white: np.ndarray  # (3,) gains
    saturation: float
    gamma: float
    vignette: float
    noise: float  # standard deviation of the sensor's noise, 0..1
    blur: float  # radius, pixels
    quality: int  # of the JPEG


def draw_camera(night: bool, eye_m: float, rng: np.random.Generator) -> Camera:
    """Draw the camera of one traverse; eye_m is the street's own camera height, 0 for that of a car."""
    return Camera(
        half_view=np.tan(np.radians(rng.uniform(58, 84)) / 2),
        height_m=rng.uniform(1.3, 2.4) if eye_m == 0 else eye_m * rng.uniform(0.85, 1.15),
        pitch=rng.normal(0.0, 0.05) - 0.012 * eye_m,
        contrast=rng.uniform(0.0, 0.9),
        bloom=rng.uniform(0.0, 0.15) + (0.25 if night else 0.0),
        exposure=rng.uniform(0.11, 0.36) * (0.6 if night else 1.0),
        white=np.exp(rng.normal(0, 0.075, 3)),
        saturation=rng.uniform(0.5, 1.5),
        gamma=rng.uniform(0.9, 1.15),
        vignette=rng.uniform(0, 0.45),
        noise=rng.uniform(0.002, 0.015) + (rng.uniform(0.0, 0.025) if night else 0.0),
        blur=float(np.clip(rng.normal(0.0, 0.3), 0.0, 0.7)),
        quality=int(rng.integers(82, 95)),
    )


def rays_of(frame: Frame, camera: Camera, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The rays (columns, 4) x, y, dx, dy and the eye (height m, horizon row, slope of a row, roll) for `cast`."""
    rays = np.empty((columns, 4))
    rays[:, :2] = frame.x, frame.y
    if frame.pano:
        angle = frame.heading + np.pi - (np.arange(columns) + 0.5) * 2 * np.pi / columns
        rays[:, 2], rays[:, 3] = np.cos(angle), np.sin(angle)
        slope = 2 * np.pi / columns
    else:
        across = ((np.arange(columns) + 0.5) / columns * 2 - 1) * camera.half_view
        rays[:, 2] = np.cos(frame.heading) + across * np.sin(frame.heading)
        rays[:, 3] = np.sin(frame.heading) - across * np.cos(frame.heading)
        slope = 2 * camera.half_view / columns
    roll = 0.0 if frame.pano else frame.roll
    eye = np.array([camera.height_m, rows * (0.54 + camera.pitch), slope, roll])
    return rays, eye


def develop(linear: np.ndarray, camera: Camera, factor: int, rng: np.random.Generator) -> Image.Image:
    """Turn linear light (factor * H, factor * W, 3), float32, into an H x W photograph: exposure, tone, grain, blur."""
    linear = np.minimum(linear, np.float32(6.0))
    light = sum(linear[i::factor, j::factor] for i in range(factor) for j in range(factor)) / np.float32(factor**2)
    h, w = light.shape[:2]
    metered = max(float(np.minimum(light, np.float32(1.2)).mean()), 1e-3)
    gain = (camera.exposure * np.exp(rng.normal(0, 0.12)) / metered) ** 0.85
    light = light * np.float32(gain * camera.white)
    if camera.bloom > 0.1:
        light = light + np.float32(camera.bloom) * spread(light, w // 28)
    grey = light.mean(axis=2, keepdims=True)
    light = np.maximum(grey + (light - grey) * np.float32(camera.saturation), np.float32(0))
    rows, cols = np.linspace(-1, 1, h)[:, None, None], np.linspace(-1, 1, w)[None, :, None]
    light *= np.float32(1.0 - camera.vignette * 0.5 * (rows**2 + cols**2))
    tone = (1 - np.exp(np.float32(-1.7) * light)) ** np.float32(camera.gamma / 2.2)
    tone += np.float32(camera.contrast) * (tone * tone * (3 - 2 * tone) - tone)
    if camera.blur > 0.15:
        image = Image.fromarray(np.uint8(np.clip(tone, 0, 1) * 255 + np.float32(0.5)))
        tone = np.asarray(image.filter(ImageFilter.GaussianBlur(camera.blur)), np.float32) / np.float32(255)
    grain = rng.standard_normal((h, w, 3), np.float32) * np.float32(0.5)
    grain += rng.standard_normal((h, w, 1), np.float32) * np.float32(0.8)
    noisy = tone + np.float32(camera.noise) * grain
    return Image.fromarray(np.uint8(np.clip(noisy, 0, 1) * 255 + np.float32(0.5)))


def spread(light: np.ndarray, radius: int) -> np.ndarray:
    """The blurred glare (H, W, 3) of what is brighter than white, from linear light (H, W, 3)."""
    glare = Image.fromarray(np.uint8(np.clip(light - np.float32(0.9), 0, 1.5) * np.float32(170)))
    return np.asarray(glare.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(60)


def encode(image: Image.Image, quality: int) -> bytes:
    """The image as the bytes of a JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
