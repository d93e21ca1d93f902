"""Training data with class labels. Each class becomes a place: its photos share one point, far from other classes."""

from __future__ import annotations

import numpy as np

from vpr.base.errors import VprError
from vpr.datasets.held_out import HeldOut
from vpr.datasets.labels import LabelledImages
from vpr.distill.data import TrainingData
from vpr.distill.sampling.places import Photos

CLASS_DISTANCE_M = 1000.0  # between neighbouring classes


def class_photos(images: LabelledImages) -> Photos:
    """The images as photos, each class at its own point. Headings are unknown."""
    count = len(images.files)
    utm = np.stack([CLASS_DISTANCE_M * images.classes, np.zeros(count)], 1)
    unknown, never = np.full(count, np.nan, np.float32), np.zeros(count, bool)
    return Photos(images.files, utm, np.zeros(count, int), unknown, never, never)


def class_data(images: LabelledImages, layout: str, held_out: HeldOut, fingerprint: str) -> TrainingData:
    """The training data of some images.

    fingerprint: of the whole training half. Raises VprError without images.
    """
    if not len(images.files):
        raise VprError(
            f"{images.root}: no class is left to train on", remedy="remove --test-classes, or hold fewer classes out"
        )
    identity = {
        "layout": layout, "classes": len(np.unique(images.classes)), "fingerprint": fingerprint,
        "held_out": held_out.name,
    }  # fmt: skip
    return TrainingData(images.root, class_photos(images), identity, held_out)


def hold_out(images: LabelledImages, share: float) -> tuple[LabelledImages, HeldOut]:
    """Split off a share of the classes, evenly spaced and at least two; none if the share is 0.

    Returns the images of the other classes, and a retrieval set whose queries are the held-out classes and whose
    database are all images. Raises VprError if fewer than two classes are left to train on, or
    if no held-out class has two images.
    """
    if not share:
        return images, HeldOut()
    classes = np.unique(images.classes)
    count = max(2, round(share * len(classes)))
    if count > len(classes) - 2:
        raise VprError(
            f"--held-out {share:g} keeps {count} of {len(classes)} classes apart and leaves fewer than two",
            thing="--held-out",
            remedy="pass a smaller share, or 0",
        )
    apart = classes[np.linspace(0, len(classes) - 1, count).astype(int)]
    rest, held_out = images.select_classes(np.setdiff1d(classes, apart)), images.retrieval_set(apart)
    if not len(held_out.scored):
        raise VprError(
            f"the {count} classes that --held-out {share:g} keeps apart have one image each",
            thing="--held-out",
            remedy="give another share",
        )
    name = f"{count} of {len(classes)} training classes"
    return rest, HeldOut(name, lambda: {name: held_out})
