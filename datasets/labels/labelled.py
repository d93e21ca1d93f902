"""A set of labelled images, its two halves, and the retrieval set of the test half."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.errors import DatasetError
from datasets.labels.layouts import PUBLISHED, Layout, Listed, read_layout
from datasets.ragged import Ragged
from datasets.retrieval_set import Entries, RetrievalSet


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of some classes."""

    root: Path
    files: np.ndarray  # (N,) str, relative to the root, forward slashes
    classes: np.ndarray  # (N,) int64
    names: list[str]  # of all classes of the set, by number

    @property
    def fingerprint(self) -> str:
        """Of the files' names and classes: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for file, number in zip(self.files.tolist(), self.classes.tolist()):
            digest.update(f"{file}\t{self.names[number]}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def of_classes(self, chosen: np.ndarray) -> LabelledImages:
        """The images of some classes, by number."""
        rows = np.isin(self.classes, chosen)
        return LabelledImages(self.root, self.files[rows], self.classes[rows], self.names)

    def retrieval_set(self) -> RetrievalSet:
        """Every image a query, the others the database: an image is no answer to itself, and is not found."""
        entries = Entries(self.files[:, None], self.files, np.array([0, len(self.files)]))
        order, images = np.argsort(self.classes, kind="stable"), np.arange(len(self.files))
        sides = (np.searchsorted(self.classes[order], self.classes, side) for side in ("left", "right"))
        rows = [order[start:end] for start, end in zip(*sides)]
        positives = Ragged.from_rows([row[row != image] for image, row in zip(images, rows)])
        return RetrievalSet(self.root, entries, entries, positives, self.fingerprint, drives=self.classes, own=images)


@dataclass(frozen=True, eq=False)
class Halves:
    """The classes to train on, and those to test on."""

    layout: Layout
    training: LabelledImages
    testing: LabelledImages

    def remark(self) -> str | None:
        """What to say where the numbers of images are not the published ones."""
        counts = len(self.training.files), len(self.testing.files)
        wanted = PUBLISHED.get(self.layout)
        if wanted is None or counts == wanted:
            return None
        return "{} images to train and {} to test, where the published set has {} and {}".format(*counts, *wanted)


def load(layout: Layout, root: Path, test_classes: Path | None = None, all_test: bool = False) -> Halves:
    """Read a set. test_classes: a file with the names of the classes to test on, a line each, instead of the layout's
    half; all_test: test on all classes.

    Raises DatasetError for what is missing or odd, and when there is nothing to test on.
    """
    listed = read_layout(layout, root)
    every = LabelledImages(root, listed.files, listed.classes, listed.names)
    training = listed.training
    if all_test:
        training = np.zeros(len(listed.names), bool)
    elif test_classes is not None:
        training = ~_named(test_classes, listed)
    halves = Halves(layout, *(every.of_classes(np.flatnonzero(side)) for side in (training, ~training)))
    if not len(halves.testing.files):
        raise DatasetError(f"{root}: no class is left to test on; pass --all-test or --test-classes FILE")
    return halves


def _named(path: Path, listed: Listed) -> np.ndarray:
    """Which classes a file names, (classes,) bool."""
    try:
        wanted = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is no text in UTF-8; give the name of a class a line") from error
    unknown = sorted(set(wanted) - set(listed.names))
    if unknown:
        raise DatasetError(f"{path} names {unknown[0]!r}, which is no class ({len(unknown)} such); see the folders")
    return np.isin(listed.names, wanted)
