"""A run: the network of a run folder with what its calibration fixed, read once and ready to describe photos."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from vpr.base.errors import VprError
from vpr.base.machine import Device, choose_device
from vpr.base.run_folder import METRICS, read_metrics
from vpr.base.settings import load_stage
from vpr.cache import CacheSpec
from vpr.description.describe import BATCH, Described, describe
from vpr.description.images import (
    UNREADABLE,
    ImageError,
    Size,
    Tolerant,
    fitted,
    read_image,
    read_opened,
    upright,
)
from vpr.description.spec import cache_spec
from vpr.models.builtin import NAME, caches_of, run_of
from vpr.models.loading import load_student, load_teacher
from vpr.models.netvlad import NetVLAD
from vpr.models.settings import Crop, Interpolation
from vpr.models.structural import StructuralModel
from vpr.retrieval.confidence import Curves
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.pairs import MatchedPhotos, match_photos
from vpr.retrieval.rerank import ImagesInMemory, compare_images
from vpr.retrieval.search import search
from vpr.retrieval.settings import PROBLEM, Calibration, RerankConfig

# A file by its path, its bytes or an open file object; pixels (H, W, 3) uint8; or an image of Pillow.
PhotoLike = str | Path | bytes | IO[bytes] | np.ndarray | Image.Image


@dataclass(frozen=True, eq=False)
class Ranking:
    """Database images in the order of their score, for each of Q queries."""

    numbers: np.ndarray  # (Q, K) int64, from 0, best first
    scores: np.ndarray  # (Q, K) float32, falling


@dataclass(frozen=True, eq=False)
class Run:
    """A structural model out of a run folder of ``vpr.scratch`` or ``vpr.distill``, or the one in the box.

    run = vpr.load("builtin")
    database = run.describe(["a.jpg", "b.jpg"])     # global and patch descriptors, unit vectors
    ranking = run.rank(run.describe("query.jpg"), database)
    ranking.numbers[0], ranking.scores[0]           # best first
    """

    name: str  # 'builtin', or the absolute path of the folder
    network: StructuralModel  # in evaluation mode
    device: torch.device
    calibration: Calibration  # weight of S_struct and the transport problem; defaults for a run without one
    curves: Curves  # from separations to probabilities; None for a run without calibration
    calibrated: bool = True  # whether a city was held out to calibrate on

    @property
    def folder(self) -> Path:
        """The run folder."""
        return run_of(Path(self.name))

    @property
    def cache_folder(self) -> Path:
        """Where descriptor caches of this run lie."""
        return caches_of(self.folder)

    @cached_property
    def teacher(self) -> NetVLAD:
        """The teacher inside the run; raises VprError if it has none."""
        return load_teacher(self.folder, self.device)

    @property
    def spec(self) -> CacheSpec:
        """Which descriptors the network makes."""
        return cache_spec(self.network)

    def describe(self, photos: PhotoLike | Sequence[PhotoLike]) -> Described:
        """The descriptors of one photo or several: ``globals_`` (N, G) float32, ``patches`` (N, P, C) float16.

        Raises ImageError for a file that cannot be decoded, VprError for an object that is not a photo.
        """
        several: Any = [photos] if _is_one(photos) else list(photos)  # type: ignore[arg-type]
        described, unreadable = self.describe_readable(several)
        for reason in unreadable.values():
            raise ImageError(reason)
        return described

    def rank(self, queries: Described, database: Described, depth: int = 100, rerank: bool = True) -> Ranking:
        """The database images that are most similar to each query, at most ``depth``, best first.

        The search goes by global descriptors. rerank: order what it finds by S_global + w * S_struct, as evaluation
        does, with the weight and the transport problem of this run's calibration.
        """
        similarity, numbers = search(queries.globals_, database.globals_, depth)
        if not rerank:
            return Ranking(numbers, similarity)
        sides, config = (ImagesInMemory(queries), ImagesInMemory(database)), self.calibration.config()
        found = compare_images(*sides, numbers, config, weight=self.calibration.weight, device=self.device)
        scores = weighted_sum(found.global_, found.structural, self.calibration.weight)
        return Ranking(reorder(numbers, scores), reorder(scores, scores))

    def match(self, query: str | Path, database: str | Path, config: RerankConfig | None = None) -> MatchedPhotos:
        """How the patches of two photo files match: scores, marginals and transport plan.

        config: the transport problem; None takes that of this run's calibration. Raises VprError for files that are
        missing or no images, and for rollout marginals if the network has none.
        """
        photos = Path(query), Path(database)
        return match_photos(self.network, photos, config or self.calibration.config(), self.device)

    def describe_readable(self, photos: Sequence[PhotoLike]) -> tuple[Described, dict[int, str]]:
        """As `describe`, without files that cannot be decoded; for each of those the reason, by its number."""
        spec = self.spec
        images = Tolerant(_Photos(photos, self.network), self.network.input_size)
        batches = [range(start, min(start + BATCH, len(photos))) for start in range(0, len(photos), BATCH)]
        parts = list(describe(self.network, images, batches, self.device))
        read = [number for number in range(len(photos)) if number not in images.unreadable]
        none = np.zeros((0, spec.patches, spec.dim), np.float16)
        patches = np.concatenate([none, *(part.patches for part in parts if part.patches is not None)])
        no_global = np.zeros((0, spec.global_dim), np.float32)
        global_descriptors = np.concatenate([no_global, *(part.globals_ for part in parts)])
        return Described(global_descriptors[read], patches[read]), dict(sorted(images.unreadable.items()))


def load(run: str | Path = NAME, device: Device | torch.device = "auto") -> Run:
    """A run folder of ``vpr.scratch`` or ``vpr.distill``, or the weights in the box.

    device: ``auto`` takes a GPU if there is one. Raises VprError if the run is missing, unfinished, damaged or of
    another kind, and if the device is not there.
    """
    place = device if isinstance(device, torch.device) else choose_device(device)
    name = NAME if str(run) == NAME else os.path.abspath(run)
    network = load_student(Path(run), place)
    recorded = recorded_calibration(Path(run))
    calibration, curves = calibration_of(Path(run), recorded), curves_of(Path(run), recorded)
    return Run(name, network, place, calibration, curves, calibrated=bool(recorded))


def recorded_calibration(run: Path) -> dict[str, Any]:
    """The calibration in a run's metrics.json; empty without a held-out city. Raises VprError for what is no table."""
    recorded = read_metrics(run_of(run)).get("calibration", {})
    if not isinstance(recorded, dict):
        raise _damaged(run, "no table")
    return recorded


def calibration_of(run: Path, recorded: Mapping[str, Any]) -> Calibration:
    """What a calibration fixed, out of `recorded_calibration`; raises VprError for values that no calibration gives."""
    try:
        return load_stage(Calibration, {name: recorded[name] for name in ("weight", *PROBLEM) if name in recorded})
    except ValueError as error:
        raise _damaged(run, error) from error


def curves_of(run: Path, recorded: Mapping[str, Any]) -> Curves:
    """The curves from separations to probabilities, out of `recorded_calibration`; errors as `calibration_of`."""
    try:
        return Curves.of(recorded.get("confidence", {}))
    except (TypeError, ValueError, AttributeError) as error:
        raise _damaged(run, error) from error


def _damaged(run: Path, reason: object) -> VprError:
    remedy = "give the command that made the run again, with --overwrite"
    return VprError(f"{run_of(run) / METRICS}: its calibration is damaged ({reason}); {remedy}")


def _is_one(photos: object) -> bool:
    """Whether this is one photo, and no sequence of them."""
    return isinstance(photos, str | Path | bytes | np.ndarray | Image.Image) or hasattr(photos, "read")


class _Photos(Dataset[torch.Tensor]):
    """Photos as uint8 tensors (3, height, width) of a network's input size."""

    def __init__(self, photos: Sequence[PhotoLike], network: StructuralModel) -> None:
        self.photos, self.network = photos, network

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> torch.Tensor:
        photo = self.photos[index]
        how = (self.network.input_size, self.network.interpolation, self.network.crop)
        return torch.from_numpy(_pixels(photo, *how).transpose(2, 0, 1).copy())


def _pixels(photo: Any, size: Size, interpolation: Interpolation, crop: Crop) -> np.ndarray:
    """As `read_image`. A file in memory gives the pixels of the file on disk.

    Raises ImageError for an image that cannot be decoded, VprError for what is no photo.
    """
    if isinstance(photo, str | Path):
        return read_image(Path(photo), size, interpolation, crop)
    if isinstance(photo, bytes) or hasattr(photo, "read"):
        return read_opened(photo, getattr(photo, "name", "the photo"), size, interpolation, crop)
    return fitted(_image(photo), size, interpolation, crop)


def _image(photo: Any) -> Image.Image:
    """An image of Pillow or an array, in RGB and upright; errors as `_pixels`."""
    if isinstance(photo, Image.Image):
        try:
            return upright(photo)
        except UNREADABLE as error:
            raise ImageError(f"an image {photo.size} of mode {photo.mode} cannot be read: {error}; give RGB") from error
    if not isinstance(photo, np.ndarray):
        raise VprError(f"a {type(photo).__name__} is no photo; give a path, bytes, an array or an image of Pillow")
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise VprError(f"an array {photo.shape} of {photo.dtype} is no photo; give (height, width, 3) uint8")
    return Image.fromarray(photo)
