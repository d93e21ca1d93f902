"""A model that is ready to describe photos, with what its calibration fixed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from vpr.base.machine import Device, choose_device
from vpr.cache import CacheSpec
from vpr.description.describe import BATCH, describe
from vpr.description.images import UNREADABLE, ImageError, Tolerant, fitted, read_image, upright
from vpr.description.spec import cache_spec
from vpr.maps.candidates import Described
from vpr.maps.errors import MapError
from vpr.models.builtin import NAME
from vpr.models.loading import load_student
from vpr.models.structural import StructuralModel
from vpr.retrieval.calibration import calibration_of, curves_of
from vpr.retrieval.confidence import Curves
from vpr.retrieval.settings import Fixed

PhotoLike = str | Path | np.ndarray | Image.Image  # a file, pixels (H, W, 3) uint8, or an image of Pillow


@dataclass(frozen=True, eq=False)
class Model:
    """A structural model out of a run folder."""

    run: str  # the folder, from the root, or 'builtin'
    network: StructuralModel
    device: torch.device
    fixed: Fixed  # how patches are compared
    curves: Curves  # from separations to probabilities; None where the run has no calibration

    @property
    def spec(self) -> CacheSpec:
        """Which descriptors it makes."""
        return cache_spec(self.network)

    def describe(self, photos: Sequence[PhotoLike]) -> Described:
        """The descriptors of photos, one or more.

        Raises ImageError for a file that cannot be decoded, and MapError for what is no photo.
        """
        described, unreadable = self.describe_readable(photos)
        for why in unreadable.values():
            raise ImageError(why)
        return described

    def describe_readable(self, photos: Sequence[PhotoLike]) -> tuple[Described, dict[int, str]]:
        """As `describe`, without the files that cannot be decoded, of which it says what is wrong, by number."""
        images = Tolerant(_Photos(photos, self.network), self.network.input_size)
        batches = [range(start, min(start + BATCH, len(photos))) for start in range(0, len(photos), BATCH)]
        parts = list(describe(self.network, images, batches, self.device))
        patches = np.concatenate([part.patches for part in parts if part.patches is not None])
        read = [number for number in range(len(photos)) if number not in images.unreadable]
        globals_ = np.concatenate([part.globals_ for part in parts])
        return Described(globals_[read], patches[read]), dict(sorted(images.unreadable.items()))


def load(run: str | Path = "builtin", device: Device = "cpu") -> Model:
    """A model out of a run folder of vpr.scratch or vpr.distill, or the one in the box.

    Raises VprError when the run is missing, unfinished or of another kind, and when the device is not there.
    """
    place, name = choose_device(device), NAME if str(run) == NAME else os.path.abspath(run)
    return Model(name, load_student(Path(run), place).eval(), place, calibration_of(Path(run)), curves_of(Path(run)))


class _Photos(Dataset[torch.Tensor]):
    """Photos as uint8 tensors (3, height, width) of a network's input size."""

    def __init__(self, photos: Sequence[PhotoLike], network: StructuralModel) -> None:
        self.photos, self.network = photos, network

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> torch.Tensor:
        photo, how = self.photos[index], (self.network.input_size, self.network.interpolation, self.network.crop)
        pixels = read_image(Path(photo), *how) if isinstance(photo, str | Path) else fitted(_image(photo), *how)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _image(photo: np.ndarray | Image.Image) -> Image.Image:
    """In RGB, upright; raises MapError for what is no photo."""
    if isinstance(photo, Image.Image):
        try:
            return upright(photo)
        except UNREADABLE as error:
            raise MapError(f"an image {photo.size} of mode {photo.mode} cannot be taken: {error}; give RGB") from error
    if not isinstance(photo, np.ndarray):
        raise MapError(f"a {type(photo).__name__} is no photo; give a path, an array or an image of Pillow")
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise MapError(f"an array {photo.shape} of {photo.dtype} is no photo; give (height, width, 3) uint8")
    return Image.fromarray(photo)
