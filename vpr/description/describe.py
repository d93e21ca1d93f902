"""Describes images in batches: the loop that caches, mining and teachers share."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from vpr.base.progress import progress
from vpr.description.batches import BATCH, ImageDescriptors, decode_ahead
from vpr.description.image_files import ImageFiles, Images
from vpr.models.descriptors import Descriptors
from vpr.models.engine import network_of
from vpr.models.onnx_network import OnnxNetwork

FIXED_BATCH = 16  # maximum images in the batches of `reproducible_descriptors` by torch
PASS_PIXELS = 32 * 160 * 160  # of the images in one pass of torch on a CPU; VGG-16 holds 0.5 kB for each


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
    size = images_per_pass(*batch.shape[-2:]) if device.type == "cpu" else len(batch)
    return ImageDescriptors.joined([_one_pass(model, images, device) for images in torch.split(batch, size)])


def images_per_pass(height: int, width: int) -> int:
    """How many images of a size, pixels, torch describes at once on a CPU: enough for its speed, and few for memory."""
    return max(1, PASS_PIXELS // (height * width))


def _one_pass(model: nn.Module, images: torch.Tensor, device: torch.device) -> ImageDescriptors:
    with evaluation_mode(model):
        images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
        description = model(images)
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
    model: nn.Module, images: ImageFiles, chosen: Sequence[int], device: torch.device
) -> np.ndarray:
    """The global descriptors of chosen images, (N, G) float32, which do not depend on the other chosen images.

    Processors choose their kernels by the size of a batch, and so the last bits of a descriptor depend on it. Here all
    batches have one size. It is 1 with ONNX Runtime, which is as fast with one image. With torch it is at most
    `FIXED_BATCH`: a smaller batch is filled up.

    model: in evaluation mode.
    """
    network = network_of(model)
    size = 1 if network is not None else min(FIXED_BATCH, images_per_pass(*images.size))
    describes = model if network is not None else _FilledBatches(model, size).eval()
    batches = [chosen[start : start + size] for start in range(0, len(chosen), size)]
    return np.concatenate([batch.globals_ for batch in describe(describes, images, batches, device)])


class _FilledBatches(nn.Module):
    """A model that gets every batch filled up to one size by its last image."""

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, images: torch.Tensor) -> Descriptors:
        filling = images[-1:].expand(self.size - len(images), -1, -1, -1)
        described: Descriptors = self.model(torch.cat([images, filling]).contiguous(memory_format=torch.channels_last))
        return Descriptors(described.global_descriptor[: len(images)], None)
