"""The configuration of mini-retrieval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vpr.datasets.labels.layouts import Layout

VERSION = 1  # rises whenever the same seed gives other bytes


@dataclass(frozen=True)
class BirdConfig:
    """A set. Equal configurations give equal bytes."""

    layout: Layout = "folders"
    seed: int = 0
    classes: int = 80  # the first half for training
    images: int = 20  # of each class
    size: int = 160  # image side, pixels

    def identity(self) -> dict[str, Any]:
        """Everything that the bytes depend on: all fields and the version of the renderer."""
        return {**asdict(self), "version": VERSION}


def tiny_birds(layout: Layout = "folders") -> BirdConfig:
    """A set of 64 small images for tests."""
    return BirdConfig(layout, 0, 8, 8, 48)
