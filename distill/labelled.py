"""Training on class labels: a class is a place whose photos all stand at one point, far from every other."""

from __future__ import annotations

import numpy as np

from vpr.base.errors import VprError
from vpr.datasets.labels import LabelledImages
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.distill.data import TrainingData
from vpr.distill.places import Photos

APART_M = 1000.0  # between two classes


def labelled_photos(images: LabelledImages) -> Photos:
    """The images as photos, each class at a point of its own; headings are unknown."""
    count = len(images.files)
    utm = np.stack([APART_M * images.classes, np.zeros(count)], 1)
    unknown, never = np.full(count, np.nan, np.float32), np.zeros(count, bool)
    return Photos(images.files, utm, np.zeros(count, int), unknown, never, never)


def labelled_data(images: LabelledImages, layout: str, held_out: str, fingerprint: str) -> TrainingData:
    """What a training takes. held_out: what is said of the classes that are kept apart. fingerprint: of the whole
    training half."""
    if not len(images.files):
        raise VprError(f"{images.root}: no class is left to train on; take --test-classes out, or hold fewer out")
    identity = {"layout": layout, "classes": len(np.unique(images.classes)), "fingerprint": fingerprint}
    return TrainingData(images.root, labelled_photos(images), held_out, {**identity, "held_out": held_out})


def hold_out(images: LabelledImages, share: float) -> tuple[LabelledImages, RetrievalSet | None]:
    """The images of the classes to train on; and with every so manieth class, two at least, which is kept apart, as
    queries, a retrieval set whose database are all images. None for a share of 0.

    Raises VprError where fewer than two classes would be left to train on, and where none held out has two images.
    """
    numbers = np.unique(images.classes)
    count = max(2, round(share * len(numbers)))
    if not share:
        return images, None
    if count > len(numbers) - 2:
        raise VprError(
            f"--held-out {share:g} keeps {count} of {len(numbers)} classes apart and leaves fewer than two; "
            "pass a smaller one, or 0"
        )
    apart = numbers[np.linspace(0, len(numbers) - 1, count).astype(int)]
    rest, held_out = images.of_classes(np.setdiff1d(numbers, apart)), images.retrieval_set(apart)
    if not len(held_out.scored):
        raise VprError(f"the {count} classes that --held-out {share:g} keeps apart have one image each; give another")
    return rest, held_out
