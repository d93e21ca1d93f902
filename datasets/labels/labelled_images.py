"""Labelled images, their split into classes to train on and to test on, and the retrieval set of the test classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.labels.layouts import PUBLISHED, ImageList, Layout, read_layout
from vpr.datasets.ragged import Ragged
from vpr.datasets.retrieval_set import Entries, RetrievalSet


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of some classes."""

    root: Path
    files: np.ndarray  # (N,) str, relative to the root, forward slashes
    classes: np.ndarray  # (N,) int64
    names: list[str]  # of all classes of the set, by number

    @property
    def fingerprint(self) -> str:
        """A digest of the names and classes of the files: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for file, number in zip(self.files.tolist(), self.classes.tolist()):
            digest.update(f"{file}\t{self.names[number]}\n".encode())
        return digest.hexdigest()

    def select_classes(self, numbers: np.ndarray) -> LabelledImages:
        """The images of some classes, by number."""
        rows = np.isin(self.classes, numbers)
        return LabelledImages(self.root, self.files[rows], self.classes[rows], self.names)

    def retrieval_set(self, query_classes: np.ndarray | None = None) -> RetrievalSet:
        """The queries are all images, or those of some classes (by number); the database is all images.

        An image is not an answer to itself, and is not found. Raises DatasetError if all images are of one class.
        """
        if len(np.unique(self.classes)) < 2:
            raise DatasetError(
                f"{self.root}: all {len(self.files)} images are of one class, so every answer would be right; are its "
                "folders classes?"
            )
        order = np.argsort(self.classes, kind="stable")
        chosen = np.ones(len(self.files), bool) if query_classes is None else np.isin(self.classes, query_classes)
        queries = np.flatnonzero(chosen)
        sides = (np.searchsorted(self.classes[order], self.classes[queries], side) for side in ("left", "right"))
        rows = [order[start:end] for start, end in zip(*sides)]
        positives = Ragged.from_rows([row[row != image] for image, row in zip(queries, rows)])
        query_entries, database = (
            Entries(files[:, None], files, np.array([0, len(files)])) for files in (self.files[queries], self.files)
        )
        return RetrievalSet(
            self.root, query_entries, database, positives, self.fingerprint, drives=self.classes[queries], own=queries
        )


@dataclass(frozen=True, eq=False)
class ClassSplit:
    """The classes to train on, and those to test on."""

    layout: Layout
    images: LabelledImages
    is_training: np.ndarray  # (classes,) bool

    @property
    def training(self) -> LabelledImages:
        """The images of the classes to train on."""
        return self.images.select_classes(np.flatnonzero(self.is_training))

    @property
    def testing(self) -> LabelledImages:
        """The images of the other classes. Raises DatasetError if there are none."""
        if self.is_training.all():
            raise DatasetError(
                f"{self.images.root}: no class is left to test on; pass --all-test or --test-classes FILE"
            )
        return self.images.select_classes(np.flatnonzero(~self.is_training))

    def size_remark(self) -> str | None:
        """A remark if the numbers of images are not the published ones, otherwise None."""
        wanted, in_training = PUBLISHED.get(self.layout), self.is_training[self.images.classes]
        counts = int(in_training.sum()), int((~in_training).sum())
        if wanted is None or counts == wanted:
            return None
        return "{} images to train and {} to test; the published set has {} and {}".format(*counts, *wanted)


def load(layout: Layout, root: Path, test_classes: Path | None = None) -> ClassSplit:
    """Read a set; raises DatasetError for missing or unusable files.

    test_classes: a file with the names of the classes to test on, one per line; None for those of the layout.
    """
    image_list = read_layout(layout, root)
    images = LabelledImages(root, image_list.files, image_list.classes, image_list.names)
    return ClassSplit(
        layout, images, image_list.training if test_classes is None else ~_read_test_classes(test_classes, image_list)
    )


def _read_test_classes(path: Path, image_list: ImageList) -> np.ndarray:
    """Whether a file names each class, (classes,) bool."""
    try:
        lines = [line.strip(" \t\r") for line in path.read_text(encoding="utf-8-sig").split("\n")]
        wanted = [line for line in lines if line]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text; write one class name per line") from error
    unknown = sorted(set(wanted) - set(image_list.names))
    if unknown:
        raise DatasetError(
            f"{path} names {unknown[0]!r}, which is not a class ({len(unknown)} such names); see the folders"
        )
    return np.isin(image_list.names, wanted)
