"""A published model as a network that describes: its own global descriptors, and the patches of its backbone."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vpr.base.errors import VprError
from vpr.models.descriptors import Descriptors
from vpr.models.model_name import ModelName
from vpr.models.netvlad import IMAGENET_MEAN, IMAGENET_STD
from vpr.models.published.adapter import GRID, Adapter, unknown_adapter
from vpr.models.published.hub_code import HubSource, LoadedEntry, first_line, load_entry, require_trust
from vpr.models.published.registry import ADAPTERS, find_adapter
from vpr.models.settings import Crop, Head, Interpolation
from vpr.models.weights import digest_of_weights

log = logging.getLogger("vpr")

SAME = 1e-3  # largest difference of a descriptor between batches that is rounding


@dataclass(frozen=True)
class PublishedConfig:
    """The settings of a published model, as `vpr.models.settings.DescriptionConfig`."""

    name: str
    image_size: int  # height and width of the input, pixels
    grid: int  # patch descriptors per side
    dim: int  # length of a patch descriptor
    global_length: int  # of a global descriptor
    head: Head = "whitening"  # patches are whitened on a database
    crop: Crop = "resize"
    interpolation: Interpolation = "bilinear"  # as torchvision's resizing, with anti-aliasing

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input images, pixels."""
        return self.image_size, self.image_size


class PublishedModel(nn.Module):
    """Images (B, 3, H, W), uint8 or float in [0, 255], to `Descriptors`: unit vectors.

    The global descriptors are the model's own. The patch descriptors are the features of its backbone, pooled to the
    grid; an adaptation whitens them, and leaves the global descriptors.
    """

    mean: torch.Tensor  # (3, 1, 1) in [0, 1]
    std: torch.Tensor  # likewise
    engine: Any = None  # torch describes
    adapter: Adapter

    def __init__(self, entry: LoadedEntry, source: HubSource, name: ModelName) -> None:
        """Raises VprError for a size or a grid that the model does not support, and for an output of another form."""
        super().__init__()
        adapter = source.adapter
        self.network, self.adapter, self.name, self.origin = (
            entry.network,
            adapter,
            str(name),
            (entry.code, source.call),
        )
        size = name.size or adapter.image_size
        if size % adapter.multiple:
            below = max(1, size // adapter.multiple) * adapter.multiple
            problem = f"{self.name} takes sizes that are multiples of {adapter.multiple}, not {size}"
            raise VprError(problem, thing=self.name, remedy=f"give @{below}, or leave the size out")
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.one_by_one = bool(adapter.one_by_one)
        self.eval()
        globals_, maps = self._probe(size)
        self.side = min(maps.shape[2:])
        if name.grid > self.side:
            problem = f"{self.name}: a grid of {name.grid} is finer than the {self.side} patches per side"
            raise VprError(problem, thing=self.name, remedy="give a smaller grid, or a larger size")
        grid, dim = name.grid or min(GRID, self.side), maps.shape[1]
        # descriptors of one length would be compared with one another: a zero changes no cosine
        self.padding = int(globals_.shape[1] == dim)
        self.config = PublishedConfig(self.name, size, grid, dim, globals_.shape[1] + self.padding)

    def _probe(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The descriptors and maps of two random images; whether they depend on the batch is tested if not known."""
        images = probe_images(size)
        with torch.inference_mode(), self._code_errors(size, "give another size, as NAME@SIZE"):
            globals_, maps = self._take(images)
            if self.adapter.one_by_one is None:
                self.one_by_one = depends_on_batch(globals_, self._take(images[:1])[0])
        return globals_, maps

    @contextlib.contextmanager
    def _code_errors(self, size: int, remedy: str) -> Iterator[None]:
        """Errors of the code on images of a size, pixels, become VprError. Those of memory stay."""
        try:
            yield
        except (VprError, MemoryError, torch.OutOfMemoryError):
            raise
        except (Exception, SystemExit) as error:  # the code of others may raise anything
            problem = f"{self.name} fails on images of {size} pixels ({type(error).__name__}: {first_line(error)})"
            raise VprError(problem, thing=self.name, remedy=remedy) from error

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input images, pixels."""
        return self.config.input_size

    @property
    def crop(self) -> Crop:
        """The part of a photo that it sees."""
        return self.config.crop

    @property
    def interpolation(self) -> Interpolation:
        """The interpolation of resized images."""
        return self.config.interpolation

    @property
    def global_dim(self) -> int:
        """Length of a global descriptor."""
        return self.config.global_length

    @cached_property
    def weights_digest(self) -> str:
        """SHA-256 of the weights that were loaded; they do not change."""
        return digest_of_weights(self.network)

    def forward(self, images: torch.Tensor) -> Descriptors:
        """Raises VprError for errors of the code, and for descriptors as `require_numbers` does."""
        normalised = (images.float() / 255 - self.mean) / self.std
        normalised = normalised.contiguous(memory_format=torch.contiguous_format)  # which `view` may need
        with self._code_errors(self.config.image_size, "correct its code, or use another model"):
            parts = [self._take(part) for part in (torch.split(normalised, 1) if self.one_by_one else [normalised])]
            globals_, maps = (torch.cat(part) for part in zip(*parts))
        require_numbers(self.name, globals_, maps)
        globals_ = F.pad(F.normalize(globals_.float(), dim=1), (0, self.padding))
        patches = F.adaptive_avg_pool2d(maps.float(), self.config.grid).flatten(2).transpose(1, 2)
        return Descriptors(globals_, F.normalize(patches, dim=-1))

    def _take(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Global descriptors (B, G) and feature maps (B, D, h, w) of normalised images; one pass of the backbone.

        Raises VprError if the network returns something else.
        """
        backbone, kept, thread = getattr(self.network, "backbone", None), list[Any](), threading.get_ident()
        if not isinstance(backbone, nn.Module):
            raise VprError(
                f"{self.name} has no part called backbone, so that its patch features are unknown",
                thing=self.name,
                remedy="use it as --teacher, or its descriptors as --shortlist",
            )

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if threading.get_ident() == thread:
                kept.append(output)

        hook = backbone.register_forward_hook(keep)
        try:
            output = self.network(images)
        finally:
            hook.remove()
        globals_ = require_shape(
            self.adapter.global_descriptor(output), 2, len(images), self.name, "descriptors (B, C)"
        )
        features = self.adapter.patch_map(kept[-1]) if kept else None
        return globals_, require_shape(features, 4, len(images), self.name, "a map of features (B, D, h, w)")

    def fingerprint(self, transform: object) -> str:
        """A digest of all that the descriptors come from: 16 hexadecimal digits. transform: of the input images."""
        parts = (self.weights_digest, *self.origin, transform, self.config.grid, self.one_by_one, self.padding)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """What the descriptors come from, for a JSON file."""
        code, call = self.origin
        digests = {"code_sha256": code, "weights_sha256": self.weights_digest}
        return {
            "name": self.name,
            "entry": call,
            **digests,
            "image_size": self.config.image_size,
            "grid": self.config.grid,
        }

    def describe_origin(self) -> str:
        """One line: the code, the weights, and the form of input and descriptors."""
        config, pooled = self.config, "" if self.config.grid == self.side else f" pooled to {self.config.grid}"
        one_by_one = ", one photo at a time" if self.one_by_one else ""
        return (
            f"{self.name}: code {self.origin[0][:16]}, weights {self.weights_digest[:16]} (SHA-256); "
            f"{config.image_size} pixels, {self.side} patches per side{pooled}, "
            f"{config.global_length} numbers{one_by_one}"
        )


class GlobalNetwork(nn.Module):
    """Normalised images (B, 3, H, W) to the global descriptors (B, G) of a published model, for teachers."""

    def __init__(self, entry: LoadedEntry, source: HubSource) -> None:
        super().__init__()
        self.network, self.adapter, self.name = entry.network, source.adapter, source.name
        self.code, self.call = entry.code, source.call
        self.one_by_one = bool(source.adapter.one_by_one)

    @property
    def origin(self) -> tuple[str, ...]:
        """What the descriptors are made by beside the weights: the code, the call, and ``one by one``, if they are."""
        return self.code, self.call, *(["one by one"] if self.one_by_one else [])

    def probe(self, size: int) -> int:
        """The length G, from two random images; whether descriptors depend on the batch is tested if not known.

        size: of the images, pixels. Raises VprError if the network does not return one descriptor per image.
        """
        images, wanted = probe_images(size), "descriptors (B, C)"
        together = require_shape(self(images), 2, 2, self.name, wanted)
        if self.adapter.one_by_one is None:
            self.one_by_one = depends_on_batch(together, require_shape(self(images[:1]), 2, 1, self.name, wanted))
        return together.shape[1]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images.contiguous(memory_format=torch.contiguous_format)
        parts = torch.split(images, 1) if self.one_by_one else [images]
        found = [self.adapter.global_descriptor(self.network(part)) for part in parts]
        return torch.cat(found) if len(found) > 1 else found[0]


def probe_images(size: int) -> torch.Tensor:
    """Two normalised images (2, 3, size, size) of noise, always the same."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def depends_on_batch(together: torch.Tensor, alone: torch.Tensor) -> bool:
    """Whether the descriptor of an image depends on the other images of its batch.

    together: descriptors (B, G) of a batch. alone: that of its first image as a batch of its own, (1, G).
    """
    return bool((F.normalize(together[:1].float()) - F.normalize(alone.float())).abs().max() > SAME)


def require_numbers(name: str, globals_: torch.Tensor, *features: torch.Tensor) -> None:
    """Raise VprError for NaN or infinity, and for a global descriptor of zeros, which no ranking can go by.

    globals_: (B, G). features: other outputs of the model of this name.
    """
    if not all(bool(values.isfinite().all()) for values in (globals_, *features)):
        problem = f"{name} returns NaN or infinity for a photo"
    elif not bool(globals_.any(1).all()):
        problem = f"{name} returns a descriptor of zeros for a photo"
    else:
        return
    raise VprError(problem, thing=name, remedy="check its weights, or use another model")


def require_shape(found: Any, ndim: int, images: int, name: str, wanted: str) -> torch.Tensor:
    """A tensor with so many dimensions and images; raises VprError for anything else."""
    if isinstance(found, torch.Tensor) and found.ndim == ndim and len(found) == images:
        return found
    output = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    problem = f"{name} returns {output} for {images} images, not {wanted}"
    raise VprError(problem, thing=name, remedy="pass another entry")


def hub_source(name: ModelName) -> HubSource:
    """The code of a published model, or of an entry of torch.hub."""
    if name.kind == "published":
        adapter = ADAPTERS[name.name]
        return HubSource(str(name), name.where or adapter.repository, adapter, adapter.arguments)
    adapter = find_adapter(name.where, name.name) or unknown_adapter(name.where, name.name)
    return HubSource(str(name), name.where, adapter, adapter.arguments)


def open_published(name: ModelName, device: torch.device, trust: bool) -> PublishedModel:
    """A published model, or an entry of torch.hub, that describes photos.

    Raises VprError without trust, and if the code cannot be loaded or returns something else.
    """
    source = hub_source(name)
    require_trust(source, trust)
    model = PublishedModel(load_entry(source), source, name)
    log.info("%s", model.describe_origin())
    return model.to(device)
