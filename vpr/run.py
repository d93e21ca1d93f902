"""A run: the network of a run folder with its calibration, read once; it describes, ranks and matches photos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from vpr.base.errors import VprError
from vpr.base.machine import Device, choose_device
from vpr.base.outputs import Output, check_output
from vpr.base.run_folder import METRICS, read_metrics
from vpr.base.settings import load_stage
from vpr.cache import CacheSpec, DescriptorCache, PatchType
from vpr.description.cache_filling import CacheFillOptions, fill_cache
from vpr.description.describe import BATCH, ImageDescriptors, describe
from vpr.description.image_files import TolerantImages
from vpr.description.images import (
    UNREADABLE,
    ImageError,
    Size,
    decode_upright,
    fit_image,
    read_image,
    read_stream,
)
from vpr.description.model_spec import cache_spec
from vpr.models.builtin import NAME, descriptor_folder, resolve_run
from vpr.models.engine import DescribingEngine, Engine
from vpr.models.loading import load_student, load_teacher
from vpr.models.netvlad import NetVLAD
from vpr.models.onnx_graph import export_onnx
from vpr.models.settings import Crop, Interpolation
from vpr.models.structural import StructuralModel
from vpr.retrieval.confidence import Curves
from vpr.retrieval.fusion import reorder, weighted_sum
from vpr.retrieval.pairs import MatchedPhotos, match_photos
from vpr.retrieval.rerank import ImagesInMemory, compare_images
from vpr.retrieval.search import search
from vpr.retrieval.settings import TRANSPORT_SETTINGS, Calibration, RerankConfig

# A photo: a path, the bytes of a file, an open file object, pixels (H, W, 3) uint8, or an image of Pillow.
PhotoLike = str | Path | bytes | IO[bytes] | np.ndarray | Image.Image


@dataclass(frozen=True, eq=False)
class Ranking:
    """Database images ordered by score, for each of Q queries."""

    numbers: np.ndarray  # (Q, K) int64, from 0, best first
    scores: np.ndarray  # (Q, K) float32, descending


@dataclass(frozen=True, eq=False)
class Run:
    """The structural model of a run folder of ``vpr.scratch`` or ``vpr.distill``, or the built-in one.

    run = vpr.load("builtin")
    database = run.describe(["a.jpg", "b.jpg"])     # global and patch descriptors, unit vectors
    ranking = run.rank(run.describe("query.jpg"), database)
    ranking.numbers[0], ranking.scores[0]           # best first
    """

    name: str  # 'builtin', or the absolute path of the folder
    network: StructuralModel  # in evaluation mode
    device: torch.device
    calibration: Calibration  # weight of S_struct and the transport problem; defaults if there was no calibration
    curves: Curves  # from separations to probabilities; empty if there was no calibration
    calibrated: bool = True  # whether there was a calibration, on a held-out city

    @property
    def folder(self) -> Path:
        """The run folder."""
        return resolve_run(Path(self.name))

    @property
    def cache_folder(self) -> Path:
        """The folder of the descriptor caches of this run."""
        return descriptor_folder(self.folder)

    @cached_property
    def teacher(self) -> NetVLAD:
        """The teacher inside the run; raises VprError if it has none."""
        teacher = load_teacher(self.folder, self.device)
        teacher.engine = DescribingEngine(self.network.engine.name, self.device)
        return teacher

    def export(self, path: Path) -> float:
        """Write the network as an ONNX file, atomically; docs/guides/export.md describes it.

        Returns the largest difference to the network for ten random images. Raises VprError if a package is missing, or
        the network cannot be exported.
        """
        network, calibration = self.network, self.calibration
        metadata = {
            "model": os.path.basename(self.name),
            "fingerprint": self.spec.fingerprint,
            "input_size": list(network.input_size),
            "interpolation": network.interpolation,
            "crop": network.crop,
            "global": network.global_dim,
            "patches": [self.spec.patches, self.spec.dim],
            "grid": network.config.grid,
            "weight": calibration.weight,
            "marginals": calibration.marginals,
            "epsilon": calibration.epsilon,
            "mass": calibration.mass,
        }
        try:
            return export_onnx(network, path, metadata)
        except ImportError as error:
            raise VprError(f"{error.name} is not installed", remedy=f"pip install {error.name}") from error

    @property
    def spec(self) -> CacheSpec:
        """The kind of descriptors that the network makes."""
        return cache_spec(self.network)

    def describe(self, photos: PhotoLike | Sequence[PhotoLike]) -> ImageDescriptors:
        """The descriptors of one photo or several: ``globals_`` (N, G) float32, ``patches`` (N, P, C) float16.

        Raises ImageError for a file that cannot be decoded, VprError for an object that is not a photo.
        """
        several: Any = photos if not _is_photo(photos) and isinstance(photos, Iterable) else [photos]
        several = list(several)
        described, unreadable = self.describe_readable(several)
        for reason in unreadable.values():
            raise ImageError(reason)
        return described

    def rank(
        self, queries: ImageDescriptors, database: ImageDescriptors, depth: int = 100, rerank: bool = True
    ) -> Ranking:
        """The database images that are most similar to each query, at most ``depth``, best first.

        They are found by global descriptors. rerank: then order them by S_global + w * S_struct, with the weight and
        the transport problem of this run's calibration, as evaluation does.
        """
        similarity, numbers = search(queries.globals_, database.globals_, depth)
        if not rerank:
            return Ranking(numbers, similarity)
        sides, config = (ImagesInMemory(queries), ImagesInMemory(database)), self.calibration.config()
        compared = compare_images(*sides, numbers, config, weight=self.calibration.weight, device=self.device)
        scores = weighted_sum(compared.global_similarity, compared.structural, self.calibration.weight)
        return Ranking(reorder(numbers, scores), reorder(scores, scores))

    def match(self, query: str | Path, database: str | Path, config: RerankConfig | None = None) -> MatchedPhotos:
        """How the patches of two photo files match: scores, marginals and transport plan.

        config: the transport problem; None for that of this run's calibration. Raises VprError for files that are
        missing or not images, and for rollout marginals if the network does not support them.
        """
        photos = Path(query), Path(database)
        return match_photos(self.network, photos, config or self.calibration.config(), self.device)

    def extract(
        self,
        cache: str | Path,
        root: str | Path,
        names: Sequence[str],
        patches: PatchType = "float16",
        rollout: bool = False,
        overwrite: bool = False,
        workers: int = 0,
    ) -> DescriptorCache:
        """Describe the photos ``root / name`` into an HDF5 cache, as ``python -m vpr.extract`` does, and open it.

        Photos that the cache has are not described again. patches: data type of patch descriptors. rollout: also store
        a weight for each patch. overwrite: replace a cache that is damaged or of another model. workers: processes that
        decode photos. Raises VprError if ``cache`` is another kind of file, or a file of a run, a map or a dataset, and
        ValueError for an unknown data type. Other errors as `vpr.description.cache_filling.fill_cache`.
        """
        if patches not in get_args(PatchType):
            raise ValueError(f"patches: {patches!r} is not one of {', '.join(get_args(PatchType))}")
        check_output(Output("cache", Path(cache), "cache"), [Path(root, name) for name in names])
        options = CacheFillOptions(workers, overwrite, patches, rollout)
        return fill_cache(Path(cache), self.network, Path(root), list(names), self.device, options).cache

    def describe_readable(self, photos: Sequence[PhotoLike]) -> tuple[ImageDescriptors, dict[int, str]]:
        """As `describe`, but files that cannot be decoded are left out; also returns their errors, by number."""
        images = TolerantImages(_Photos(photos, self.network), self.network.input_size)
        batches = [range(start, min(start + BATCH, len(photos))) for start in range(0, len(photos), BATCH)]
        parts = list(describe(self.network, images, batches, self.device))
        read = [number for number in range(len(photos)) if number not in images.unreadable]
        config = self.network.config
        no_patches = np.zeros((0, config.grid**2, config.dim), np.float16)
        patches = np.concatenate([no_patches, *(part.patches for part in parts if part.patches is not None)])
        no_global = np.zeros((0, self.network.global_dim), np.float32)
        global_descriptors = np.concatenate([no_global, *(part.globals_ for part in parts)])
        return ImageDescriptors(global_descriptors[read], patches[read]), dict(sorted(images.unreadable.items()))


def load(run: str | Path = NAME, device: Device | torch.device = "auto", engine: Engine = "auto") -> Run:
    """Load a run folder of ``vpr.scratch`` or ``vpr.distill``, or the built-in weights.

    device: ``auto`` uses a GPU if there is one. engine: what describes photos on a CPU; ``auto`` is ONNX Runtime if the
    network can be exported, unless the environment variable VPR_ENGINE is set.

    Raises VprError if the run is missing, unfinished, damaged or of another kind, and if the device is not available.
    """
    device = device if isinstance(device, torch.device) else choose_device(device)
    name = NAME if str(run) == NAME else os.path.abspath(run)
    network = load_student(Path(run), device)
    network.engine = DescribingEngine(engine, device)
    recorded = recorded_calibration(Path(run))
    calibration, curves = calibration_of(Path(run), recorded), curves_of(Path(run), recorded)
    return Run(name, network, device, calibration, curves, calibrated=bool(recorded))


def recorded_calibration(run: Path) -> dict[str, Any]:
    """The calibration in a run's metrics.json; empty if there was none. Raises VprError if it is not a JSON object."""
    recorded = read_metrics(resolve_run(run)).get("calibration", {})
    if not isinstance(recorded, dict):
        raise _damage_error(run, "not a JSON object")
    return recorded


def calibration_of(run: Path, recorded: Mapping[str, Any]) -> Calibration:
    """The calibration of a run, from the result of `recorded_calibration`; raises VprError for invalid values."""
    try:
        return load_stage(
            Calibration, {name: recorded[name] for name in ("weight", *TRANSPORT_SETTINGS) if name in recorded}
        )
    except ValueError as error:
        raise _damage_error(run, error) from error


def curves_of(run: Path, recorded: Mapping[str, Any]) -> Curves:
    """The curves from separations to probabilities; arguments and errors as `calibration_of`."""
    try:
        return Curves.from_record(recorded.get("confidence", {}))
    except (TypeError, ValueError, AttributeError) as error:
        raise _damage_error(run, error) from error


def _damage_error(run: Path, reason: object) -> VprError:
    remedy = "run the command that made it again, with --overwrite"
    return VprError(f"{resolve_run(run) / METRICS}: its calibration is damaged ({reason}); {remedy}")


def _is_photo(photos: object) -> bool:
    """Whether this is one photo, not a sequence of photos."""
    return isinstance(photos, str | Path | bytes | np.ndarray | Image.Image) or hasattr(photos, "read")


class _Photos(Dataset[torch.Tensor]):
    """Photos as uint8 tensors (3, height, width) of the network's input size."""

    def __init__(self, photos: Sequence[PhotoLike], network: StructuralModel) -> None:
        self.photos, self.network = photos, network

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> torch.Tensor:
        network = self.network
        pixels = _read_pixels(self.photos[index], network.input_size, network.interpolation, network.crop)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _read_pixels(photo: Any, size: Size, interpolation: Interpolation, crop: Crop) -> np.ndarray:
    """As `read_image`, for any kind of photo. A file in memory gives the same pixels as the file on disk.

    Raises ImageError for an image that cannot be decoded, VprError for an object that is not a photo.
    """
    if isinstance(photo, str | Path):
        return read_image(Path(photo), size, interpolation, crop)
    if isinstance(photo, bytes) or hasattr(photo, "read"):
        return read_stream(photo, getattr(photo, "name", "the photo"), size, interpolation, crop)
    return fit_image(_to_image(photo), size, interpolation, crop)


def _to_image(photo: Any) -> Image.Image:
    """An image of Pillow, or an array, in RGB and upright; errors as `_read_pixels`."""
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
