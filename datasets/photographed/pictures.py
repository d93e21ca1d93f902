"""From the pictures of packages to textures: crops, brightness, windows, and levels of detail."""

from __future__ import annotations

import importlib.util
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from vpr.datasets.errors import DatasetError
from vpr.datasets.photographed.catalogue import SIDE, Entry

CUT_OUT = ("broadleaf", "bare", "conifer", "palm", "bush", "treeline", "person", "lorry")
FACADE_GREY = 0.56  # mean of a facade, square root of linear light
BRIGHTEST = 1.6  # factor by which a dark facade is brightened, at most
SKY_WHITE = 97.0  # per cent of a sky that is below white
LIT = 70  # of 255 in the red channel of a light map, from which a window is lit


class Pictures:
    """The pictures of one package; each file is decoded once."""

    def __init__(self, package: str, files: dict[str, bytes]) -> None:
        """files: contents by path."""
        self.package, self.files = package, files
        self._decoded: dict[str, Image.Image] = {}

    def crop(self, path: str, box: tuple[float, float, float, float]) -> Image.Image:
        """A box (shares of the width and height) of a file, RGBA. Raises DatasetError if it cannot be decoded."""
        if path not in self._decoded:
            self._decoded[path] = self._decode(path)
        picture = self._decoded[path]
        (wide, high), (left, top, right, bottom) = picture.size, box
        box_px = (round(left * wide), round(top * high), round(right * wide), round(bottom * high))
        cropped: Image.Image = picture.crop(box_px)
        return cropped

    def _decode(self, path: str) -> Image.Image:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with Image.open(io.BytesIO(self.files[path])) as picture:
                decoded: Image.Image = picture.convert("RGBA")
                return decoded
        except (OSError, ValueError, SyntaxError) as error:  # a SyntaxError of Pillow is a broken chunk of a PNG
            raise DatasetError(f"{path} cannot be decoded ({error}); download {self.package} again") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def texture_of(entry: Entry, pictures: Pictures) -> np.ndarray:
    """The texture (H, W, 4) uint8 of an entry: square roots of linear RGB; then alpha, or for a facade its windows.

    Raises DatasetError if a file cannot be decoded.
    """
    if entry.kind.endswith("_sky"):
        return sky_texture(entry, pictures.files[entry.path])
    picture = pictures.crop(entry.path, entry.box)
    longest = 2 * SIDE if entry.kind in ("facade", "treeline") else SIDE
    picture.thumbnail((longest, longest), Image.Resampling.BOX)
    pixels = np.asarray(picture, np.float32) / 255
    colour, alpha = pixels[..., :3] ** 1.1, pixels[..., 3]  # sRGB to square roots
    if entry.kind in CUT_OUT:
        return _bytes(*trim(bleed(colour, alpha), alpha, entry.kind))
    if entry.kind == "facade":
        colour = brighten(colour)
        lights = pictures.crop(entry.lights, entry.box).resize(picture.size) if entry.lights else None
        return _bytes(colour, windows(colour, lights))
    return _bytes(colour, np.ones_like(alpha))


def _bytes(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = np.clip(np.dstack([colour, alpha]), 0, 1) * 255 + 0.5
    return pixels.astype(np.uint8)


def brighten(colour: np.ndarray) -> np.ndarray:
    """Bring the mean of a facade to `FACADE_GREY`: some were taken at dusk. Hues are kept."""
    grey = float(colour.mean())
    brighter: np.ndarray = np.clip(colour * np.clip(FACADE_GREY / max(grey, 1e-3), 0.75, BRIGHTEST), 0, 1)
    return brighter


def windows(colour: np.ndarray, lights: Image.Image | None) -> np.ndarray:
    """Where a facade has windows (H, W), 0 or 1: by its light map if that knows, else what is darker than its wall."""
    if lights is not None:
        red = np.asarray(lights, np.int16)
        if red[..., 0].std() > 20:
            return ((red[..., 0] > LIT) & (red[..., 0] > red[..., 2])).astype(np.float32)
    grey = colour.mean(axis=2)
    wall = np.percentile(grey, 70)
    bluish = colour[..., 2] > colour[..., 0] - 0.02
    dark: np.ndarray = (grey < 0.72 * wall) & bluish | (grey < 0.5 * wall)
    return dark.astype(np.float32)


def bleed(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Fill transparent pixels with the mean of the opaque ones, so that edges do not take the colour of the sheet."""
    opaque = alpha > 0.5
    if opaque.any():
        colour = np.where(opaque[..., None], colour, colour[opaque].mean(axis=0))
    return colour


def trim(colour: np.ndarray, alpha: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Cut away what is empty around an object; a line of trees keeps its width."""
    rows, cols = np.flatnonzero((alpha > 0.5).any(axis=1)), np.flatnonzero((alpha > 0.5).any(axis=0))
    if not len(rows):
        raise DatasetError(f"a picture of kind {kind} is empty; take the packages of Debian 12")
    across = slice(None) if kind == "treeline" else slice(cols[0], cols[-1] + 1)
    return colour[rows[0] : rows[-1] + 1, across], alpha[rows[0] : rows[-1] + 1, across]


def sky_texture(entry: Entry, content: bytes) -> np.ndarray:
    """The upper part of an environment (linear light in an OpenEXR file) as a texture; its brightest part is white.

    Raises DatasetError if the package OpenEXR is missing.
    """
    if importlib.util.find_spec("OpenEXR") is None:
        raise DatasetError(
            "skies are OpenEXR files, and the Python package OpenEXR is not installed",
            thing="OpenEXR",
            remedy=f"run pip install OpenEXR, or remove {entry.package} from the folder",
        )
    import OpenEXR

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sky.exr"
        path.write_bytes(content)
        try:
            channels = OpenEXR.File(str(path)).channels()
            light = channels["RGB"].pixels.astype(np.float32)
        except (RuntimeError, KeyError, ValueError) as error:
            raise DatasetError(f"{entry.path} cannot be decoded ({error}); download {entry.package} again") from error
    light = light[: round(entry.box[3] * len(light))]
    light = light / max(float(np.percentile(light, SKY_WHITE)), 1e-6)
    rows, cols = len(light) // 2 * 2, light.shape[1] // 2 * 2
    light = np.minimum(light, 1.0)[:rows, :cols].reshape(rows // 2, 2, cols // 2, 2, 3).mean(axis=(1, 3))
    return _bytes(np.sqrt(light), np.ones(light.shape[:2]))


def levels_of(texture: np.ndarray) -> list[np.ndarray]:
    """Levels of detail: each has half the width and height of the one before, down to 4 pixels. Light is averaged."""
    levels, current = [texture], texture
    while min(current.shape[:2]) >= 8:
        rows, cols = current.shape[0] // 2, current.shape[1] // 2
        parts = current[: 2 * rows, : 2 * cols].reshape(rows, 2, cols, 2, 4).astype(np.float32) / 255
        alpha = parts[..., 3:]
        colour = np.sqrt((parts[..., :3] ** 2).mean(axis=(1, 3)))
        current = _bytes(colour, alpha.mean(axis=(1, 3)))
        levels.append(current)
    return levels
