"""A run: the network of a run folder with its calibration, read once; it describes, ranks and matches photos."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from vpr.base.errors import VprError
from vpr.base.files import cache_folder
from vpr.base.machine import Device, choose_device_kind
from vpr.base.outputs import Output, check_output
from vpr.base.run_folder import METRICS, read_metrics
from vpr.base.settings import load_stage
from vpr.cache import CacheSpec, DescriptorCache, PatchType
from vpr.description.batches import BATCH, ImageDescriptors, decode_ahead
from vpr.description.describer import Describer, open_describer
from vpr.description.images import ImageError
from vpr.description.photo_kinds import PhotoLike, Photos, is_photo
from vpr.models.builtin import NAME, absolute_run, descriptor_folder, resolve_run
from vpr.models.model_name import ModelName, is_model_name
from vpr.models.onnx_network import Engine
from vpr.models.recorded import student_config
from vpr.models.settings import DescriptionConfig
from vpr.retrieval.confidence import Curves
from vpr.retrieval.fusion import add_geometry, reorder, weighted_sum
from vpr.retrieval.matching import MatchedPhotos, match_described, require_files
from vpr.retrieval.rerank import ImagesInMemory, compare_images
from vpr.retrieval.search import search
from vpr.retrieval.settings import TRANSPORT_SETTINGS, Calibration, RerankConfig
from vpr.transport.marginals import Marginals

# Torch, and what imports it, is imported by the methods that need a model in torch: a command that locates a photo
# does not, and starts in a third of the time.
if TYPE_CHECKING:
    import torch

    from vpr.description.model_spec import PatchModel
    from vpr.models.netvlad import NetVLAD

log = logging.getLogger("vpr")


@dataclass(frozen=True, eq=False)
class Ranking:
    """Database images ordered by score, for each of Q queries."""

    numbers: np.ndarray  # (Q, K) int64, from 0, best first
    scores: np.ndarray  # (Q, K) float32, descending


@dataclass(frozen=True, eq=False)
class Run:
    """The structural model of a run folder of ``vpr.scratch`` or ``vpr.distill``, the built-in one, or one by its name.

    run = vpr.load("builtin")
    database = run.describe(["a.jpg", "b.jpg"])     # global and patch descriptors, unit vectors
    ranking = run.rank(run.describe("query.jpg"), database)
    ranking.numbers[0], ranking.scores[0]           # best first
    """

    name: str  # 'builtin', the name of a model without a run folder, or the absolute path of the folder
    describer: Describer  # its model
    calibration: Calibration  # weight of S_struct and the transport problem; defaults if there was no calibration
    curves: Curves  # from separations to probabilities; empty if there was no calibration
    calibrated: bool = True  # whether there was a calibration, on a held-out city

    @property
    def config(self) -> DescriptionConfig:
        """The settings of the model."""
        return self.describer.config

    @property
    def network(self) -> PatchModel:
        """The model in torch, in evaluation mode."""
        return self.describer.network

    @property
    def device(self) -> torch.device:
        """The device to compute on."""
        import torch

        return torch.device(self.describer.device)

    @property
    def folder(self) -> Path:
        """The run folder; raises VprError for a model that has none."""
        return resolve_run(Path(self.name))

    @property
    def cache_folder(self) -> Path:
        """The folder of the descriptor caches of this run."""
        return cache_folder("descriptors") if is_model_name(self.name) else descriptor_folder(self.folder)

    @property
    def origin(self) -> dict[str, Any] | None:
        """The code and the weights of a model of others, by their digests; None for other models."""
        if not is_model_name(self.name):
            return None
        record = getattr(self.network, "record", None)
        return None if record is None else record()

    @cached_property
    def teacher(self) -> NetVLAD:
        """The teacher inside the run; raises VprError if it has none."""
        from vpr.models.engine import DescribingEngine
        from vpr.models.loading import load_teacher

        teacher = load_teacher(self.folder, self.device)
        teacher.engine = DescribingEngine(self.network.engine.name, self.device)
        return teacher

    def export(self, path: Path) -> float:
        """Write the network as an ONNX file, atomically; docs/guides/export.md describes it.

        Returns the largest difference to the network for ten random images. Raises VprError if a package is missing, or
        the network cannot be exported.
        """
        from vpr.models.onnx_graph import export_onnx

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
        """The kind of descriptors that the model makes."""
        return self.describer.spec

    def require_weights(self, marginals: Marginals) -> None:
        """Raise VprError for learnt marginals if the model has no learnt weights of its patches."""
        if marginals == "learnt" and not self.spec.weights:
            problem = f"{self.name} has no learnt weights of its patches"
            remedy = "pass other --marginals, or train a run with --patch-weights"
            raise VprError(problem, thing="--marginals", remedy=remedy)

    def describe(self, photos: PhotoLike | Sequence[PhotoLike]) -> ImageDescriptors:
        """The descriptors of one photo or several: ``globals_`` (N, G) float32, ``patches`` (N, P, C) float16.

        Raises ImageError for a file that cannot be decoded, VprError for an object that is not a photo.
        """
        several: Any = photos if not is_photo(photos) and isinstance(photos, Iterable) else [photos]
        several = list(several)
        described, unreadable = self.describe_readable(several)
        for reason in unreadable.values():
            raise ImageError(reason)
        return described

    def rank(
        self, queries: ImageDescriptors, database: ImageDescriptors, depth: int = 100, rerank: bool = True
    ) -> Ranking:
        """The database images that are most similar to each query, at most ``depth``, best first.

        They are found by global descriptors. rerank: then order them by S_global + w * S_struct, and the first by
        geometry too, with the settings of this run's calibration, as evaluation does.
        """
        similarity, numbers = search(queries.globals_, database.globals_, depth)
        if not rerank:
            return Ranking(numbers, similarity)
        geometry = self.calibration.default_geometry(self.config.grid**2)
        sides, config = (ImagesInMemory(queries), ImagesInMemory(database)), self.calibration.config(geometry=geometry)
        compared = compare_images(*sides, numbers, config, weight=self.calibration.weight, device=self.describer.device)
        scores = weighted_sum(compared.global_similarity, compared.structural, self.calibration.weight)
        if compared.geometry is not None:
            scores = add_geometry(scores, compared.geometry, geometry, None)
        return Ranking(reorder(numbers, scores), reorder(scores, scores))

    def match(self, query: str | Path, database: str | Path, config: RerankConfig | None = None) -> MatchedPhotos:
        """How the patches of two photo files match: scores, marginals and transport plan.

        config: the transport problem; None for that of this run's calibration. Raises VprError for files that are
        missing or not images, and for rollout and learnt marginals if the network does not support them.
        """
        photos, config = (Path(query), Path(database)), config or self.calibration.config()
        self.require_weights(config.marginals)
        if config.marginals == "rollout":  # weights of patches, which only the model in torch has
            from vpr.retrieval.pairs import match_photos

            return match_photos(self.network, photos, config, self.device)
        require_files(photos)
        return match_described(self.describe(photos), config)

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
        from vpr.description.cache_filling import CacheFillOptions, fill_cache

        options = CacheFillOptions(workers, overwrite, patches, rollout)
        return fill_cache(Path(cache), self.network, Path(root), list(names), self.device, options).cache

    def describe_readable(self, photos: Sequence[PhotoLike]) -> tuple[ImageDescriptors, dict[int, str]]:
        """As `describe`, but files that cannot be decoded are left out; also returns their errors, by number."""
        images, config = Photos(photos, self.config), self.config
        batches = [range(start, min(start + BATCH, len(photos))) for start in range(0, len(photos), BATCH)]
        parts = [self.describer.describe(np.stack(batch)) for batch in decode_ahead(images, batches)]
        read = [number for number in range(len(photos)) if number not in images.unreadable]
        no_patches = np.zeros((0, config.grid**2, config.dim), np.float16)
        patches = np.concatenate([no_patches, *(part.patches for part in parts if part.patches is not None)])
        no_global = np.zeros((0, config.global_length), np.float32)
        global_descriptors = np.concatenate([no_global, *(part.globals_ for part in parts)])
        weights = None
        if self.spec.weights:
            no_weights = np.zeros((0, config.grid**2), np.float32)
            weights = np.concatenate([no_weights, *(part.weights for part in parts if part.weights is not None)])[read]
        described = ImageDescriptors(global_descriptors[read], patches[read], weights)
        return described, dict(sorted(images.unreadable.items()))


def load(
    run: str | Path = NAME, device: Device | torch.device = "auto", engine: Engine = "auto", trust: bool = False
) -> Run:
    """Load a run folder of ``vpr.scratch`` or ``vpr.distill``, the built-in weights, or a model by its name.

    run: ``builtin`` or a run folder, each perhaps with another input size and grid, as ``builtin@224x14``; also a
    published model such as ``megaloc``, ``hub:OWNER/REPO:ENTRY``, or ``timm:NAME``, see
    `vpr.models.model_name`. device: ``auto`` uses a GPU if there is one. engine: what describes photos on a CPU;
    ``auto`` is ONNX Runtime if the network of a run can be exported, unless the environment variable VPR_ENGINE is set.
    trust: run the code of others that ``run`` names.

    Raises VprError if the run is missing, unfinished, damaged or of another kind, for code of others without trust, and
    if the device is not available.
    """
    # asked in this way, since `torch.device` itself would have to be imported
    kind = str(device) if hasattr(device, "type") else choose_device_kind(device)
    describer = open_describer(Path(run), kind, engine, trust)
    if is_model_name(run):
        return Run(str(ModelName.parse(str(run))), describer, Calibration(), Curves(), calibrated=False)
    used, trained = student_config(Path(run)), student_config(resolve_run(Path(run)))
    if (used.image_size, used.grid) != (trained.image_size, trained.grid):
        log.info(
            "%s: its weight of S_struct and its probabilities were calibrated with %d pixels and %d patches per side",
            run, trained.image_size, trained.grid,
        )  # fmt: skip
    recorded = recorded_calibration(Path(run))
    calibration, curves = calibration_of(Path(run), recorded), curves_of(Path(run), recorded)
    return Run(absolute_run(Path(run)), describer, calibration, curves, calibrated=bool(recorded))


def recorded_calibration(run: Path) -> dict[str, Any]:
    """The calibration in a run's metrics.json; empty if there was none. Raises VprError if it is not a JSON object."""
    recorded = read_metrics(resolve_run(run)).get("calibration", {})
    if not isinstance(recorded, dict):
        raise _damage_error(run, "not a JSON object")
    return recorded


def calibration_of(run: Path, recorded: Mapping[str, Any]) -> Calibration:
    """The calibration of a run, from the result of `recorded_calibration`; raises VprError for invalid values."""
    try:
        names = ("weight", *TRANSPORT_SETTINGS, "geometry")
        before = {"geometry": 0} if recorded else {}  # of runs whose probabilities were fitted without it
        return load_stage(Calibration, before | {name: recorded[name] for name in names if name in recorded})
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
