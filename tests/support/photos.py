"""Photos with positions, as cameras write them, and small models for maps of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from tools.photo_folder import gps_exif
from vpr.description.network_describer import NetworkDescriber
from vpr.maps.building import AddResult, add_photos
from vpr.maps.results import Located
from vpr.maps.sources.positions import find_photos
from vpr.models.structural import ModelConfig, StructuralModel
from vpr.retrieval.confidence import Curve, Curves
from vpr.retrieval.settings import Calibration
from vpr.run import Run

BETWEEN_BATCHES = 1e-5  # how far numbers of a unit descriptor may lie apart that was computed in two batches


def large_photo(path: Path, seed: int) -> None:
    """Write a picture of 600 x 600 pixels with random coloured squares."""
    path.parent.mkdir(parents=True, exist_ok=True)
    squares = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), np.uint8)
    Image.fromarray(squares.repeat(50, 0).repeat(50, 1)).save(path)


def alike(ours: Sequence[Located], others: Sequence[Located]) -> None:
    """Fail unless the answers are the same, whatever the batch that each photo was described in."""
    for one, other in zip(ours, others, strict=True):
        mine, theirs = one.as_json(), other.as_json()
        pairs = zip(mine.pop("matches"), theirs.pop("matches"), strict=True)
        for first, second in [(mine, theirs), *pairs]:
            numbers = {name for name, value in second.items() if isinstance(value, float)}
            for name in first.keys() | second.keys():
                wanted = pytest.approx(second[name], rel=1e-3, abs=1e-3) if name in numbers else second[name]
                assert first[name] == wanted, name


def write_photo(path: Path, position, *, status="", size=(48, 40), seed=0) -> Path:
    """A JPEG of noise with a position in its EXIF, or without one."""
    exif = Image.Exif() if position is None else gps_exif(*position)
    if status:
        exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSStatus] = status
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).resize(size).save(path, exif=exif)
    return path


def a_model(seed: int = 0, head="shared") -> Run:
    """A model of 2 x 2 patches with random weights; with the head 'whitening' it adapts."""
    torch.manual_seed(seed)
    network = StructuralModel(ModelConfig(dim=8, grid=2, image_size=32, head=head)).eval()
    return Run("somewhere", NetworkDescriber(network), Calibration(weight=2.0), Curves(None, Curve(2.0, -0.5)))


def write_photos(folder: Path, numbers) -> Path:
    """Photos of noise, 111 m apart on a meridian."""
    for number in numbers:
        write_photo(folder / f"{number:03d}.jpg", (47 + number * 1e-3, 8.0), seed=number)
    return folder


def add(folder: Path, model: Run, *sources: Path) -> AddResult:
    """Add what the sources hold to a map."""
    return add_photos(folder, model, find_photos(sources).photos)
