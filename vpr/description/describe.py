"""The loop that describes images in order; caches, mining and teachers share it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from vpr.base.progress import progress
from vpr.description.images import Images

BATCH = 64


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients; its mode is restored afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def describe(
    model: nn.Module,
    images: Images,
    batches: Sequence[Sequence[int]],
    device: torch.device,
    workers: int = 0,
    title: str | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield (global (b, C) float32, patches (b, P, C) float16 or None) for each batch of image numbers.

    title: the progress bar's text; no bar without one.
    """
    loader = DataLoader(images, batch_sampler=[list(batch) for batch in batches], num_workers=workers)
    for batch in progress(loader, title=title, unit="batch"):
        with evaluating(model):
            batch = batch.to(device, memory_format=torch.channels_last, non_blocking=True)
            description = model(batch)
        patches = description.patch_descriptors
        yield (
            description.global_descriptor.float().cpu().numpy(),
            None if patches is None else patches.half().cpu().numpy(),
        )


def global_descriptors(
    model: nn.Module, images: Images, device: torch.device, workers: int = 0, title: str | None = None
) -> np.ndarray:
    """The global descriptors of all images, (N, C) float32."""
    batches = [range(start, min(start + BATCH, len(images))) for start in range(0, len(images), BATCH)]
    return np.concatenate([batch for batch, _ in describe(model, images, batches, device, workers, title)])
