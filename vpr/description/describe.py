"""Describes images in batches: the loop that caches, mining and teachers share."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from vpr.base.progress import progress
from vpr.description.batches import BATCH, ImageDescriptors, decode_ahead
from vpr.description.image_files import Images
from vpr.models.descriptors import Descriptors
from vpr.models.engine import network_of
from vpr.models.onnx_network import OnnxNetwork

FIXED_BATCH = 16  # images in every batch of `reproducible_descriptors` by torch


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients; its mode is restored afterwards."""
    training = model.training
    if training:  # setting the mode of each layer takes as long as describing an image
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if training:
            model.train()


def describe(
    model: nn.Module,
    images: Images,
    batches: Sequence[Sequence[int]],
    device: torch.device,
    workers: int = 0,
    title: str | None = None,
) -> Iterator[ImageDescriptors]:
    """Yield the descriptors of each batch of image numbers. The images are loaded by `load_batches`.

    title: text of the progress bar; None for no bar.
    """
    network = network_of(model)
    loader = load_batches(images, batches, workers)
    for batch in progress(loader, title=title, unit="batch", total=len(batches)):
        yield describe_batch(model, network, batch, device)


def describe_batch(
    model: nn.Module, network: OnnxNetwork | None, batch: torch.Tensor, device: torch.device
) -> ImageDescriptors:
    """The descriptors of images (b, 3, H, W). network: the model's, from `network_of`; None for torch."""
    if network is not None:
        return ImageDescriptors.from_network(*network(batch.contiguous().numpy()))
    with evaluation_mode(model):
        batch = batch.to(device, memory_format=torch.channels_last, non_blocking=True)
        description = model(batch)
    patches, weights = description.patch_descriptors, description.weights
    return ImageDescriptors(
        description.global_descriptor.float().cpu().numpy(),
        None if patches is None else patches.half().cpu().numpy(),
        None if weights is None else weights.float().cpu().numpy(),
    )


def load_batches(images: Images, batches: Iterable[Sequence[int]], workers: int = 0) -> Iterator[torch.Tensor]:
    """The batches of image numbers in order, as tensors (b, 3, H, W). The next ones are decoded in the background.

    workers: processes that decode; 0 decodes in threads.
    """
    return iter(_decode_in_processes(images, batches, workers)) if workers else decode_in_threads(images, batches)


def _decode_in_processes(images: Images, batches: Iterable[Sequence[int]], workers: int) -> DataLoader[torch.Tensor]:
    return DataLoader(images, batch_sampler=(list(batch) for batch in batches), num_workers=workers)


def decode_in_threads(images: Images, batches: Iterable[Sequence[int]]) -> Iterator[torch.Tensor]:
    """The batches in order, decoded in threads as by `decode_ahead`."""
    return map(torch.stack, decode_ahead(images, batches))


def global_descriptors(
    model: nn.Module, images: Images, device: torch.device, workers: int = 0, title: str | None = None
) -> np.ndarray:
    """The global descriptors of all images, (N, G) float32."""
    batches = [range(start, min(start + BATCH, len(images))) for start in range(0, len(images), BATCH)]
    return np.concatenate([batch.globals_ for batch in describe(model, images, batches, device, workers, title)])


def reproducible_descriptors(
    model: nn.Module, images: Images, chosen: Sequence[int], device: torch.device
) -> np.ndarray:
    """The global descriptors of chosen images, (N, G) float32, which do not depend on the other chosen images.

    Processors choose their kernels by the size of a batch, and so the last bits of a descriptor depend on it. Here all
    batches have one size. It is 1 with ONNX Runtime, which is as fast with one image. With torch it is `FIXED_BATCH`: a
    smaller batch is filled up.

    model: in evaluation mode.
    """
    network = network_of(model)
    size, describes = (1, model) if network is not None else (FIXED_BATCH, _FilledBatches(model).eval())
    batches = [chosen[start : start + size] for start in range(0, len(chosen), size)]
    return np.concatenate([batch.globals_ for batch in describe(describes, images, batches, device)])


class _FilledBatches(nn.Module):
    """A model that gets every batch filled up to `FIXED_BATCH` by its last image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> Descriptors:
        filling = images[-1:].expand(FIXED_BATCH - len(images), -1, -1, -1)
        described: Descriptors = self.model(torch.cat([images, filling]).contiguous(memory_format=torch.channels_last))
        return Descriptors(described.global_descriptor[: len(images)], None)
