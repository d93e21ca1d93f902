"""Batches of images, decoded ahead in threads, and their descriptors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from vpr.base.machine import usable_cores

BATCH = 64
PREFETCHED_BATCHES = 2  # decoded while a batch is described
Image = TypeVar("Image", covariant=True)


class ImageDescriptors(NamedTuple):
    """The descriptors of b images."""

    globals_: np.ndarray  # (b, G) float32
    patches: np.ndarray | None  # (b, P, C) float16; None from models without patches
    weights: np.ndarray | None = None  # (b, P) float32 patch weights, of models with rollout or learnt ones

    @classmethod
    def from_network(
        cls, globals_: np.ndarray, patches: np.ndarray | None = None, weights: np.ndarray | None = None
    ) -> ImageDescriptors:
        """The descriptors that a network computed, float32."""
        return cls(globals_, None if patches is None else patches.astype(np.float16), weights)

    @classmethod
    def joined(cls, parts: Sequence[ImageDescriptors]) -> ImageDescriptors:
        """The descriptors of the images of all parts, at least one, in order."""
        if len(parts) == 1:
            return parts[0]
        columns = zip(*parts)
        return cls(*(None if column[0] is None else np.concatenate(column) for column in columns))  # type: ignore[arg-type]


class NumberedImages(Protocol[Image]):
    """Images by number."""

    def __getitem__(self, index: int) -> Image: ...


def decode_ahead(images: NumberedImages[Image], batches: Iterable[Sequence[int]]) -> Iterator[list[Image]]:
    """The images of each batch of numbers, in order. The next batches are decoded meanwhile, in threads: Pillow
    releases the interpreter's lock while it decodes."""
    pool, ahead = ThreadPoolExecutor(usable_cores()), deque[list[Future[Image]]]()
    try:
        for batch in batches:
            ahead.append([pool.submit(images.__getitem__, number) for number in batch])
            if len(ahead) > PREFETCHED_BATCHES:
                yield [image.result() for image in ahead.popleft()]
        while ahead:
            yield [image.result() for image in ahead.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def take_images(described: ImageDescriptors, places: Sequence[int]) -> ImageDescriptors:
    """The descriptors of some of the images."""
    patches, weights = (None if part is None else part[places] for part in described[1:])
    return ImageDescriptors(described.globals_[places], patches, weights)
