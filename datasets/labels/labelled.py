"""A set of labelled images, its two halves, and the retrieval set of the test half."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.labels.layouts import PUBLISHED, Layout, Listed, read_layout
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
        """Of the files' names and classes: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for file, number in zip(self.files.tolist(), self.classes.tolist()):
            digest.update(f"{file}\t{self.names[number]}\n".encode())
        return digest.hexdigest()

    def of_classes(self, chosen: np.ndarray) -> LabelledImages:
        """The images of some classes, by number."""
        rows = np.isin(self.classes, chosen)
        return LabelledImages(self.root, self.files[rows], self.classes[rows], self.names)

    def retrieval_set(self, asked: np.ndarray | None = None) -> RetrievalSet:
        """Every image a query, or those of some classes by number, and all images the database; an image is no answer
        to itself, and is not found. Raises DatasetError where all images are of one class."""
        if len(np.unique(self.classes)) < 2:
            raise DatasetError(
                f"{self.root}: all {len(self.files)} images are of one class, so every answer would be right; are its "
                "folders classes?"
            )
        order = np.argsort(self.classes, kind="stable")
        queries = np.arange(len(self.files)) if asked is None else np.flatnonzero(np.isin(self.classes, asked))
        sides = (np.searchsorted(self.classes[order], self.classes[queries], side) for side in ("left", "right"))
        rows = [order[start:end] for start, end in zip(*sides)]
        positives = Ragged.from_rows([row[row != image] for image, row in zip(queries, rows)])
        asking, searched = (
            Entries(files[:, None], files, np.array([0, len(files)])) for files in (self.files[queries], self.files)
        )
        return RetrievalSet(
            self.root, asking, searched, positives, self.fingerprint, drives=self.classes[queries], own=queries
        )


@dataclass(frozen=True, eq=False)
class Halves:
    """The classes to train on, and those to test on."""

    layout: Layout
    every: LabelledImages
    in_training: np.ndarray  # (classes,) bool

    @property
    def training(self) -> LabelledImages:
        """The images of the classes to train on."""
        return self.every.of_classes(np.flatnonzero(self.in_training))

    @property
    def testing(self) -> LabelledImages:
        """The images of the other classes. Raises DatasetError where there are none."""
        if self.in_training.all():
            raise DatasetError(
                f"{self.every.root}: no class is left to test on; pass --all-test or --test-classes FILE"
            )
        return self.every.of_classes(np.flatnonzero(~self.in_training))

    def remark(self) -> str | None:
        """What to say where the numbers of images are not the published ones."""
        wanted, in_training = PUBLISHED.get(self.layout), self.in_training[self.every.classes]
        counts = int(in_training.sum()), int((~in_training).sum())
        if wanted is None or counts == wanted:
            return None
        return "{} images to train and {} to test, where the published set has {} and {}".format(*counts, *wanted)


def load(layout: Layout, root: Path, test_classes: Path | None = None) -> Halves:
    """Read a set. test_classes: a file with the names of the classes to test on, a line each, instead of the layout's
    half. Raises DatasetError for what is missing or odd."""
    listed = read_layout(layout, root)
    every = LabelledImages(root, listed.files, listed.classes, listed.names)
    return Halves(layout, every, listed.training if test_classes is None else ~_named(test_classes, listed))


def _named(path: Path, listed: Listed) -> np.ndarray:
    """Which classes a file names, (classes,) bool."""
    try:
        lines = [line.strip(" \t\r") for line in path.read_text(encoding="utf-8-sig").split("\n")]
        wanted = [line for line in lines if line]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is no text in UTF-8; give the name of a class a line") from error
    unknown = sorted(set(wanted) - set(listed.names))
    if unknown:
        raise DatasetError(f"{path} names {unknown[0]!r}, which is no class ({len(unknown)} such); see the folders")
    return np.isin(listed.names, wanted)
