"""A photo in any form that Python has it: a path, bytes, an open file, pixels, or an image of Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from PIL import Image

from vpr.base.errors import VprError
from vpr.description.images import (
    UNREADABLE,
    ImageError,
    ModelInput,
    decode_upright,
    fit_image,
    read_image,
    read_stream,
)

# A photo: a path, the bytes of a file, an open file object, pixels (H, W, 3) uint8, or an image of Pillow.
PhotoLike: TypeAlias = "str | Path | bytes | IO[bytes] | np.ndarray | Image.Image"


class Photos:
    """Photos by number, as a model takes them: (3, height, width) uint8.

    One that cannot be read is black, and ``unreadable`` has its error, by number. Raises VprError for an object that is
    not a photo.
    """

    def __init__(self, photos: Sequence[PhotoLike], model: ModelInput) -> None:
        self.photos, self.model, self.unreadable = photos, model, dict[int, str]()

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> np.ndarray:
        try:
            return np.ascontiguousarray(read_pixels(self.photos[index], self.model).transpose(2, 0, 1))
        except ImageError as error:
            self.unreadable[index] = str(error)
            return np.zeros((3, *self.model.input_size), np.uint8)


def is_photo(photos: object) -> bool:
    """Whether this is one photo, not a sequence of photos."""
    return isinstance(photos, str | Path | bytes | np.ndarray | Image.Image) or hasattr(photos, "read")


def read_pixels(photo: Any, model: ModelInput) -> np.ndarray:
    """As `read_image`, for any kind of photo. A file in memory gives the same pixels as the file on disk.

    Raises ImageError for an image that cannot be decoded, VprError for an object that is not a photo.
    """
    form = model.input_size, model.interpolation, model.crop
    if isinstance(photo, str | Path):
        return read_image(Path(photo), *form)
    if isinstance(photo, bytes) or hasattr(photo, "read"):
        return read_stream(photo, getattr(photo, "name", "the photo"), *form)
    return fit_image(_to_image(photo), *form)


def _to_image(photo: Any) -> Image.Image:
    """An image of Pillow, or an array, in RGB and upright; errors as `read_pixels`."""
    if isinstance(photo, Image.Image):
        try:
            return decode_upright(photo)
        except UNREADABLE as error:
            raise ImageError(f"an image {photo.size} of mode {photo.mode} cannot be read: {error}; pass RGB") from error
    if not isinstance(photo, np.ndarray):
        raise VprError(f"a {type(photo).__name__} is not a photo; pass a path, bytes, an array or an image of Pillow")
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise VprError(f"an array {photo.shape} of {photo.dtype} is not a photo; pass (height, width, 3) uint8")
    return Image.fromarray(photo)
